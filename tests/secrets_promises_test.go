package tests

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// secretIsolations are those for which the seven promises about secrets are
// kept.
var secretIsolations = []string{"process", "worker", "container"}

// Two secrets that no test may ever find but where they belong.
const (
	firstSecret  = "first-s3cr3t-93b0c1d5"
	secondSecret = "second-s3cr3t-5e77aa0f"
)

func sum(text string) string {
	digest := sha256.Sum256([]byte(text))
	return hex.EncodeToString(digest[:])
}

// lookPython works as a program and as a handler. It looks for its parameters
// where they must not be, and tells of them only what is no secret.
const lookPython = `
import glob, hashlib, json, os, sys

def look(params, stdin_left):
    values = [v.encode() for v in params.values() if isinstance(v, str) and v]
    found, looked = [], 0
    for path in glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/cmdline'):
        try:
            with open(path, 'rb') as file:
                content = file.read()
        except OSError:
            continue
        looked += 1
        found += [path for v in values if v in content]
    file = os.environ.get('ATTUNE_PARAMETER_FILE', '')
    mode = ''
    if file:
        status = os.stat(file)
        mode = '%o %s' % (status.st_mode & 0o7777, 'mine' if status.st_uid == os.getuid() else 'not mine')
    return {
        'names': sorted(params), 'found': found, 'looked': looked, 'left': stdin_left, 'mode': mode,
        'sums': {k: hashlib.sha256(v.encode()).hexdigest() for k, v in params.items() if isinstance(v, str)},
        'tmp': sorted(os.listdir('/tmp')) if os.path.isdir('/opt/attune') else [],
    }

def main(params, context):
    return look(params, 0)

if __name__ == '__main__':
    if 'ATTUNE_PARAMETER_FILE' in os.environ:
        with open(os.environ['ATTUNE_PARAMETER_FILE']) as file:
            params = json.load(file)
    else:
        params = json.loads(sys.stdin.readline())
    print(json.dumps(look(params, len(sys.stdin.read()))))
`

// lookShell is the same by get_secret.
const lookShell = `
ask() { get_secret "$1"; }
find() { grep -alF -f <(ask token; echo) /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | head -3 | tr '\n' ' '; }
digest() { sha256sum | cut -d' ' -f1; }
found=""; [ -n "$(ask token)" ] && found=$(find)
export COPY_OF_NOTHING=1
left=$(wc -c)
printf '{"sum":"%s","again":"%s","child":"%s","unknown":"%s","code":%d,"found":"%s","stdin":%d,"names":"%s"}\n' \
  "$(ask token | digest)" "$(for i in 1 2 3; do ask token; done | digest)" "$(bash -c 'get_secret token | cat' | digest)" \
  "$(ask nothing)" "$(ask nothing; echo $?)" "$found" "$left" "$(env | cut -d= -f1 | sort | tr '\n' ' ')"
`

// looks is a pack whose actions look around, in one isolation.
func looks(isolation string) map[string]string {
	files := map[string]string{"actions/look.py": lookPython, "actions/look.sh": lookShell}
	more := "output_format: json\n"
	if isolation != "process" {
		more += "isolation: " + isolation + "\n"
	}
	add := func(name, entry, rest string) {
		files["actions/"+name+".yaml"] = fmt.Sprintf("ref: looks_%s.%s\nentry_point: %s\n%s%s", isolation, name, entry, more, rest)
	}
	const token = "parameters: {token: {type: string, secret: true}}\n"
	add("python", "look.py", token)
	add("python_other", "look.py", "parameters: {other: {type: string, secret: true}}\n")
	add("python_plain", "look.py", "parameters: {plain: {type: string}}\n")
	if isolation != "worker" {
		add("python_file", "look.py", "parameter_delivery: file\n"+token)
		add("shell", "look.sh", token)
		add("shell_plain", "look.sh", "")
		add("shell_file", "look.sh", "parameter_delivery: file\n"+token)
	}
	return files
}

// TestSecurity is the seven promises about secrets, in each isolation. Those
// about programs have no meaning for handlers.
func TestSecurity(t *testing.T) {
	h := newHome(t)
	for _, isolation := range secretIsolations {
		h.pack(t, "looks_"+isolation, looks(isolation))
	}
	g := h.start(t)
	for _, promise := range []struct {
		name     string
		programs bool
		test     func(*testing.T, looking)
	}{
		{"1 Python secrets are not in environ", false, secretsOfPython},
		{"2 shell secrets are not in environ and get_secret returns them", true, secretsOfShell},
		{"3 Python secrets are apart between two actions", false, secretsApart},
		{"4 no secrets in Python", false, noSecretsOfPython},
		{"5 no secrets in shell and unknown names are empty", true, noSecretsOfShell},
		{"6 Python with parameters in a file", true, secretsInAPythonFile},
		{"7 shell with parameters in a file", true, secretsInAShellFile},
	} {
		t.Run(promise.name, func(t *testing.T) {
			for _, isolation := range secretIsolations {
				if promise.programs && isolation == "worker" {
					continue
				}
				t.Run(isolation, func(t *testing.T) { promise.test(t, looking{g, "looks_" + isolation}) })
			}
		})
	}
}

// looking is a gateway and the pack that looks around in one isolation.
type looking struct {
	*gateway
	pack string
}

type pythonLook struct {
	Names, Found, Tmp []string
	Looked, Left      int
	Mode              string
	Sums              map[string]string
}

func (g looking) lookPython(t *testing.T, action, body string) pythonLook {
	t.Helper()
	var look pythonLook
	decode(t, g.mustInvoke(t, g.pack+"."+action, body).body, &look)
	if len(look.Found) > 0 || look.Looked == 0 {
		t.Errorf("looks.%s found parameters in %v, of %d places", action, look.Found, look.Looked)
	}
	return look
}

type shellLook struct {
	Sum, Again, Child, Unknown, Found, Names string
	Code, Stdin                              int
}

func (g looking) lookShell(t *testing.T, action, body string) shellLook {
	t.Helper()
	var look shellLook
	decode(t, g.mustInvoke(t, g.pack+"."+action, body).body, &look)
	if look.Found != "" || look.Unknown != "" || look.Code != 0 {
		t.Errorf("looks.%s found its secret in %q; an unknown one is %q with code %d, want nothing and 0", action, look.Found, look.Unknown, look.Code)
	}
	return look
}

// shows checks that get_secret gave a value, wherever it was called.
func (s shellLook) shows(t *testing.T, value string) {
	t.Helper()
	if s.Sum != sum(value) || s.Child != sum(value) || s.Again != sum(strings.Repeat(value, 3)) {
		t.Errorf("get_secret gave something else than %q: %+v", value, s)
	}
}

func secretsOfPython(t *testing.T, g looking) {
	if got := g.lookPython(t, "python", `{"token":"`+firstSecret+`"}`).Sums["token"]; got != sum(firstSecret) {
		t.Errorf("the action sees another value, %s", got)
	}
}

// secretsOfShell: get_secret answers in functions, pipes and other processes, any
// number of times, beside the parameters on stdin.
func secretsOfShell(t *testing.T, g looking) {
	for _, value := range []string{firstSecret, "quote' \" $(id) \\ ü", strings.Repeat("long", 10_000)} {
		body := fmt.Sprintf(`{"token":%s}`, quoted(t, value))
		look := g.lookShell(t, "shell", body)
		look.shows(t, value)
		if look.Stdin != len(compacted(t, body))+1 {
			t.Errorf("stdin had %d bytes, want the whole document %s", look.Stdin, body)
		}
	}
}

// secretsApart: the second reads one line of stdin, and sees its own secret
// alone.
func secretsApart(t *testing.T, g looking) {
	g.lookPython(t, "python", `{"token":"`+firstSecret+`"}`)
	second := g.lookPython(t, "python_other", `{"other":"`+secondSecret+`"}`)
	if !slices.Equal(second.Names, []string{"other"}) || second.Sums["other"] != sum(secondSecret) || second.Left != 0 {
		t.Errorf("the second action sees %v, and %d bytes behind the first line", second.Names, second.Left)
	}
}

// noSecretsOfPython works as ever.
func noSecretsOfPython(t *testing.T, g looking) {
	for _, action := range []string{"python", "python_plain"} {
		if look := g.lookPython(t, action, `{}`); len(look.Names) > 0 {
			t.Errorf("looks.%s sees %v", action, look.Names)
		}
	}
}

// noSecretsOfShell: an unknown name is empty, whether there are
// secrets or not.
func noSecretsOfShell(t *testing.T, g looking) {
	g.lookShell(t, "shell", `{"token":"`+firstSecret+`"}`)
	for _, action := range []string{"shell", "shell_plain"} {
		look := g.lookShell(t, action, `{}`)
		look.shows(t, "")
		if strings.Contains(look.Names, "SECRETS") {
			t.Errorf("looks.%s has variables for secrets: %s", action, look.Names)
		}
	}
}

// secretsInAPythonFile: of parameters in a file, too, which is the action's
// own and gone afterwards.
func secretsInAPythonFile(t *testing.T, g looking) {
	for _, value := range []string{firstSecret, secondSecret} {
		look := g.lookPython(t, "python_file", `{"token":"`+value+`"}`)
		if look.Sums["token"] != sum(value) || look.Mode != "400 mine" || look.Left != 0 || !slices.Equal(look.Tmp, []string{"parameters.json"}) {
			t.Errorf("of parameters in a file the action sees %+v", look)
		}
	}
	if look := g.lookPython(t, "python", `{}`); look.Mode != "" || len(look.Tmp) > 0 {
		t.Errorf("a file is left to the next execution: %+v", look)
	}
}

// secretsInAShellFile: get_secret works there, too, and stdin is empty.
func secretsInAShellFile(t *testing.T, g looking) {
	look := g.lookShell(t, "shell_file", `{"token":"`+firstSecret+`"}`)
	look.shows(t, firstSecret)
	if look.Stdin != 0 {
		t.Errorf("stdin had %d bytes", look.Stdin)
	}
	g.lookShell(t, "shell_file", `{}`).shows(t, "")
}

func quoted(t *testing.T, text string) string {
	t.Helper()
	encoded, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// compacted is JSON as a program reads it.
func compacted(t *testing.T, text string) string {
	t.Helper()
	var value any
	decode(t, text, &value)
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}
