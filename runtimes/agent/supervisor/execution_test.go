package supervisor

import (
	"os"
	"testing"
	"time"

	"attune/runtimes/agent/wire"
)

// Output that could not be read to its end is known as such; output that was read
// to its end is whole, however late.
func TestPumpKnowsWhetherItSawTheEnd(t *testing.T) {
	t.Parallel()
	for name, whole := range map[string]bool{"closed": true, "held open": false} {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		write.WriteString("x")
		if whole {
			write.Close()
		} else {
			defer write.Close()
			read.SetDeadline(time.Now().Add(20 * time.Millisecond))
		}
		p := pump{kind: wire.TypeStdout}
		p.run(read, 9, 1, func(wire.Type, uint32, []byte) error { return nil })
		if p.cut == whole {
			t.Errorf("%s: cut = %v", name, p.cut)
		}
	}
}

// What was cancelled, or had no time left, before its process was made is not
// started any more.
func TestOverBeforeTheStart(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*execution){
		"cancelled": func(e *execution) { e.stop(0) },
		"too late":  func(e *execution) { e.deadline = time.Now() },
	} {
		e := newExecution(message{start: &wire.Start{Argv: []string{"/bin/true"}, Dir: "/", Timeout: time.Hour}})
		e.slot = &slot{place{scratch: t.TempDir()}}
		change(e)
		s := &supervisor{cleaner: descendants{}, children: &reaper{running: map[int]*process{}}}
		if p, fault := s.start(e); p != nil || fault != nil {
			t.Errorf("%s: start() = %v, %v, want neither", name, p, fault)
		}
	}
}
