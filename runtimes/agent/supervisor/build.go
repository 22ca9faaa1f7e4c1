package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"attune/runtimes/agent"
)

// buildGrace is how long a build may take to end after SIGTERM.
const buildGrace = 5 * time.Second

// Exit codes of Build beside those of the steps.
const (
	exitOwnFault   = 125
	exitNotRunning = 126
	exitNotFound   = 127
)

// builder carries out a plan.
type builder struct {
	env      []string
	out, log *os.File
	children *reaper
	grace    time.Duration
}

// Build carries out the plan in env's agent.PlanVariable and returns an exit
// code, as agent.Plan describes. Steps get the rest of env, no input, and out and
// log as their stdout and stderr. When it returns, nothing that it started runs
// any more, or the caller is PID 1 and takes the rest with it.
func Build(env []string, out, log *os.File) int {
	plan, err := agent.ParsePlan([]byte(variable(env, agent.PlanVariable+"=")))
	if err != nil {
		fmt.Fprintf(log, "attune-agent: %s: %v\n", agent.PlanVariable, err)
		return exitOwnFault
	}
	if os.Getpid() != 1 {
		if err := prctl(prSetChildSubreaper, 1); err != nil {
			fmt.Fprintf(log, "attune-agent: become child subreaper: %v\n", err)
			return exitOwnFault
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(plan.TimeoutSeconds)*time.Second, errTimeout)
	defer cancel()
	b := &builder{env: stepEnv(env), out: out, log: log, children: newReaper(), grace: buildGrace}
	defer b.children.stop()
	defer b.kill()
	return b.carryOut(ctx, plan)
}

// errTimeout is the cause of a context whose plan ran out of time.
var errTimeout = errors.New("plan ran out of time")

// stepEnv is what steps see of the builder's environment.
func stepEnv(env []string) []string {
	steps := []string{}
	for _, e := range env {
		if !strings.HasPrefix(e, agent.PlanVariable+"=") {
			steps = append(steps, e)
		}
	}
	return steps
}

func (b *builder) carryOut(ctx context.Context, plan agent.Plan) int {
	for _, c := range plan.Copy {
		fmt.Fprintf(b.out, "==> copy: %s %s\n", quoted(c.From), quoted(c.To))
		if err := copyTree(c.From, c.To); err != nil {
			fmt.Fprintf(b.out, "==> copy failed: %v\n", err)
			return exitOwnFault
		}
	}
	for _, s := range plan.Steps {
		if code := b.step(ctx, s); code != 0 {
			return code
		}
	}
	return 0
}

// step runs one step and says so.
func (b *builder) step(ctx context.Context, s agent.Step) int {
	argv, path, err := b.choose(s)
	if err != nil {
		fmt.Fprintf(b.out, "==> %s failed: %v\n", s.Name, err)
		return exitNotFound
	}
	fmt.Fprintf(b.out, "==> %s: %s\n", s.Name, brief(argv))
	code, how := b.run(ctx, path, argv, s.Dir)
	if code != 0 {
		fmt.Fprintf(b.out, "==> %s failed: %s\n", s.Name, how)
	}
	return code
}

// choose takes the first alternative that applies.
func (b *builder) choose(s agent.Step) (argv []string, path string, err error) {
	var missing []string
	for _, a := range s.Alternatives {
		if a.Needs != "" {
			if _, fault := lookUp(a.Needs, b.env); fault != nil {
				missing = append(missing, a.Needs)
				continue
			}
		}
		path, fault := lookUp(a.Argv[0], b.env)
		if fault != nil {
			return nil, "", errors.New(fault.reason)
		}
		return a.Argv, path, nil
	}
	return nil, "", fmt.Errorf("none of %s is on PATH", strings.Join(missing, ", "))
}

// run runs a program until it ends or ctx does, and says how it ended.
func (b *builder) run(ctx context.Context, path string, argv []string, dir string) (int, string) {
	input, err := os.Open(os.DevNull)
	if err != nil {
		return exitOwnFault, err.Error()
	}
	defer input.Close()
	p, err := b.children.start(path, argv, &syscall.ProcAttr{
		Dir: dir, Env: b.env, Sys: &syscall.SysProcAttr{Setsid: true},
		Files: []uintptr{input.Fd(), b.out.Fd(), b.log.Fd()},
	})
	if err != nil {
		fault := explain(path, dir, err)
		return fault.code, fault.reason
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		return b.abort(ctx, p)
	}
	code, sig := exitCode(p.status)
	if sig != 0 {
		return code, "signal: " + syscall.Signal(sig).String()
	}
	return code, "exit status " + strconv.Itoa(code)
}

// abort ends a step that may not go on.
func (b *builder) abort(ctx context.Context, p *process) (int, string) {
	b.children.signalGroup(p, syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(b.grace):
	}
	if context.Cause(ctx) == errTimeout {
		return agent.ExitTimeout, "timeout"
	}
	return 128 + int(syscall.SIGTERM), "cancelled"
}

// kill ends what steps have left running. PID 1 takes everything with it, but
// says so first to what shares its container by its own uid.
func (b *builder) kill() {
	if err := (descendants{children: b.children}).kill(everybody); err != nil {
		fmt.Fprintf(b.log, "attune-agent: %v\n", err)
	}
}

// Bounds of an announced command and of each of its words, in bytes.
const (
	maxBrief = 300
	maxWord  = 100
)

// brief is a command as it is announced: enough to know it by, with the manifest
// that often comes last. Whole programs stand in some arguments: each ends where
// its first line does.
func brief(argv []string) string {
	words := make([]string, len(argv))
	for i, arg := range argv {
		first, _, more := strings.Cut(arg, "\n")
		words[i] = cut(quoted(first), maxWord)
		if more && !strings.HasSuffix(words[i], "…") {
			words[i] += "…"
		}
	}
	return cut(strings.Join(words, " "), maxBrief)
}

// cut shortens a text between two characters, and shows it.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
}

// quoted makes an argument readable and keeps it on its line.
func quoted(s string) string {
	if q := strconv.Quote(s); s == "" || strings.ContainsAny(s, " \t") || q != `"`+s+`"` {
		return q
	}
	return s
}
