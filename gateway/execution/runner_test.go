package execution

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestResultsOfActions(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]action{
		"text":  {"output_format: text\n", "cat; echo done; echo noise >&2"},
		"json":  {"output_format: json\nparameters: {n: {type: integer, default: 7}}\n", "echo starting; cat"},
		"yaml":  {"output_format: yaml\n", "printf 'a: 1\nb: [x]\n'"},
		"jsonl": {"output_format: jsonl\n", "printf '{\"a\":1}\n{\"a\":2}\n'"},
	}, nil)
	for _, test := range []struct{ name, body, output, media, result, log string }{
		{"text", `{}`, "{}\ndone\n", "text/plain; charset=utf-8", "", "{}\ndone\n"},
		{"json", ``, "{\"n\":7}\n", "application/json", `{"n":7}`, "starting\n"},
		{"json", `{"n":8}`, "{\"n\":8}\n", "application/json", `{"n":8}`, "starting\n"},
		{"yaml", ``, "a: 1\nb: [x]\n", "application/yaml", `{"a":1,"b":["x"]}`, ""},
		{"jsonl", ``, "{\"a\":1}\n{\"a\":2}\n", "application/x-ndjson", `[{"a":1},{"a":2}]`, ""},
	} {
		outcome := r.mustCall(t, test.name, test.body)
		x := outcome.Execution
		if string(outcome.Output) != test.output || outcome.MediaType != test.media || string(x.Result) != test.result {
			t.Errorf("%s: output %q as %s, result %s", test.name, outcome.Output, outcome.MediaType, x.Result)
		}
		if x.Status != StatusSucceeded || x.ExitCode == nil || *x.ExitCode != 0 || x.Error != nil {
			t.Errorf("%s: execution = %+v", test.name, x)
		}
		if x.Stdout != test.log || x.StdoutTruncated || x.BytesTruncated != 0 {
			t.Errorf("%s: stdout = %q, want %q; %d bytes truncated", test.name, x.Stdout, test.log, x.BytesTruncated)
		}
		if x.StartedAt == nil || x.StartedAt.Location() != time.UTC || x.CreatedAt.Location() != time.UTC {
			t.Errorf("%s: started %v, created %v, want UTC", test.name, x.StartedAt, x.CreatedAt)
		}
		if kept, err := r.recorder.Get(t.Context(), x.ID); err != nil || kept != x {
			t.Errorf("%s: Get() = %v, %v", test.name, kept, err)
		}
	}
	if text := r.mustCall(t, "text", "").Execution; text.Stderr != "noise\n" || text.Timing.Start != 0 || text.Timing.Run <= 0 {
		t.Errorf("a warm call = %+v", text)
	}
}

// Ensure a caller learns that its call is accepted before anything is run for
// it, and not of one that is refused.
func TestAcceptedIsToldOnceNothingIsLeftToRefuse(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]action{"text": {"output_format: text\nparameters: {n: {type: integer}}\n", "echo done"}}, nil)
	for body, want := range map[string]int{`{}`: 1, `{"n":1}`: 1, `{"n":"x"}`: 0, `{`: 0} {
		told := 0
		outcome, err := r.Invoke(t.Context(), Request{
			ID: NewID(), Action: "demo.text", Body: []byte(body), Arrived: time.Now(), Accepted: func() { told++ },
		})
		if told != want || (outcome != nil) != (want == 1) {
			t.Errorf("Invoke(%s) = %v, %v, told %d times, want %d", body, outcome, err, told, want)
		}
	}
}

func TestActionSeesItsVariablesAndNothingOfTheGateways(t *testing.T) {
	t.Setenv("GATEWAY_SECRET", "secret") // so not parallel
	r := newRig(t, map[string]action{
		"env": {"output_format: text\nvars: {MINE: a b}\n", "pwd; env | sort"},
	}, nil)
	out := string(r.mustCall(t, "env", "").Output)
	var names []string
	for line := range strings.Lines(out) {
		if name, _, ok := strings.Cut(line, "="); ok {
			names = append(names, name)
		}
	}
	want := []string{
		"ATTUNE_ACTION", "ATTUNE_DEADLINE", "ATTUNE_EXEC_ID", "ATTUNE_PACK", "ATTUNE_PACK_DIR", "ATTUNE_PARAMETER_DELIVERY",
		"ATTUNE_PARAMETER_FORMAT", "HOME", "LANG", "MINE", "PATH", "TMPDIR", "TZ",
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == "PWD" || n == "SHLVL" || n == "_" }) // the shell's own
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	for _, line := range []string{r.packDir + "\n", "MINE=a b\n", "ATTUNE_ACTION=demo.env\n", "ATTUNE_PACK_DIR=" + r.packDir + "\n"} {
		if !strings.Contains(out, line) {
			t.Errorf("output has no line %q:\n%s", line, out)
		}
	}
}

func TestFailuresOfActions(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]action{
		"code":     {"output_format: json\n", "echo out; echo why >&2; exit 3"},
		"signal":   {"output_format: text\n", "kill -SEGV $$"},
		"nothing":  {"output_format: json\n", "true"},
		"nonsense": {"output_format: json\n", "echo '{\"a\":'"},
		"schema":   {"output_format: json\noutput_schema: {n: {type: integer, required: true}}\n", "echo '{\"n\":\"x\"}'"},
		"large":    {"output_format: text\n", "head -c 65537 /dev/zero"},
	}, nil)
	for _, test := range []struct {
		name, code, reason string
		exit               int
	}{
		{"code", CodeActionFailed, "the action ended with exit code 3", 3},
		{"signal", CodeActionFailed, "the action ended with exit code 139", 139},
		{"nothing", CodeBadOutput, "the action's output is not json", 0},
		{"nonsense", CodeBadOutput, "the action's output is not json", 0},
		{"schema", CodeBadOutput, "the action's output does not match its output_schema", 0},
		{"large", CodeResultTooLarge, "the action printed 65537 bytes; a result may have 65536 (limits.result)", 0},
	} {
		x, failure := r.mustFail(t, t.Context(), test.name, 0)
		if failure.Code != test.code || !strings.HasPrefix(failure.Reason, test.reason) {
			t.Errorf("%s: failure = %+v, want %s: %s", test.name, failure, test.code, test.reason)
		}
		if x.Status != StatusFailed || x.ExitCode == nil || *x.ExitCode != test.exit || x.Result != nil || !failure.Started || failure.Retryable {
			t.Errorf("%s: execution = %+v", test.name, x)
		}
	}
	x, failure := r.mustFail(t, t.Context(), "code", 0)
	if failure.Log != "why\n" || x.Stdout != "out\n" || x.Stderr != "why\n" {
		t.Errorf("log %q, stdout %q, stderr %q", failure.Log, x.Stdout, x.Stderr)
	}
	if _, failure := r.mustFail(t, t.Context(), "schema", 0); len(failure.Parameters) != 1 {
		t.Errorf("problems = %+v, want n's", failure.Parameters)
	}
	if total, idle := r.pools.Counts(); total != 1 || idle != 1 {
		t.Errorf("Counts() = %d, %d: a failed program is no reason for another instance", total, idle)
	}
}

func TestOutputAtTheLimits(t *testing.T) {
	t.Parallel()
	print := func(stdout, stderr int) string {
		out, _ := json.Marshal(map[string]int{"o": stdout, "e": stderr})
		return string(out)
	}
	r := newRig(t, map[string]action{
		"print": {"output_format: text\nparameters: {o: {type: integer}, e: {type: integer}}\n",
			"read -r p; n() { echo \"$p\" | tr -dc '0-9,' | cut -d, -f$1; }\n" +
				"head -c $(n 2) /dev/zero | tr '\\0' o; head -c $(n 1) /dev/zero | tr '\\0' e >&2\n"},
	}, nil)
	const notice = "\n\n[OUTPUT TRUNCATED: stdout exceeded size limit]\n"
	for _, test := range []struct {
		stdout, stderr int
		truncated      int64
	}{
		{1024, 1024, 0}, {1025, 1024, 1}, {1024, 1030, 6}, {1 << 16, 5000, 1<<16 - 1024 + 5000 - 1024},
	} {
		outcome := r.mustCall(t, "print", print(test.stdout, test.stderr))
		x := outcome.Execution
		if len(outcome.Output) != test.stdout {
			t.Errorf("%+v: the result has %d bytes", test, len(outcome.Output))
		}
		if x.StdoutTruncated != (test.stdout > 1024) || x.StderrTruncated != (test.stderr > 1024) || x.BytesTruncated != test.truncated {
			t.Errorf("%+v: truncated %v, %v, %d bytes", test, x.StdoutTruncated, x.StderrTruncated, x.BytesTruncated)
		}
		want := strings.Repeat("o", min(test.stdout, 1024))
		if test.stdout > 1024 {
			want += notice
		}
		if x.Stdout != want {
			t.Errorf("%+v: stdout ends with %q", test, x.Stdout[len(x.Stdout)-60:])
		}
	}
}

// The engine of development: real paths, and an environment all the same.
func TestPythonWithoutContainers(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skip("no /usr/bin/python3")
	}
	r := newRig(t, map[string]action{
		"where.py": {"output_format: json\n", "import sys, json\nprint(json.dumps({'prefix': sys.prefix, 'got': json.load(sys.stdin)}))\n"},
	}, nil)
	outcome := r.mustCall(t, "where", `{"a":1}`)
	var result struct {
		Prefix string
		Got    map[string]int
	}
	if err := json.Unmarshal(outcome.Output, &result); err != nil {
		t.Fatal(err)
	}
	if filepath.Base(filepath.Dir(result.Prefix)) != ".store" || result.Got["a"] != 1 {
		t.Errorf("result = %+v, want a published environment's prefix", result)
	}
	if x := outcome.Execution; x.Timing.Environment <= 0 || x.Timing.Start <= 0 {
		t.Errorf("timing = %+v", x.Timing)
	}
	if left, err := os.ReadDir(r.packDir); err != nil || len(left) != 2 {
		t.Errorf("the pack holds %v, %v: it was written", left, err)
	}
}

func TestRefusedCallsAreNoExecutions(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]action{
		"a":        {"output_format: text\nparameters: {n: {type: integer, required: true, maximum: 9}}\n", "true"},
		"disabled": {"enabled: false\n", "true"},
		"outside":  {"network: outbound\n", "true"},
	}, nil)
	for _, test := range []struct{ action, body, code string }{
		{"demo", "", CodeInvalidRef},
		{"demo.a.b", "", CodeInvalidRef},
		{"demo.missing", "", CodeNotFound},
		{"other.a", "", CodeNotFound},
		{"demo.disabled", "", CodeNotFound},
		{"demo.outside", "", CodeForbidden},
		{"demo.a", "{", CodeInvalidJSON},
		{"demo.a", "[]", CodeInvalidParameters},
		{"demo.a", "{}", CodeInvalidParameters},
		{"demo.a", `{"n":10}`, CodeInvalidParameters},
	} {
		outcome, err := r.Invoke(t.Context(), Request{ID: NewID(), Action: test.action, Body: []byte(test.body), Arrived: time.Now()})
		if failure := asError(t, err); outcome != nil || failure.Code != test.code || failure.Started {
			t.Errorf("Invoke(%s, %s) = %+v, %+v, want %s", test.action, test.body, outcome, failure, test.code)
		}
	}
	if page, err := r.recorder.List(context.Background(), Query{}); err != nil || len(page.Executions) != 0 {
		t.Errorf("recorded: %v, %v", page.Executions, err)
	}
}
