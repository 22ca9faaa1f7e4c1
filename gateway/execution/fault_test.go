package execution

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"attune/envcache"
	"attune/gateway/pack"
	"attune/runtimes"
	"attune/runtimes/agent"
	"attune/runtimes/container"
)

func TestEnvironmentThatCanNotBeBuilt(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]action{"a.failing": {"runner_type: failing\n", "true"}}, nil)
	for range 2 {
		x, failure := r.mustFail(t, t.Context(), "a", 0)
		if failure.Code != CodeEnvironmentFailed || failure.Started || !failure.Retryable || failure.RetryAfter < time.Second {
			t.Errorf("failure = %+v", failure)
		}
		if !strings.Contains(failure.Log, "no such package\n") || !strings.HasSuffix(failure.Reason, ": no such package") || x.StartedAt != nil {
			t.Errorf("reason %q, log %q", failure.Reason, failure.Log)
		}
	}
}

func TestEnvironmentThatIsBeingBuilt(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]action{"a.waiting": {"runner_type: waiting\noutput_format: text\n", "echo ran"}}, nil)
	gate := filepath.Join(r.packDir, "lib", "gate")
	if err := os.Mkdir(filepath.Dir(gate), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	_, failure := r.mustFail(t, t.Context(), "a", 50*time.Millisecond)
	if failure.Code != CodeEnvironmentBuild || failure.RetryAfter < time.Second || failure.Started {
		t.Errorf("failure = %+v", failure)
	}
	write(t, gate, "go\n")
	if out := string(r.mustCall(t, "a", "").Output); out != "ran\n" { // the build went on
		t.Errorf("output = %q", out)
	}
}

func TestParametersThatAreTooLarge(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]action{"a": {"output_format: text\nparameters: {p: {type: string}}\n", "true"}}, nil)
	r.mustCall(t, "a", "")
	outcome, err := r.call(t.Context(), "a", `{"p":"`+strings.Repeat("x", 17<<20)+`"}`, 0)
	if failure := asError(t, err); failure.Code != CodeLimitExceeded || failure.Started || outcome.Execution.StartedAt != nil {
		t.Errorf("failure = %+v", failure)
	}
	if total, idle := r.pools.Counts(); total != 1 || idle != 1 {
		t.Errorf("Counts() = %d, %d: the instance is not to blame", total, idle)
	}
}

func TestProgramThatCanNotBeStarted(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]action{"a": {"output_format: text\n", "true"}}, nil)
	shell, ok := runtimes.Builtin().ByName("shell")
	if !ok {
		t.Fatal("no shell")
	}
	missing := *shell
	missing.Interpreter.Binary = "/missing/bash"
	ref, err := pack.ParseActionRef("demo.a")
	if err != nil {
		t.Fatal(err)
	}
	action, _ := r.Catalog().Action(ref)
	action.Runtime = &missing
	x, failure := r.mustFail(t, t.Context(), "a", 0)
	if failure.Code != CodeActionFailed || failure.Started || x.StartedAt != nil || !strings.Contains(failure.Reason, "exec /missing/bash") {
		t.Errorf("execution = %+v, %+v", x, failure)
	}
	if total, idle := r.pools.Counts(); total != 1 || idle != 1 {
		t.Errorf("Counts() = %d, %d", total, idle)
	}
}

// Each error of a part has one answer.
func TestClassify(t *testing.T) {
	t.Parallel()
	r := NewRunner(Options{Images: NewImages(nil, anyImage)})
	left, leave := context.WithCancelCause(t.Context())
	leave(errLeft)
	abandoned, abandon := context.WithCancelCause(t.Context())
	abandon(errAbandoned)
	late, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	deep := func(err error) error { return fmt.Errorf("start instance: %w", err) }
	for name, test := range map[string]struct {
		ctx       context.Context
		err       error
		code      string
		retryable bool
	}{
		"failed build":           {nil, &envcache.FailedError{Reason: "x"}, CodeEnvironmentFailed, true},
		"running build":          {nil, &envcache.BuildingError{}, CodeEnvironmentBuild, true},
		"no space":               {nil, envcache.ErrStorageFull, CodeEnvironmentStorage, true},
		"builds in line":         {nil, envcache.ErrBusy, CodeOverloaded, true},
		"calls in line":          {nil, &runtimes.OverloadedError{}, CodeOverloaded, true},
		"closed pools":           {nil, deep(runtimes.ErrClosed), CodeDraining, true},
		"closed cache":           {nil, envcache.ErrClosed, CodeDraining, true},
		"shutdown":               {abandoned, errAbandoned, CodeDraining, true},
		"caller left":            {left, errLeft, CodeCancelled, false},
		"caller left, not begun": {left, deep(agent.ErrNotStarted), CodeCancelled, false},
		"caller left, then lost": {left, deep(agent.ErrLost), CodeInstanceLost, false},
		"out of time":            {late, context.DeadlineExceeded, CodeTimedOut, true},
		"lost before":            {nil, deep(agent.ErrNotStarted), CodeInstanceLost, true},
		"lost after":             {nil, deep(agent.ErrLost), CodeInstanceLost, false},
		"not executable":         {nil, &agent.StartError{Reason: "x"}, CodeActionFailed, false},
		"too large":              {nil, deep(agent.ErrTooLarge), CodeLimitExceeded, false},
		"no image":               {nil, deep(container.ErrNoImage), CodeEngineUnavailable, true},
		"no engine":              {nil, deep(container.ErrUnavailable), CodeEngineUnavailable, true},
		"refused image":          {nil, deep(errBadImage), CodeEngineUnavailable, false},
		"missing file":           {nil, deep(os.ErrNotExist), CodeEngineUnavailable, true},
		"a slow engine":          {nil, deep(context.DeadlineExceeded), CodeEngineUnavailable, true},
	} {
		ctx := test.ctx
		if ctx == nil {
			ctx = t.Context()
		}
		call := &call{execution: &Execution{}, action: &pack.Action{Runtime: &runtimes.Runtime{}}, deadline: time.Now().Add(time.Hour)}
		got := r.explain(ctx, call, "start", test.err)
		if got.Code != test.code || got.Retryable != test.retryable || got.Started != (name == "lost after" || name == "caller left, then lost") {
			t.Errorf("%s: %+v, want %s", name, got, test.code)
		}
		if got.Unwrap() != test.err || strings.Contains(got.Reason, "start instance") {
			t.Errorf("%s: %v, want the cause for the log and not for the caller", name, got)
		}
	}
}

// imageEngine has one image, until it is gone.
type imageEngine struct {
	container.Engine
	image container.Image
	err   error
	asked int
}

func (e *imageEngine) Image(context.Context, string) (container.Image, error) {
	e.asked++
	return e.image, e.err
}

func TestImagesAreResolvedOnce(t *testing.T) {
	t.Parallel()
	engine := &imageEngine{image: container.Image{ID: "sha256:1"}}
	images := NewImages(engine, anyImage)
	rt := &runtimes.Runtime{Name: "python", Image: "attune/python"}
	for range 3 {
		if image, err := images.Resolve(t.Context(), rt); err != nil || image.ID != "sha256:1" {
			t.Fatalf("Resolve() = %+v, %v", image, err)
		}
	}
	engine.image.ID = "sha256:2"
	images.Refresh()
	if image, err := images.Resolve(t.Context(), rt); err != nil || image.ID != "sha256:2" || engine.asked != 2 {
		t.Errorf("Resolve() = %+v, %v after %d questions", image, err, engine.asked)
	}
	// An image that is gone is looked for again by the next call.
	r := NewRunner(Options{Images: images})
	call := &call{execution: &Execution{}, deadline: time.Now().Add(time.Hour)}
	r.explain(t.Context(), call, "start", container.ErrNoImage)
	engine.image = container.Image{ID: "sha256:3", Volumes: []string{"/data"}}
	if image, err := images.Resolve(t.Context(), rt); err == nil || !strings.Contains(err.Error(), "VOLUME [/data]") {
		t.Errorf("Resolve() of an image with a volume = %+v, %v", image, err)
	}
}
