package tests

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// leaky prints its secret wherever it can, in several encodings and in pieces.
const leakyShell = `
get_secret token >&2
value=$(get_secret token)
echo "half: ${value:0:7}" | tr -d '\n' >&2; sleep 0.1; echo "${value:7} base64: $(get_secret token | base64 -w0)" >&2
case $(jq -r .how) in
ok) printf '{"token":"%s","list":["x%sx"]}' "$value" "$value" ;;
fail) exit 3 ;;
bad) echo "{ $value" ;;
schema) printf '{"token":1,"%s":2}' "$value" ;;
late) sleep 60 ;;
esac
`

const leakyPython = `
import json, sys
params = json.load(sys.stdin)
raise ValueError('the token is ' + params['token'])
`

// leakyHandler is the same in a worker.
const leakyHandler = `
import sys
def main(params, context):
    token = context.secrets['token']
    print('printed', token)
    sys.stderr.write('half ' + token[:7])
    sys.stderr.flush()
    print(token[7:], file=sys.stderr)
    if params['how'] == 'fail':
        raise ValueError('the token is ' + token)
    return {'token': token, 'list': ['x' + token + 'x'], token: 1}
`

const vaultPack = "vault"

func vaultHome(t *testing.T) home {
	h := newHome(t)
	const token = "parameters: {how: {type: string}, token: {type: string, secret: true, required: true, pattern: '^[a-z0-9-]+$'}}\n"
	h.pack(t, vaultPack, map[string]string{
		"actions/leak.yaml": "ref: vault.leak\nentry_point: leak.sh\noutput_format: json\ntimeout: 2\noutput_schema: {type: object, properties: {token: {type: string}}, additionalProperties: {type: array}}\n" + token,
		"actions/leak.sh":   leakyShell,
		"actions/text.yaml": "ref: vault.text\nentry_point: text.sh\n" + token, "actions/text.sh": "get_secret token; get_secret token | od -An -tx1 | tr -d ' \\n'\n",
		"actions/raise.yaml": "ref: vault.raise\nentry_point: raise.py\n" + token, "actions/raise.py": leakyPython,
		"actions/handle.yaml": "ref: vault.handle\nentry_point: handle.py\nisolation: worker\noutput_format: json\n" + token, "actions/handle.py": leakyHandler,
		"actions/open.yaml": "ref: vault.open\nentry_point: open.sh\n", "actions/open.sh": "cat; get_secret token; find / -xdev -newermt '-1 hour' -type f -readable -exec cat {} + 2>/dev/null | head -c 100000; ls -laR /tmp\n",
	})
	return h
}

// attune runs the program with a value on stdin.
func (g *gateway) attune(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(program("attune"), args...)
	cmd.Env = []string{"ATTUNE__SERVER__PORT=" + g.url[strings.LastIndexByte(g.url, ':')+1:]}
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (g *gateway) store(t *testing.T, name, value string) {
	t.Helper()
	if out, err := g.attune(t, value+"\n", "secret", "set", vaultPack, name); err != nil || strings.Contains(out, value) {
		t.Fatalf("attune secret set: %v\n%s", err, out)
	}
}

// keyFile makes a key as an operator does.
func keyFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if out, err := exec.Command(program("attune"), "secret", "keygen", path).CombinedOutput(); err != nil {
		t.Fatalf("attune secret keygen: %v\n%s", err, out)
	}
	return path
}

// TestASecretIsNowhereElse: stored, used and printed in every way, it is in no
// answer, record, log, file, container or store.
func TestASecretIsNowhereElse(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		h := vaultHome(t)
		huntSecret(t, h, h.start(t, "ATTUNE__SECRETS__KEY_FILE="+keyFile(t), "ATTUNE__LOG__LEVEL=debug"), func() string { return "" })
	})
	t.Run("redis", func(t *testing.T) {
		h := vaultHome(t)
		r := newRedis(t)
		g := h.start(t, "ATTUNE__SECRETS__KEY_FILE="+keyFile(t), "ATTUNE__LOG__LEVEL=debug", "ATTUNE__REDIS__URL=redis://"+r.address(t))
		huntSecret(t, h, g, func() string { return r.content(t) })
	})
}

func huntSecret(t *testing.T, h home, g *gateway, redis func() string) {
	g.store(t, "token", firstSecret)
	seen := map[string]string{}
	for _, how := range []string{"ok", "fail", "bad", "schema", "late"} {
		a := g.invoke(t, "vault.leak", `{"how":"`+how+`"}`)
		want := map[string]int{"ok": 200, "late": 504}[how]
		if want == 0 {
			want = 502
		}
		if a.status != want {
			t.Errorf("vault.leak %s = %d %s, want %d", how, a.status, a.body, want)
		}
		id := a.header.Get("Attune-Execution-Id")
		seen["answer of "+how] = a.body
		seen["record of "+how] = g.get(t, "/api/v1/executions/"+id).body
		seen["stdout of "+how] = g.get(t, "/api/v1/executions/"+id+"/logs/stdout").body
		stderr := g.get(t, "/api/v1/executions/"+id+"/logs/stderr").body
		seen["stderr of "+how] = stderr
		if stderr != "[MASKED]half: [MASKED] base64: [MASKED]\n" {
			t.Errorf("stderr of %s = %q, want it masked", how, stderr)
		}
	}
	if got := seen["answer of ok"]; got != `{"token":"[MASKED]","list":["x[MASKED]x"]}`+"\n" {
		t.Errorf("the answer = %s, want it masked", got)
	}
	request, err := http.NewRequest("POST", g.url+"/invoke/vault.leak", strings.NewReader(`{"how":"ok"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/x-ndjson")
	response, err := http.DefaultClient.Do(request)
	if seen["events"] = read(t, response, err).body; strings.Count(seen["events"], "[MASKED]") < 5 {
		t.Errorf("the events = %s, want masked output and result", seen["events"])
	}
	seen["answer of text"] = g.mustInvoke(t, "vault.text", "{}").body
	raised := g.invoke(t, "vault.raise", "{}")
	if seen["answer of raise"] = raised.body; !strings.Contains(raised.problem(t).Log, "ValueError: the token is [MASKED]") {
		t.Errorf("the problem of raise = %s", raised.body)
	}
	for how, want := range map[string]string{"ok": `{"token":"[MASKED]","list":["x[MASKED]x"],"[MASKED]":1}` + "\n", "fail": "the token is [MASKED]"} {
		a := g.invoke(t, "vault.handle", `{"how":"`+how+`"}`)
		id := a.header.Get("Attune-Execution-Id")
		seen["answer of a handler, "+how] = a.body
		seen["record of a handler, "+how] = g.get(t, "/api/v1/executions/"+id).body
		stderr := g.get(t, "/api/v1/executions/"+id+"/logs/stderr").body
		seen["stderr of a handler, "+how] = stderr
		if !strings.Contains(a.body, want) || !strings.HasPrefix(stderr, "half [MASKED]\n") {
			t.Errorf("a handler's answer, %s = %s, stderr %q; want %s", how, a.body, stderr, want)
		}
	}
	clash := g.invoke(t, "vault.text", `{"token":"`+secondSecret+`"}`)
	seen["clash"] = clash.body
	if p := clash.problem(t); clash.status != 422 || len(p.Errors) != 1 || p.Errors[0].Pointer != "/token" {
		t.Errorf("caller and store give a token: %d %s, want 422 that names it", clash.status, clash.body)
	}
	seen["the next execution"] = g.mustInvoke(t, "vault.open", "{}").body
	seen["secrets"] = g.get(t, "/api/v1/packs/vault/secrets").body
	seen["actions"] = g.get(t, "/api/v1/actions/vault.leak").body
	seen["executions"] = g.get(t, "/api/v1/executions").body
	seen["build log"] = g.get(t, "/api/v1/environments/vault/python/log").body
	containers := g.containers(t)
	_, seen["engine inspect"] = inspect(t, containers...)
	for _, id := range containers {
		out, err := exec.Command("docker", "logs", id).CombinedOutput()
		if err != nil {
			t.Logf("docker logs: %v", err) // a driver may keep none
		}
		seen["engine log"] += string(out)
	}
	seen["redis"] = redis()
	seen["gateway log"] = g.text()
	for _, dir := range []string{h.state, h.envs, h.packs} {
		seen["files in "+filepath.Base(dir)] = content(t, dir)
	}
	nowhere(t, seen)
	g.stop(t)
	nowhere(t, map[string]string{"files in state after the end": content(t, h.state), "gateway log after the end": g.text()})
}

// nowhere looks for the secrets, as they are and in usual encodings.
func nowhere(t *testing.T, seen map[string]string) {
	t.Helper()
	for where, text := range seen {
		for _, secret := range []string{firstSecret, secondSecret} {
			for _, form := range []string{secret, fmt.Sprintf("%x", secret), secret[3:20]} {
				if at := strings.Index(text, form); at >= 0 {
					t.Errorf("the secret is in %s: %.200q", where, text[max(0, at-100):])
				}
			}
		}
	}
}

// content is what all files below a directory hold.
func content(t *testing.T, dir string) string {
	t.Helper()
	var all bytes.Buffer
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil // some vanish meanwhile
		}
		data, err := os.ReadFile(path)
		all.WriteString(path + "\n")
		all.Write(data)
		if os.IsNotExist(err) {
			return nil
		}
		return err
	})
	if err != nil || all.Len() == 0 {
		t.Errorf("read %s: %d bytes, %v", dir, all.Len(), err)
	}
	return all.String()
}

// content is what all hashes of a server hold: secrets and executions are in
// some.
func (r *redisServer) content(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, key := range r.cli(t, "KEYS", "*") {
		if r.cli(t, "TYPE", key)[0] == "hash" {
			fmt.Fprintln(&all, key, r.cli(t, "HGETALL", key))
		}
	}
	if !strings.Contains(all.String(), "attune:secrets:vault") || !strings.Contains(all.String(), "attune:execution:") {
		t.Errorf("Redis holds no secrets or executions: %.500s", all.String())
	}
	return all.String()
}

// TestStoredSecretsOutliveTheGateway, are deleted for good, and need their key.
func TestStoredSecretsOutliveTheGateway(t *testing.T) {
	h := vaultHome(t)
	key := "ATTUNE__SECRETS__KEY_FILE=" + keyFile(t)
	g := h.launch(t, key)
	if a := g.invoke(t, "vault.text", "{}"); a.status != 422 {
		t.Errorf("without its secret vault.text = %d %s, want 422", a.status, a.body)
	}
	g.store(t, "token", firstSecret)
	g.stop(t)

	g = h.launch(t) // no key
	a := g.invoke(t, "vault.text", "{}")
	if p := a.problem(t); a.status != 503 || p.Type != "/problems/secrets-unreadable" || p.Retryable || p.Started {
		t.Errorf("without a key vault.text = %d %s", a.status, a.body)
	}
	if out, err := g.attune(t, "x-value", "secret", "set", vaultPack, "other"); err == nil || !strings.Contains(out, "attune secret keygen") {
		t.Errorf("attune secret set without a key: %v, %s; want the cure", err, out)
	}
	g.stop(t)

	g = h.launch(t, "ATTUNE__SECRETS__KEY_FILE="+keyFile(t)) // another key
	if a := g.invoke(t, "vault.text", "{}"); a.status != 503 || a.problem(t).Type != "/problems/secrets-unreadable" {
		t.Errorf("with another key vault.text = %d %s", a.status, a.body)
	}
	g.stop(t)

	g = h.start(t, key)
	if got := g.mustInvoke(t, "vault.text", "{}").body; got != "[MASKED]" {
		t.Errorf("vault.text = %q", got)
	}
	list, err := g.attune(t, "", "secret", "list", vaultPack)
	if err != nil || !strings.Contains(list, "token") || !strings.Contains(list, "readable") {
		t.Errorf("attune secret list: %v\n%s", err, list)
	}
	if out, err := g.attune(t, "", "secret", "rm", vaultPack, "token"); err != nil {
		t.Errorf("attune secret rm: %v\n%s", err, out)
	}
	if a := g.invoke(t, "vault.text", "{}"); a.status != 422 {
		t.Errorf("after rm vault.text = %d %s, want 422", a.status, a.body)
	}
}

// TestSecretsAreRotated while calls go on.
func TestSecretsAreRotated(t *testing.T) {
	h := vaultHome(t)
	file := keyFile(t)
	g := h.launch(t, "ATTUNE__SECRETS__KEY_FILE="+file)
	g.store(t, "token", firstSecret)
	g.stop(t)
	if out, err := exec.Command(program("attune"), "secret", "keygen", file).CombinedOutput(); err != nil {
		t.Fatalf("attune secret keygen: %v\n%s", err, out)
	}
	g = h.launch(t, "ATTUNE__SECRETS__KEY_FILE="+file)
	eventually(t, 10*time.Second, "every secret is sealed by the new key", func() bool {
		return strings.Contains(g.text(), "secrets are sealed by the first key now")
	})
	g.stop(t)
	keys, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(keys), "\n")
	g = h.start(t, "ATTUNE__SECRETS__KEY="+first) // the old one is gone
	if got := g.mustInvoke(t, "vault.text", "{}").body; got != "[MASKED]" {
		t.Errorf("vault.text = %q", got)
	}
}

// TestParametersInAFile are written in each format.
func TestParametersInAFile(t *testing.T) {
	h := newHome(t)
	files := map[string]string{"actions/a.sh": `stat -c '%a %u' "$ATTUNE_PARAMETER_FILE"; stat -f -c %T "$ATTUNE_PARAMETER_FILE"; cat "$ATTUNE_PARAMETER_FILE"; wc -c; echo $ATTUNE_PARAMETER_DELIVERY` + "\n"}
	for _, format := range []string{"json", "yaml", "dotenv"} {
		files["actions/"+format+".yaml"] = "ref: filed." + format + "\nentry_point: a.sh\nparameter_delivery: file\nparameter_format: " + format + "\n"
	}
	h.pack(t, "filed", files)
	g := h.start(t)
	for format, document := range map[string]string{"json": "{\"name\":\"it's\"}\n", "yaml": "name: \"it's\"\n", "dotenv": "name='it'\\''s'\n"} {
		if got, want := g.mustInvoke(t, "filed."+format, `{"name":"it's"}`).body, "400 65533\ntmpfs\n"+document+"0\nfile\n"; got != want {
			t.Errorf("filed.%s = %q, want %q", format, got, want)
		}
	}
}

// TestSecretsOfOtherPages: no page of another origin stores a secret.
func TestSecretsOfOtherPages(t *testing.T) {
	h := vaultHome(t)
	g := h.start(t, "ATTUNE__SECRETS__KEY_FILE="+keyFile(t))
	for _, method := range []string{"PUT", "DELETE"} {
		request, err := http.NewRequest(method, g.url+"/api/v1/packs/vault/secrets/token", strings.NewReader(`{"value":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Origin", "http://evil.example")
		response, err := http.DefaultClient.Do(request)
		if a := read(t, response, err); a.status != 403 {
			t.Errorf("%s by a page of another origin = %d %s", method, a.status, a.body)
		}
	}
}
