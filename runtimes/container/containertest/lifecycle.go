package containertest

import (
	"testing"

	"attune/runtimes/container"
)

func exerciseLifecycle(t *testing.T, b *bench) {
	t.Run("the exit code is a result", func(t *testing.T) {
		for script, want := range map[string]int{"true": 0, "exit 7": 7, "exit 255": 255} {
			if exit, _ := Run(t, b.engine, b.spec(script)); exit != (container.Exit{Code: want}) {
				t.Errorf("%s: exit = %+v, want code %d", script, exit, want)
			}
		}
	})
	t.Run("a signal is 128 and its number", func(t *testing.T) {
		c := Start(t, b.engine, b.spec(blocks))
		b.fixture.Kill(t, c)
		if exit := wait(t, c); exit.Code != 137 {
			t.Errorf("exit = %+v, want code 137", exit)
		}
	})
	t.Run("a program that is not there can't be started", func(t *testing.T) {
		spec := b.spec("")
		spec.Entrypoint = []string{"/nowhere/program"}
		c := Create(t, b.engine, spec)
		if err := c.Start(t.Context()); err == nil {
			t.Error("Start() = nil, want an error")
		}
		if err := c.Remove(t.Context()); err != nil {
			t.Errorf("Remove(): %v", err)
		}
	})
	t.Run("states", func(t *testing.T) {
		c := Create(t, b.engine, b.spec(blocks))
		wantPhase(t, c, container.PhaseCreated)
		if err := c.Start(t.Context()); err != nil {
			t.Fatalf("Start(): %v", err)
		}
		wantPhase(t, c, container.PhaseRunning)
		b.fixture.Kill(t, c)
		exit := wait(t, c)
		if state := wantPhase(t, c, container.PhaseExited); state.Exit != exit {
			t.Errorf("State().Exit = %+v, Wait() = %+v", state.Exit, exit)
		}
	})
	t.Run("the end of the first process is the end of all", func(t *testing.T) {
		// What is left behind holds the output open, so Logs ends only with it.
		exit, output := Run(t, b.engine, b.spec("sleep 100000 & echo done; exit 3"))
		if exit.Code != 3 || output != "done\n" {
			t.Errorf("exit = %+v, output %q", exit, output)
		}
	})
	t.Run("an invalid spec is refused", func(t *testing.T) {
		if _, err := b.engine.Create(t.Context(), container.Spec{}); err == nil {
			t.Error("Create() = nil, want an error")
		}
	})
}

func wantPhase(t *testing.T, c container.Container, want container.Phase) container.State {
	t.Helper()
	state, err := c.State(t.Context())
	if err != nil || state.Phase != want {
		t.Errorf("State() = %+v, %v; want %s", state, err, want)
	}
	return state
}
