package supervisor

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"attune/runtimes/agent/wire"
)

// A process that has ended while it waited gets no order, even if somebody could
// still read it: as a child whose parent is gone.
func TestNoOrderForWhoHasEnded(t *testing.T) {
	t.Parallel()
	for _, ended := range []bool{false, true} {
		theirs, ours, err := orderPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer theirs.Close()
		p := &stocked{process: &process{exited: make(chan struct{})}, place: place{scratch: t.TempDir()}, control: ours}
		if ended {
			close(p.exited)
		}
		s := &supervisor{cleaner: descendants{}}
		e := &execution{Start: &wire.Start{Script: []string{"a"}, Files: []wire.File{{Name: "f"}}}}
		if err := s.hand(p, e); (err != nil) != ended {
			t.Errorf("hand() of one that has ended: %v = %v", ended, err)
		}
		ours.Close()
		text, err := io.ReadAll(theirs)
		if err != nil || (len(text) == 0) != ended {
			t.Errorf("it has ended: %v, and reads %q, %v", ended, text, err)
		}
		if left, err := os.ReadDir(p.scratch); err != nil || (len(left) == 0) != ended {
			t.Errorf("it has ended: %v, and has files %v, %v", ended, left, err)
		}
	}
}

// A stock is stopped even while its parent takes its time.
func TestStockStopsBeforeItsParentIsReady(t *testing.T) {
	t.Parallel()
	p := newTestParent(t)
	p.process.exited = make(chan struct{})
	close(p.process.exited)
	k := p.s.startStock(p, 1, []place{{}})
	for stalled := false; !stalled; { // until it waits for the parent
		k.mu.Lock()
		stalled = len(k.places) == 0
		k.mu.Unlock()
	}
	stopped := make(chan struct{})
	go func() {
		k.stop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Fatal("stop() waits for a parent that is never ready")
	}
}

// realParent starts the parent of the Python runtime.
func realParent(t *testing.T) (socket int) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no Python on this machine")
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "parent")
	defer theirs.Close()
	command := exec.Command(python, "-u", "../../python/parent.py")
	command.ExtraFiles = []*os.File{theirs}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Close(pair[0])
		if err := command.Wait(); err != nil {
			t.Errorf("the parent ended with %v", err)
		}
	})
	syscall.SetsockoptTimeval(pair[0], syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: 20})
	return pair[0]
}

func heard(t *testing.T, socket int) (r forkReply) {
	t.Helper()
	message := make([]byte, maxForkReply)
	n, err := syscall.Read(socket, message)
	if err == nil {
		err = json.Unmarshal(message[:n], &r)
	}
	if err != nil {
		t.Fatalf("the parent says %q, %v", message[:max(n, 0)], err)
	}
	return r
}

// A child of the parent whose order pipe is closed without an order, as by the
// agent's end, ends without a word; one with half an order says what is wrong.
func TestForkedWithoutOrder(t *testing.T) {
	t.Parallel()
	socket := realParent(t)
	if r := heard(t, socket); !r.Ready || !r.Forks {
		t.Fatalf("the parent says %+v", r)
	}
	for id, test := range []struct {
		order string
		code  int
		says  bool
	}{{"", 0, false}, {`{"argv":["a"`, 126, true}, {`{}`, 126, true}} {
		theirs, ours, err := orderPipe()
		if err != nil {
			t.Fatal(err)
		}
		outer, inner, err := pipes()
		if err != nil {
			t.Fatal(err)
		}
		request := wire.Encode(forkRequest{ID: id + 1, Scripts: []string{}})
		if err := syscall.Sendmsg(socket, request, syscall.UnixRights(append(inner[:], int(theirs.Fd()))...), nil, 0); err != nil {
			t.Fatal(err)
		}
		theirs.Close()
		for _, fd := range inner {
			syscall.Close(fd)
		}
		if r := heard(t, socket); r.ID != id+1 || r.PID < 2 {
			t.Fatalf("the parent says %+v", r)
		}
		ours.WriteString(test.order)
		ours.Close()
		r := heard(t, socket)
		if r.ID != id+1 || r.Status == nil || syscall.WaitStatus(*r.Status).ExitStatus() != test.code {
			t.Errorf("order %q: %+v, want code %d", test.order, r, test.code)
		}
		var said []bool
		for _, f := range outer[1:] {
			text, err := io.ReadAll(f)
			if err != nil {
				t.Error(err)
			}
			said = append(said, len(text) > 0)
		}
		if !slices.Equal(said, []bool{false, test.says}) {
			t.Errorf("order %q: output %v", test.order, said)
		}
		for _, f := range outer {
			f.Close()
		}
	}
}
