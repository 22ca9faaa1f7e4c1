package supervisor

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"

	"attune/runtimes/agent/wire"
)

func TestOOMKills(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"low 0\nhigh 0\nmax 12\noom 2\noom_kill 3\noom_group_kill 0\n": 3, // version 2
		"oom_kill_disable 0\nunder_oom 0\noom_kill 7\n":                7, // version 1
		"oom_kill_disable 0\n":                                         -1,
		"":                                                             -1,
		"oom_kill x\n":                                                 -1,
	} {
		if got := oomKills([]byte(text)); got != want {
			t.Errorf("oomKills(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestParent(t *testing.T) {
	t.Parallel()
	if got, want := parent(os.Getpid()), os.Getppid(); got != want {
		t.Errorf("parent(self) = %d, want %d", got, want)
	}
	if got := parent(1 << 30); got != 0 {
		t.Errorf("parent(nobody) = %d, want 0", got)
	}
}

// The janitor kills all that root may kill: it must not exist on a machine.
func TestJanitorNeedsContainer(t *testing.T) {
	t.Parallel()
	if j, err := newJanitor(nil, t.TempDir()); err == nil || j != nil {
		t.Errorf("newJanitor() outside of a container = %v, %v; want an error", j, err)
	}
}

// The peer of a connection made in this process has a process ID here.
func TestPeerInsideIsRefused(t *testing.T) {
	t.Parallel()
	path := listenHere(t)
	if _, err := dial(path, true); err == nil {
		t.Error("dial() accepted a peer of its own process namespace")
	}
	conn, err := dial(path, false)
	if err != nil {
		t.Fatalf("dial() = %v", err)
	}
	conn.Close()
	if _, err := dial(path+"-missing", false); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("dial() of nothing = %v, want ENOENT", err)
	}
}

func TestExitCode(t *testing.T) {
	t.Parallel()
	if code, sig := exitCode(syscall.WaitStatus(7 << 8)); code != 7 || sig != 0 {
		t.Errorf("exitCode(exit 7) = %d, %d", code, sig)
	}
	if code, sig := exitCode(syscall.WaitStatus(11)); code != 139 || sig != 11 {
		t.Errorf("exitCode(SIGSEGV) = %d, %d", code, sig)
	}
}

// FuzzAgentInput reads what a gateway might send, up to where it would be obeyed.
func FuzzAgentInput(f *testing.F) {
	var good bytes.Buffer
	p, err := wire.EncodeStart(wire.Start{Argv: []string{"a"}, Timeout: 1, Stdin: []byte("x")})
	if err != nil {
		f.Fatal(err)
	}
	wire.Write(&good, wire.TypeStart, 1, p)
	wire.Write(&good, wire.TypeKill, 1, []byte(`{"grace_ns":-5}`))
	f.Add(good.Bytes())
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		in := wire.NewReader(bytes.NewReader(input), wire.ToAgent)
		for {
			m := nextMessage(in)
			switch {
			case m.err != nil:
				if !errors.Is(m.err, wire.ErrProtocol) && m.err != io.EOF && m.err != io.ErrUnexpectedEOF {
					t.Errorf("nextMessage() = %v", m.err)
				}
				return
			case m.start != nil:
				if len(m.start.Argv) == 0 || m.start.Timeout <= 0 || m.start.StdoutLimit < 0 {
					t.Errorf("nextMessage() let %+v pass", m.start)
				}
			case m.kill < 0:
				t.Errorf("nextMessage() let a grace of %v pass", m.kill)
			}
		}
	})
}

// A gateway that breaks the protocol ends the agent, whose loop is tried here
// without a process.
func TestObey(t *testing.T) {
	t.Parallel()
	running := &supervisor{last: 2, running: newExecution(2, &wire.Start{})}
	idle := &supervisor{last: 2}
	spent := &supervisor{last: 2, spent: true}
	for _, test := range []struct {
		name      string
		s         *supervisor
		m         message
		violation bool
	}{
		{"a start while another runs", running, message{stream: 3, start: &wire.Start{}}, true},
		{"a start with an old number", idle, message{stream: 2, start: &wire.Start{}}, true},
		{"a start where something is left", spent, message{stream: 3, start: &wire.Start{}}, true},
		{"a start out of order", idle, message{stream: 4, start: &wire.Start{}}, true},
		{"a kill of what runs", running, message{stream: 2}, false},
		{"a kill that came too late", idle, message{stream: 2}, false},
		{"a kill of the future", idle, message{stream: 3}, true},
		{"a kill of nothing", idle, message{stream: 0}, true},
	} {
		if err := test.s.obey(test.m); errors.Is(err, wire.ErrProtocol) != test.violation {
			t.Errorf("%s: obey() = %v, want a violation: %v", test.name, err, test.violation)
		}
	}
}
