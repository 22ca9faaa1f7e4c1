package crash

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"attune/envcache"
)

// gateway is a child process as its parent sees it.
type gateway struct {
	t    *testing.T
	rig  *rig
	id   string
	cmd  *exec.Cmd
	in   io.WriteCloser
	at   chan envcache.Point // points at which it has stopped itself
	dead chan struct{}       // closed when nothing more comes from it
	// first is what was asked of it when it stopped.
	first *pending

	mu      sync.Mutex
	last    int
	pending map[int]*pending
	// delayed says that it was stopped once: what it took says nothing.
	delayed bool
}

// pending is an order that is not answered yet.
type pending struct {
	order order
	begun chan struct{} // closed when the digest is known, for ensure
	word  chan word     // the answer; closed without one when the gateway dies
	once  sync.Once

	answered chan struct{} // closed with the answer
}

// launch starts a gateway, which is killed with the test.
func launch(t *testing.T, r *rig, c config) *gateway {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{
		t: t, rig: r, id: c.ID, cmd: exec.Command(self), at: make(chan envcache.Point, 64), dead: make(chan struct{}),
		pending: make(map[int]*pending),
	}
	g.cmd.Env = append(os.Environ(), childVariable+"="+encode(c))
	g.cmd.Stderr = t.Output()
	if g.in, err = g.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go g.listen(out)
	t.Cleanup(g.kill)
	return g
}

// listen passes on what the gateway says, until it is dead.
func (g *gateway) listen(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var w word
		if err := json.Unmarshal(lines.Bytes(), &w); err != nil {
			g.t.Errorf("gateway %s says %q", g.id, lines.Text())
			continue
		}
		g.hear(w)
	}
	g.cmd.Wait() //nolint:errcheck // killed, as a rule
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, p := range g.pending {
		p.once.Do(func() { close(p.begun) })
		close(p.word)
		delete(g.pending, id)
	}
	close(g.dead)
}

func (g *gateway) hear(w word) {
	g.mu.Lock()
	if w.At != "" {
		g.delayed = true
		g.mu.Unlock()
		g.at <- w.At
		return
	}
	defer g.mu.Unlock()
	p := g.pending[w.ID]
	if p == nil {
		return
	}
	if w.Digest != "" {
		g.rig.know(w.Digest, p.order)
	}
	p.once.Do(func() { close(p.begun) })
	if w.Begun {
		return
	}
	delete(g.pending, w.ID)
	if !g.delayed && p.order.Do == "ensure" {
		g.rig.punctual(g, p.order, w)
	}
	p.word <- w
	close(p.answered)
}

// awaitStop returns when the process has stopped, or ended.
func (g *gateway) awaitStop() {
	for {
		err := unix.Waitid(unix.P_PID, g.cmd.Process.Pid, nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return
		}
	}
}

// tell gives an order.
func (g *gateway) tell(o order) *pending {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last++
	o.ID = g.last
	p := &pending{order: o, begun: make(chan struct{}), word: make(chan word, 1), answered: make(chan struct{})}
	if g.isDead() {
		close(p.begun)
		close(p.word)
		return p
	}
	g.pending[o.ID] = p
	g.in.Write([]byte(encode(o) + "\n")) //nolint:errcheck // a dead gateway answers nothing
	return p
}

func (g *gateway) isDead() bool {
	select {
	case <-g.dead:
		return true
	default:
		return false
	}
}

// ensure asks for the environment, and returns when the gateway has made up its
// mind what that is: what is asked for later is of a later revision.
func (g *gateway) ensure(p pack) *pending { return g.ensureFor(p, 0) }

func (g *gateway) ensureFor(p pack, patience time.Duration) *pending {
	asked := g.tell(order{Do: "ensure", Pack: p.ref, Dir: p.dir, Revision: p.revision, Patience: patience})
	g.begin(asked)
	return asked
}

// begin waits for the beginning of an order, unless the gateway is stopped
// before. Where it was stopped and continued at the same time, only the kernel
// knows what came of it.
func (g *gateway) begin(p *pending) {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-p.begun:
			return
		case <-look.C:
			if g.isPaused() {
				return
			}
		}
	}
}

// arm makes it stop itself at a point.
func (g *gateway) arm(p envcache.Point, nth int) { g.get(g.tell(order{Do: "arm", Point: p, Nth: nth})) }

// get returns the answer; the second result is false when the gateway died.
func (g *gateway) get(p *pending) (word, bool) {
	g.t.Helper()
	select {
	case w, ok := <-p.word:
		return w, ok
	case <-time.After(patience):
		g.t.Errorf("I13: gateway %s does not answer %+v", g.id, p.order)
		return word{}, false
	}
}

// stops returns when the gateway has stopped at a point.
func (g *gateway) stops(want envcache.Point) {
	g.t.Helper()
	select {
	case at := <-g.at:
		if at != want {
			g.t.Fatalf("gateway %s stopped at %s, want %s", g.id, at, want)
		}
		g.awaitStop()
	case <-g.dead:
		g.t.Fatalf("gateway %s died before it came to %s", g.id, want)
	case <-time.After(patience):
		g.t.Fatalf("gateway %s never comes to %s", g.id, want)
	}
}

// resume lets a stopped gateway go on.
func (g *gateway) resume() { g.signal(syscall.SIGCONT) }

// isPaused asks the kernel whether it is stopped.
func (g *gateway) isPaused() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g.cmd.Process.Pid))
	return err == nil && bytes.Contains(stat, []byte(") T "))
}

// settle waits for the gateway to stop, to die or to be idle, and not for long.
func (g *gateway) settle(atMost time.Duration) {
	g.mu.Lock()
	var next chan struct{}
	for _, p := range g.pending {
		next = p.answered
	}
	g.mu.Unlock()
	select {
	case <-next:
	case <-g.at:
	case <-g.dead:
	case <-time.After(atMost):
	}
}

// pause stops it wherever it is.
func (g *gateway) pause() {
	g.mu.Lock()
	g.delayed = true
	g.signal(syscall.SIGSTOP)
	g.mu.Unlock()
	g.awaitStop()
}

func (g *gateway) signal(s syscall.Signal) {
	if !g.isDead() {
		g.cmd.Process.Signal(s) //nolint:errcheck // it may end in this moment
	}
}

// kill is kill -9, and returns when it is dead.
func (g *gateway) kill() {
	g.signal(syscall.SIGKILL)
	<-g.dead
}

// close ends it in good order, and fails the test where something of it runs on.
func (g *gateway) close() {
	g.t.Helper()
	if w, ok := g.get(g.tell(order{Do: "close"})); !ok || w.Answer != done {
		g.t.Errorf("gateway %s closes with %+v", g.id, w)
	}
}

// reap removes leftovers.
func (g *gateway) reap() {
	g.t.Helper()
	if w, ok := g.get(g.tell(order{Do: "reap"})); ok && w.Answer != done {
		g.t.Errorf("gateway %s: Reap() = %s", g.id, w.Reason)
	}
}

// patience is how long anything may take that has to happen.
const patience = 40 * time.Second
