package supervisor

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"attune/runtimes/agent"
)

// TestMain is the builder when it is started as `supervisor.test build`.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "build" {
		os.Exit(Build(os.Environ(), os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func listenHere(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	l, err := agent.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return filepath.Join(dir, agent.SocketName)
}

// builderCommand is a builder process with a plan.
func builderCommand(t *testing.T, plan agent.Plan) *exec.Cmd {
	t.Helper()
	document, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(os.Args[0], "build")
	c.Env = []string{"PATH=/usr/bin:/bin", "A=1", agent.PlanVariable + "=" + string(document)}
	return c
}

// build carries out a plan and returns the exit code and all output.
func build(t *testing.T, plan agent.Plan) (int, string) {
	t.Helper()
	output, err := builderCommand(t, plan).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.ExitCode(), string(output)
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, string(output)
}

func step(name string, alternatives ...agent.Alternative) agent.Step {
	return agent.Step{Name: name, Alternatives: alternatives, Dir: "/"}
}

func shell(script string) agent.Alternative {
	return agent.Alternative{Argv: []string{"sh", "-c", script}}
}

func TestBuild(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		steps []agent.Step
		code  int
		want  string
	}{
		{
			"alternatives", []agent.Step{step("create",
				agent.Alternative{Needs: "no-such-tool", Argv: []string{"no-such-tool"}},
				agent.Alternative{Needs: "echo", Argv: []string{"echo", "second"}},
				agent.Alternative{Argv: []string{"echo", "third"}})},
			0, "==> create: echo second\nsecond\n",
		},
		{
			"no alternative", []agent.Step{step("create", agent.Alternative{Needs: "no-such-tool", Argv: []string{"x"}})},
			127, "==> create failed: none of no-such-tool is on PATH\n",
		},
		{
			"failure ends it", []agent.Step{step("one", shell("exit 3")), step("two", shell("echo no"))},
			3, "==> one: sh -c \"exit 3\"\n==> one failed: exit status 3\n",
		},
		{
			"signal", []agent.Step{step("one", shell("kill -9 $$"))},
			137, "==> one: sh -c \"kill -9 $$\"\n==> one failed: signal: killed\n",
		},
		{
			"missing program", []agent.Step{step("one", agent.Alternative{Argv: []string{"/no/such"}})},
			127, "==> one: /no/such\n==> one failed: exec /no/such: no such file or directory\n",
		},
		{
			"environment without the plan", []agent.Step{step("one", agent.Alternative{Argv: []string{"env"}})},
			0, "==> one: env\nPATH=/usr/bin:/bin\nA=1\n",
		},
		{
			"arguments stay on their line", []agent.Step{step("one", agent.Alternative{Argv: []string{"true", "a\nb", "", "c"}})},
			0, "==> one: true a… \"\" c\n",
		},
		{
			"no input", []agent.Step{step("one", agent.Alternative{Argv: []string{"cat"}})},
			0, "==> one: cat\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			code, output := build(t, agent.Plan{TimeoutSeconds: 60, Steps: test.steps})
			if code != test.code || output != test.want {
				t.Errorf("build: exit %d, output %q; want %d, %q", code, output, test.code, test.want)
			}
		})
	}
}

func TestBuildCopies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "deep", "er", "to")
	if err := os.WriteFile(from, []byte("text"), 0o400); err != nil {
		t.Fatal(err)
	}
	plan := agent.Plan{TimeoutSeconds: 60, Copy: []agent.Copy{{From: from, To: to}}}
	if code, output := build(t, plan); code != 0 || output != "==> copy: "+from+" "+to+"\n" {
		t.Errorf("build: exit %d, output %q", code, output)
	}
	if got, err := os.ReadFile(to); string(got) != "text" {
		t.Errorf("copy holds %q, %v", got, err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(dir, "tree")
	for _, name := range []string{"a/b/run.sh", "c"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(tree, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, name), []byte(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/no/such", filepath.Join(tree, "a", "link")); err != nil {
		t.Fatal(err)
	}
	target := t.TempDir()
	plan.Copy = []agent.Copy{{From: tree, To: target}}
	if code, output := build(t, plan); code != 0 {
		t.Errorf("copy of a directory: exit %d, output %q", code, output)
	}
	got, err := os.ReadFile(filepath.Join(target, "a", "b", "run.sh"))
	info, statErr := os.Stat(filepath.Join(target, "c"))
	link, linkErr := os.Readlink(filepath.Join(target, "a", "link"))
	if string(got) != "a/b/run.sh" || link != "/no/such" || err != nil || statErr != nil || linkErr != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the copy holds %q, %q, %v (%v, %v, %v)", got, link, info, err, statErr, linkErr)
	}
	for _, from := range []string{fifo, dir, "/dev/zero", "/no/such"} {
		plan.Copy = []agent.Copy{{From: from, To: to}}
		if code, output := build(t, plan); code != 125 || !strings.Contains(output, "==> copy failed: ") {
			t.Errorf("copy of %s: exit %d, output %q; want 125", from, code, output)
		}
	}
}

// A step that ignores everything, and what it left, is gone after a timeout.
func TestBuildTimeout(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	code, output := build(t, agent.Plan{TimeoutSeconds: 1, Steps: []agent.Step{step("slow",
		shell(`trap "" TERM; setsid sleep 1000 & echo pid $!; while :; do sleep 1; done`))}})
	if took := time.Since(begin); code != agent.ExitTimeout || took < time.Second+buildGrace || took > 20*time.Second {
		t.Errorf("build: exit %d after %v, output %q; want %d after 6 s", code, took, output, agent.ExitTimeout)
	}
	if !strings.HasSuffix(output, "==> slow failed: timeout\n") {
		t.Errorf("output = %q", output)
	}
	checkGone(t, output)
}

// checkGone checks the process that the output names.
func checkGone(t *testing.T, output string) {
	t.Helper()
	_, after, _ := strings.Cut(output, "\npid ")
	number, _, _ := strings.Cut(after, "\n")
	pid, err := strconv.Atoi(number)
	if err != nil {
		t.Fatalf("no process in %q", output)
	}
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("process %d is left: %v", pid, err)
	}
}

func TestBuildIsTerminated(t *testing.T) {
	t.Parallel()
	c := builderCommand(t, agent.Plan{TimeoutSeconds: 60, Steps: []agent.Step{step("slow", shell("sleep 1000 & echo pid $!; echo ready; wait"))}})
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 0, 1024)
	for !strings.Contains(string(text), "\nready\n") {
		n, err := out.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		if err != nil {
			t.Fatalf("read %q: %v", text, err)
		}
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(out)
	if err != nil || string(rest) != "==> slow failed: cancelled\n" {
		t.Errorf("the rest of the output = %q, %v", rest, err)
	}
	c.Wait()
	if code := c.ProcessState.ExitCode(); code != 143 {
		t.Errorf("exit code = %d, want 143", code)
	}
	checkGone(t, string(text))
}

// What a successful build leaves running does not outlive it.
func TestBuildLeavesNobody(t *testing.T) {
	t.Parallel()
	code, output := build(t, agent.Plan{TimeoutSeconds: 60, Steps: []agent.Step{step("one", shell("setsid sleep 1000 >/dev/null 2>&1 & echo pid $!"))}})
	if code != 0 {
		t.Errorf("build: exit %d, output %q", code, output)
	}
	checkGone(t, output)
}

func TestPlansThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, document := range map[string]string{
		"nothing":         "",
		"no JSON":         "{",
		"unknown key":     `{"timeout_seconds":1,"steps":[],"shell":"x"}`,
		"no timeout":      `{"steps":[]}`,
		"relative copy":   `{"timeout_seconds":1,"copy":[{"from":"a","to":"/b"}]}`,
		"no alternatives": `{"timeout_seconds":1,"steps":[{"name":"x","dir":"/"}]}`,
		"empty argv":      `{"timeout_seconds":1,"steps":[{"name":"x","dir":"/","alternatives":[{"argv":[]}]}]}`,
		"relative dir":    `{"timeout_seconds":1,"steps":[{"name":"x","dir":"x","alternatives":[{"argv":["a"]}]}]}`,
	} {
		if _, err := agent.ParsePlan([]byte(document)); err == nil {
			t.Errorf("%s: ParsePlan(%s) = nil error", name, document)
		}
	}
	c := exec.Command(os.Args[0], "build")
	c.Env = []string{"PATH=/bin"}
	if output, err := c.CombinedOutput(); c.ProcessState.ExitCode() != 125 {
		t.Errorf("build without a plan: %v, output %q; want exit 125", err, output)
	}
}

// TestBriefCommands: a program that is an argument doesn't fill the log.
func TestBriefCommands(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 80)
	for _, test := range []struct {
		argv []string
		want string
	}{
		{[]string{"uv", "pip", "install", "-r", "/opt/a b.txt"}, `uv pip install -r "/opt/a b.txt"`},
		{[]string{"python3", "-c", "import os\nimport sys\n", "/env"}, `python3 -c "import os"… /env`},
		{[]string{"sh", "-c", "\ntrue", "x"}, `sh -c ""… x`},
		{[]string{"echo", long, "-r", "/pack/requirements.txt"}, `echo ` + strings.Repeat("é", 50) + "… -r /pack/requirements.txt"},
		{[]string{"x" + long + "\ny"}, "x" + strings.Repeat("é", 49) + "…"},
		{[]string{strings.Repeat("x", 100), strings.Repeat("x", 100)}, strings.Repeat("x", 100) + " " + strings.Repeat("x", 100)},
		{slices.Repeat([]string{"word"}, 100), strings.Repeat("word ", 60) + "…"},
	} {
		if got := brief(test.argv); got != test.want {
			t.Errorf("brief(%.40q) = %s, want %s", test.argv, got, test.want)
		}
	}
}
