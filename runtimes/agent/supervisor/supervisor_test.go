package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
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

func TestChildrenAndSessions(t *testing.T) {
	session, err := syscall.Getpgid(0)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command("sleep", "1000")
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	pid := command.Process.Pid
	if got := sessionOf(pid); got != pid || got == session {
		t.Errorf("sessionOf(a leader) = %d, want %d", got, pid)
	}
	if got := sessionOf(1 << 30); got != 0 {
		t.Errorf("sessionOf(nobody) = %d", got)
	}
	for name, list := range map[string]func() ([]int, error){"own": ownChildren, "by parent": func() ([]int, error) { return childrenOf(os.Getpid()) }} {
		if got, err := list(); err != nil || !slices.Contains(got, pid) {
			t.Errorf("%s: children = %v, %v, want %d among them", name, got, err, pid)
		}
	}
	command.Process.Kill()
	command.Wait()
	if got, err := ownChildren(); err != nil || slices.Contains(got, pid) {
		t.Errorf("children after the end = %v, %v", got, err)
	}
}

// The janitor kills all that root may kill: it must not exist on a machine.
func TestJanitorNeedsContainer(t *testing.T) {
	t.Parallel()
	if j, err := newJanitor(nil); err == nil || j != nil {
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
			m := nextMessage(in, &rights{})
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
	running := &supervisor{last: 2, running: map[uint32]*execution{2: newExecution(message{stream: 2, start: &wire.Start{}})}}
	idle := &supervisor{last: 2, free: []*slot{{}}}
	for _, test := range []struct {
		name      string
		s         *supervisor
		m         message
		violation bool
	}{
		{"a start without a free slot", running, message{stream: 3, start: &wire.Start{}}, true},
		{"a start with an old number", idle, message{stream: 2, start: &wire.Start{}}, true},
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

// An instance in which something was left starts nothing more, which is no fault
// of a gateway that doesn't know yet.
func TestSpentRefuses(t *testing.T) {
	t.Parallel()
	theirs, ours := unixPair(t)
	s := &supervisor{conn: ours, last: 2, spent: true, free: []*slot{{}}, running: map[uint32]*execution{}}
	if err := s.obey(message{stream: 3, start: &wire.Start{}}); err != nil || len(s.running) != 0 || len(s.free) != 1 {
		t.Fatalf("obey() = %v, running %v", err, s.running)
	}
	f, err := wire.NewReader(theirs, wire.ToGateway).Next()
	if err != nil || f.Type != wire.TypeRefused || f.Stream != 3 {
		t.Errorf("answer = %+v, %v, want that stream 3 is refused", f, err)
	}
}

func unixPair(t testing.TB) (*net.UnixConn, *net.UnixConn) {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range pair {
		file := os.NewFile(uintptr(fd), "pair")
		conn, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = conn.(*net.UnixConn)
		t.Cleanup(func() { conn.Close() })
	}
	return conns[0], conns[1]
}

// A worker's descriptor comes with its frame, whatever is read at once.
func TestRights(t *testing.T) {
	t.Parallel()
	theirs, ours := unixPair(t)
	r := &rights{conn: ours}
	defer r.close()
	in := wire.NewReader(r, wire.ToAgent)
	worker := wire.Encode(wire.Program{Argv: []string{"a"}, Dir: "/"})
	var names []string
	for i := range 3 {
		file, err := os.CreateTemp(t.TempDir(), "descriptor")
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, file.Name())
		head := wire.Header(wire.TypeWorker, uint32(i+1), len(worker))
		if _, _, err := theirs.WriteMsgUnix(append(head[:], worker...), syscall.UnixRights(int(file.Fd())), nil); err != nil {
			t.Fatal(err)
		}
		wire.Write(theirs, wire.TypeKill, uint32(i+1), []byte("{}"))
		file.Close()
	}
	for i := range 3 {
		m := nextMessage(in, r)
		if m.err != nil || !m.worker || m.stream != uint32(i+1) {
			t.Fatalf("message = %+v", m)
		}
		file := os.NewFile(uintptr(m.descriptor), "got")
		if got, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", m.descriptor)); err != nil || got != names[i] {
			t.Errorf("descriptor %d is %s, %v, want %s", i, got, err, names[i])
		}
		file.Close()
		if m := nextMessage(in, r); m.err != nil || m.start != nil {
			t.Errorf("message = %+v, want a kill", m)
		}
	}
	wire.Write(theirs, wire.TypeWorker, 4, worker)
	if m := nextMessage(in, r); !errors.Is(m.err, wire.ErrProtocol) {
		t.Errorf("worker without a descriptor: %+v, want ErrProtocol", m)
	}
}

// What was received and not asked for is bounded.
func TestRightsAreBounded(t *testing.T) {
	t.Parallel()
	theirs, ours := unixPair(t)
	r := &rights{conn: ours}
	defer r.close()
	go func() {
		for range wire.MaxSlots + 1 {
			theirs.WriteMsgUnix([]byte("x"), syscall.UnixRights(0), nil) // it may be over by then
		}
	}()
	for range wire.MaxSlots {
		if _, err := r.Read(make([]byte, 64)); err != nil {
			t.Fatalf("Read() = %v", err)
		}
	}
	if _, err := r.Read(make([]byte, 64)); !errors.Is(err, wire.ErrProtocol) {
		t.Errorf("one more: %v, want ErrProtocol", err)
	}
}
