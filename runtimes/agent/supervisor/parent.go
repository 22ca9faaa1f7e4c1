package supervisor

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"attune/runtimes/agent"
	"attune/runtimes/agent/wire"
)

// Bounds of the conversation with a forking parent.
const (
	maxForkReply = 64 << 10
	readyTime    = time.Minute     // from the start to ready, unless Options say otherwise
	forkTime     = 5 * time.Second // from a request to its answer
	maxLines     = 16              // of the parent's own output
	maxScripts   = 8               // that it is told to have compiled
)

// Capabilities that the parent keeps, to give each child its uid.
const (
	capSetgid = 6
	capSetuid = 7
)

// parent is a warm process that forks the processes of a stock: so that the fork
// is over when a call comes. It is asked over a SOCK_SEQPACKET socket, its
// descriptor 3; a request carries the descriptors of stdin, stdout, stderr and of
// the order that the child waits for. What it says is treated as hostile: modules
// of the pack run in it.
type parent struct {
	s       *supervisor
	process *process
	conn    *net.UnixConn
	ready   chan struct{} // closed when it has said whether it forks, or is gone

	mu       sync.Mutex
	forks    bool
	over     bool
	last     int
	scripts  []string        // run lately, the last one first
	children map[int]*forked // those that haven't ended
}

var _ source = (*parent)(nil)

// forked is a child of the parent.
type forked struct {
	process *process
	begun   chan struct{} // closed when it runs, or is refused
	refused string
}

// forkRequest asks for a child.
type forkRequest struct {
	ID      int      `json:"id"`
	UID     *int     `json:"uid,omitempty"` // none where nothing is isolated
	Scripts []string `json:"scripts"`       // that it should have compiled
}

// forkReply is everything that a parent may say.
type forkReply struct {
	Ready   bool     `json:"ready"`
	Forks   bool     `json:"forks"`
	Notices []string `json:"notices"`
	ID      int      `json:"id"`
	PID     int      `json:"pid"`
	Error   string   `json:"error"`
	Status  *int     `json:"status"` // as of wait(2)
}

// startParent starts the parent. Where that fails every execution gets an
// interpreter of its own.
func (s *supervisor) startParent(program *wire.Program) *parent {
	p := &parent{s: s, ready: make(chan struct{}), children: map[int]*forked{}}
	if err := p.begin(program); err != nil {
		s.notice("no forking parent: %v", err)
		return nil
	}
	go p.read()
	limit := cmp.Or(s.ReadyTime, readyTime)
	time.AfterFunc(limit, func() {
		select {
		case <-p.ready:
		default:
			p.fail(fmt.Errorf("not ready in %v", limit))
		}
	})
	return p
}

func (p *parent) begin(program *wire.Program) error {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket pair: %w", err)
	}
	file, theirs := os.NewFile(uintptr(pair[0]), "parent"), os.NewFile(uintptr(pair[1]), "parent")
	defer theirs.Close() // the parent has its own
	conn, err := net.FileConn(file)
	file.Close() // duplicated
	if err != nil {
		return fmt.Errorf("make socket pair: %w", err)
	}
	started, ours, fault := p.s.launch(launch{
		argv: program.Argv, dir: program.Dir, env: environment(program.Env, p.s.parentScratch()),
		uid: agent.ParentUID, descriptor: theirs, ambient: []uintptr{capSetgid, capSetuid},
	})
	if fault != nil {
		conn.Close()
		return fmt.Errorf("%s", fault.reason)
	}
	p.process, p.conn = started, conn.(*net.UnixConn)
	ours[0].Close() // it has nothing to read
	go p.listen(ours[1])
	go p.listen(ours[2])
	return nil
}

// listen passes what modules print while they are imported on, for the log.
func (p *parent) listen(output *os.File) {
	defer output.Close()
	lines := bufio.NewScanner(output)
	for n := 0; n < maxLines && lines.Scan(); n++ {
		if text := strings.TrimSpace(lines.Text()); text != "" {
			p.s.notice("forking parent: %s", text)
		}
	}
	io.Copy(io.Discard, output) // or it would block
}

// read takes what the parent says until it is gone.
func (p *parent) read() {
	message := make([]byte, maxForkReply)
	for {
		n, err := p.conn.Read(message)
		var reply forkReply
		if err == nil && n == 0 {
			err = io.EOF
		}
		if err == nil {
			err = json.Unmarshal(message[:n], &reply)
		}
		if err == nil {
			err = p.take(reply)
		}
		if err != nil {
			p.fail(err)
			return
		}
	}
}

// take handles one message.
func (p *parent) take(r forkReply) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Ready {
		select {
		case <-p.ready:
			return fmt.Errorf("ready twice")
		default:
		}
		p.forks = r.Forks
		close(p.ready)
		go func() { // a slow gateway must not hold p.mu
			for _, text := range r.Notices {
				p.s.notice("%s", text)
			}
		}()
		return nil
	}
	child := p.children[r.ID]
	if child == nil {
		return fmt.Errorf("message of a child that there is not")
	}
	begun := child.process.pid != 0
	switch {
	case r.Error != "" && !begun:
		child.refused = r.Error
		delete(p.children, r.ID)
		close(child.begun)
	case r.PID > 1 && !begun:
		child.process.pid = r.PID
		close(child.begun)
	case r.Status != nil && begun && isEnd(*r.Status):
		child.process.status = syscall.WaitStatus(*r.Status)
		delete(p.children, r.ID)
		close(child.process.exited)
	default:
		return fmt.Errorf("message out of turn")
	}
	return nil
}

// isEnd tells whether a status is that of a process which has ended.
func isEnd(status int) bool {
	s := syscall.WaitStatus(status)
	return status == status&0xffff && (s.Exited() || s.Signaled() && s.Signal() <= 64)
}

// fail ends the parent. How its children end, nobody will know.
func (p *parent) fail(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	p.over = true
	p.conn.Close() // it is given up
	p.s.children.signalGroup(p.process, syscall.SIGKILL)
	select {
	case <-p.ready:
	default:
		close(p.ready)
	}
	for id, child := range p.children {
		delete(p.children, id)
		child.process.lost, child.process.status = true, syscall.WaitStatus(syscall.SIGKILL)
		close(child.process.exited) // before begun: nobody may signal what has no number
		if child.process.pid == 0 {
			close(child.begun)
		}
	}
	go p.s.notice("the forking parent is gone (%v): executions start interpreters of their own", why)
}

// stop implements source: it waits for the parent's end.
func (p *parent) stop() {
	p.fail(net.ErrClosed)
	<-p.process.exited
}

// idle tells whether the parent has no imports before it that could use files: it
// is ready, or there is none.
func (p *parent) idle() bool {
	if p == nil {
		return true
	}
	select {
	case <-p.ready:
		return true
	default:
		return false
	}
}

// able implements source. Half of its time is what an execution waits for a parent
// that may never be ready: with the other half an interpreter of its own can do.
func (p *parent) able(e *execution) bool {
	timer := time.NewTimer(time.Until(e.deadline) / 2)
	defer timer.Stop()
	select {
	case <-p.ready:
	case <-timer.C:
	case grace := <-e.kills:
		e.stop(grace) // for who waits for the process
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.forks && !p.over
}

func (p *parent) pause() time.Duration { return 0 }
func (p *parent) via() int             { return wire.ViaParent }

// used implements source.
func (p *parent) used(script string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.scripts) > 0 && p.scripts[0] == script {
		return
	}
	p.scripts = slices.DeleteFunc(p.scripts, func(other string) bool { return other == script })
	p.scripts = slices.Insert(p.scripts, 0, script)
	p.scripts = p.scripts[:min(len(p.scripts), maxScripts)]
}

// start implements source.
func (p *parent) start(where place, quit <-chan struct{}) (*stocked, string) {
	select {
	case <-p.ready:
	case <-quit:
		return nil, ""
	}
	theirs, ours, err := orderPipe()
	if err != nil {
		return nil, err.Error()
	}
	defer theirs.Close() // the child has its own
	outer, inner, err := pipes()
	if err != nil {
		ours.Close()
		return nil, err.Error()
	}
	child, reason := p.ask(where, append(inner[:], int(theirs.Fd())))
	for _, fd := range inner {
		syscall.Close(fd) // the child has its own
	}
	waiting := &stocked{place: where, control: ours, stdin: outer[0], stdout: outer[1], stderr: outer[2]}
	if child == nil {
		waiting.close()
		return nil, reason
	}
	waiting.process = child
	waiting.signal = func(number syscall.Signal) bool {
		select {
		case <-child.exited:
			return false
		default:
			p.s.cleaner.signal(where, child.pid, number)
			return true
		}
	}
	return waiting, ""
}

// ask sends a request and waits until the child is there. A parent that has said
// that it doesn't fork, or is gone, gives no reason again.
func (p *parent) ask(where place, fds []int) (*process, string) {
	child := &forked{process: &process{exited: make(chan struct{})}, begun: make(chan struct{})}
	if sent, reason := p.send(where, fds, child); !sent {
		return nil, reason
	}
	timer := time.NewTimer(forkTime)
	defer timer.Stop()
	select {
	case <-child.begun:
	case <-timer.C:
		p.fail(fmt.Errorf("no answer in %v", forkTime))
		<-child.begun
	}
	if child.process.pid == 0 {
		return nil, child.refused
	}
	return child.process, ""
}

// send registers a child and asks for it.
func (p *parent) send(where place, fds []int, child *forked) (sent bool, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || !p.forks {
		return false, ""
	}
	p.last++
	request := forkRequest{ID: p.last, Scripts: append([]string{}, p.scripts...)} // never null
	if p.s.isolated {
		request.UID = &where.uid
	}
	p.conn.SetWriteDeadline(time.Now().Add(forkTime)) // a failure is the write's, too
	if _, _, err := p.conn.WriteMsgUnix(wire.Encode(request), syscall.UnixRights(fds...), nil); err != nil {
		return false, err.Error() // a packet is sent whole or not at all
	}
	p.children[request.ID] = child
	return true, ""
}
