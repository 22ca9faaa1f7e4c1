package supervisor

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"attune/runtimes/agent/wire"
)

// newTestParent is a parent with one child asked for and one that runs.
func newTestParent(t testing.TB) *parent {
	t.Helper()
	theirs, ours := unixPair(t)
	go func() { // the gateway, for notices
		for buf := make([]byte, 4096); ; {
			if _, err := theirs.Read(buf); err != nil {
				return
			}
		}
	}()
	_, control := unixPair(t)
	s := &supervisor{conn: ours, cleaner: descendants{}, children: &reaper{running: map[int]*process{}}}
	p := &parent{s: s, conn: control, process: &process{pid: 1 << 30}, ready: make(chan struct{}), children: map[int]*forked{}}
	for id, pid := range map[int]int{1: 0, 2: 77} {
		p.children[id] = &forked{process: &process{pid: pid, exited: make(chan struct{})}, begun: make(chan struct{})}
		if pid > 0 {
			close(p.children[id].begun)
		}
	}
	return p
}

func TestParentMessages(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		says string // one message a line
		good bool
	}{
		{`{"ready":true,"forks":true}`, true},
		{`{"ready":true}` + "\n" + `{"ready":true}`, false},
		{`{"id":1,"pid":5}` + "\n" + `{"id":1,"status":0}`, true},
		{`{"id":1,"error":"no"}`, true},
		{`{"id":1,"error":"no"}` + "\n" + `{"id":1,"pid":5}`, false},
		{`{"id":1,"pid":5}` + "\n" + `{"id":1,"pid":5}`, false},
		{`{"id":1,"pid":1}`, false},
		{`{"id":1,"pid":-5}`, false},
		{`{"id":1,"status":0}`, false},
		{`{"id":2,"error":"no"}`, false},
		{`{"id":2,"status":256}`, true},
		{`{"id":2,"status":9}`, true},
		{`{"id":2,"status":0}` + "\n" + `{"id":2,"status":0}`, false},
		{`{"id":2,"status":127}`, false},   // stopped
		{`{"id":2,"status":4991}`, false},  // stopped by signal 19
		{`{"id":2,"status":65535}`, false}, // continued
		{`{"id":2,"status":100}`, false},   // there is no signal 100
		{`{"id":2,"status":-1}`, false},    //
		{`{"id":2,"status":65536}`, false}, //
		{`{"id":3,"pid":5}`, false},        // nobody's
		{`{}`, false},                      //
	} {
		p := newTestParent(t)
		var err error
		for line := range strings.Lines(test.says) {
			var r forkReply
			if err = json.Unmarshal([]byte(line), &r); err == nil {
				err = p.take(r)
			}
		}
		if (err == nil) != test.good {
			t.Errorf("take(%s) = %v, want it taken: %v", test.says, err, test.good)
		}
	}
}

// FuzzParentOutput takes whatever a forking parent might say, one message a line.
func FuzzParentOutput(f *testing.F) {
	f.Add([]byte(`{"ready":true,"forks":true,"notices":["a"]}` + "\n" + `{"id":1,"pid":5}` + "\n" + `{"id":1,"status":0}`))
	f.Add([]byte(`{"id":1,"error":"no"}` + "\n" + `{"id":2,"status":256}`))
	f.Add([]byte(`{"id":2,"status":-1}`))
	f.Fuzz(func(t *testing.T, says []byte) {
		p := newTestParent(t)
		children := []*forked{p.children[1], p.children[2]}
		var err error
		for line := range bytes.Lines(says) {
			var r forkReply
			if err = json.Unmarshal(line, &r); err == nil {
				err = p.take(r)
			}
			if err != nil {
				break
			}
		}
		p.fail(errors.New("the end"))
		for _, c := range children { // whatever it said, nobody waits for ever, and every end is one
			<-c.begun
			if c.refused != "" {
				continue
			}
			<-c.process.exited
			if code, signal := exitCode(c.process.status); code < 0 || code > 255 || signal < 0 || signal > 64 {
				t.Errorf("a child ended with code %d, signal %d", code, signal)
			}
			if c.process.pid == 1 || c.process.pid < 0 {
				t.Errorf("a child has number %d", c.process.pid)
			}
		}
	})
}

// FuzzAgentDescriptors reads what a gateway might send together with descriptors,
// one with each piece of the input.
func FuzzAgentDescriptors(f *testing.F) {
	worker := wire.Encode(wire.Program{Argv: []string{"a"}, Dir: "/"})
	head := wire.Header(wire.TypeWorker, 1, len(worker))
	f.Add(append(head[:], worker...), uint8(1))
	f.Add(append(append(head[:], worker...), append(head[:], worker...)...), uint8(7))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint8(3))
	null, err := os.Open(os.DevNull)
	if err != nil {
		f.Fatal(err)
	}
	defer null.Close()
	f.Fuzz(func(t *testing.T, input []byte, pieces uint8) {
		theirs, ours := unixPair(t)
		before := openDescriptors(t)
		r := &rights{conn: ours}
		go func() {
			size := len(input)/(int(pieces)+1) + 1
			for len(input) > 0 {
				n := min(size, len(input))
				if _, _, err := theirs.WriteMsgUnix(input[:n], syscall.UnixRights(int(null.Fd())), nil); err != nil {
					break
				}
				input = input[n:]
			}
			theirs.CloseWrite()
		}()
		in := wire.NewReader(r, wire.ToAgent)
		for {
			m := nextMessage(in, r)
			if m.worker && m.err == nil {
				syscall.Close(m.descriptor)
			}
			if m.err != nil {
				break
			}
		}
		for buf := make([]byte, 4096); ; { // what was not read holds descriptors, too
			if _, err := r.Read(buf); err != nil {
				if !errors.Is(err, wire.ErrProtocol) {
					break
				}
				r.close()
			}
		}
		r.close()
		if after := openDescriptors(t); after > before {
			t.Errorf("%d descriptors are open, %d before", after, before)
		}
	})
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// FuzzSetup decodes what might stand in a gateway's hello.
func FuzzSetup(f *testing.F) {
	f.Add([]byte(`{"version":2,"setup":{"slots":2,"parent":{"argv":["a"],"dir":"/","env":[]},"stock_count":1}}`))
	f.Add([]byte(`{"version":2,"setup":{"slots":2,"stock":{"argv":["b"]},"stock_count":1}}`))
	f.Add([]byte(`{"version":2,"setup":{"slots":2,"parent":{"argv":["a"]},"stock":{"argv":["b"]}}}`))
	f.Add([]byte(`{"setup":{"slots":-1,"parent":{}}}`))
	f.Add([]byte(`{"setup":{"slots":1e9}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var h wire.Hello
		if err := wire.Decode(payload, &h); err != nil {
			if !errors.Is(err, wire.ErrProtocol) {
				t.Errorf("Decode() = %v", err)
			}
			return
		}
		s := h.Setup
		if err := checkSetup(s); err != nil {
			return
		}
		good := func(p *wire.Program) bool { return p == nil || len(p.Argv) > 0 && p.Argv[0] != "" }
		if s.Slots < 1 || s.Slots > wire.MaxSlots || s.StockCount < 0 || s.StockCount > wire.MaxStock || !good(s.Parent) || !good(s.Stock) || s.Parent != nil && s.Stock != nil {
			t.Errorf("checkSetup() let %+v pass", s)
		}
	})
}
