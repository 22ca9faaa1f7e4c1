package supervisor

import (
	"encoding/json"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"attune/runtimes/agent/wire"
)

const (
	// refillTime is how long after one was taken the next is started: short
	// executions have the processor to themselves first.
	refillTime = 20 * time.Millisecond
	// takenTime bounds the hand-over to a stocked process, which does nothing but
	// read.
	takenTime = 2 * time.Second
	// provenTime is how old a process must be to prove that they don't die unused.
	provenTime = 100 * time.Millisecond
	// Between starts of stocked processes that die unused.
	leastBackOff = 100 * time.Millisecond
	mostBackOff  = 30 * time.Second
)

// stock keeps started processes, each of which waits for what it is to run on
// its descriptor 3 and is used once. Each has a uid of its own from its start.
type stock struct {
	s       *supervisor
	program *wire.Program
	count   int
	change  chan struct{} // something was taken or died; capacity 1
	quit    chan struct{}
	quitted chan struct{}

	mu       sync.Mutex
	places   []place // that nobody has
	waiting  []*stocked
	failures int       // in a row
	notUntil time.Time // the next start
}

// stocked is a process that waits.
type stocked struct {
	*process
	place
	control               *os.File // its order is written there
	stdin, stdout, stderr *os.File
	started               time.Time
	taken                 chan struct{}
}

func (s *supervisor) startStock(program *wire.Program, count int, places []place) *stock {
	k := &stock{
		s: s, program: program, count: count, places: places,
		change: make(chan struct{}, 1), quit: make(chan struct{}), quitted: make(chan struct{}),
	}
	go k.keep()
	return k
}

// keep starts what is missing until the stock is given up.
func (k *stock) keep() {
	defer close(k.quitted)
	for {
		var retry <-chan time.Time
		if wait, missing := k.missing(); missing {
			if wait == 0 {
				k.add()
				continue
			}
			retry = time.After(wait)
		}
		select {
		case <-k.change:
		case <-retry:
		case <-k.quit:
			return
		}
	}
}

// missing tells whether there are too few, and how long to wait with the next.
func (k *stock) missing() (wait time.Duration, missing bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return max(time.Until(k.notUntil), 0), len(k.waiting) < k.count && len(k.places) > 0
}

// add starts a process.
func (k *stock) add() {
	k.mu.Lock()
	where := k.places[0]
	k.places = k.places[1:]
	k.mu.Unlock()
	p, reason := k.start(where)
	if p == nil {
		k.failed(where, reason)
		return
	}
	k.mu.Lock()
	k.waiting = append(k.waiting, p)
	k.mu.Unlock()
	go k.watch(p)
}

func (k *stock) start(where place) (*stocked, string) {
	var control [2]int
	if err := syscall.Pipe2(control[:], syscall.O_CLOEXEC); err != nil {
		return nil, err.Error()
	}
	syscall.SetNonblock(control[1], true) // can't fail on a pipe just made
	ours, theirs := os.NewFile(uintptr(control[1]), "order"), os.NewFile(uintptr(control[0]), "order")
	defer theirs.Close() // the process has its own
	started, pipes, fault := k.s.launch(launch{
		argv: k.program.Argv, dir: k.program.Dir, env: environment(k.program.Env, where.scratch), uid: where.uid, descriptor: theirs,
	})
	if fault != nil {
		ours.Close()
		return nil, fault.reason
	}
	return &stocked{
		process: started, place: where, control: ours, stdin: pipes[0], stdout: pipes[1], stderr: pipes[2],
		started: time.Now(), taken: make(chan struct{}),
	}, ""
}

// watch replaces a process that ends before it is taken.
func (k *stock) watch(p *stocked) {
	select {
	case <-p.taken:
	case <-p.exited:
		k.mu.Lock()
		n := len(k.waiting)
		k.waiting = slices.DeleteFunc(k.waiting, func(other *stocked) bool { return other == p })
		unused := len(k.waiting) < n
		k.mu.Unlock()
		if unused {
			p.close()
			k.failed(p.place, "it ended by itself")
		}
	}
}

// failed puts the next start off.
func (k *stock) failed(where place, reason string) {
	k.mu.Lock()
	k.places = append(k.places, where)
	k.failures++
	first := k.failures == 1
	k.notUntil = time.Now().Add(min(leastBackOff<<min(k.failures-1, 10), mostBackOff))
	k.mu.Unlock()
	if first {
		k.s.notice("no stock of started processes: %s", reason)
	}
	k.changed()
}

func (k *stock) changed() {
	select {
	case k.change <- struct{}{}:
	default:
	}
}

// take takes the process that has waited longest; nil if there is none.
func (k *stock) take() *stocked {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.waiting) == 0 {
		return nil
	}
	p := k.waiting[0]
	k.waiting = k.waiting[1:]
	if time.Since(p.started) > provenTime {
		k.failures = 0
	}
	close(p.taken)
	time.AfterFunc(refillTime, k.changed)
	return p
}

// giveBack makes the place of an execution that has ended free.
func (k *stock) giveBack(where place) {
	k.mu.Lock()
	k.places = append(k.places, where)
	k.mu.Unlock()
	k.changed()
}

// stop ends the processes that wait, and returns when they are gone.
func (k *stock) stop() {
	close(k.quit)
	<-k.quitted
	for p := k.take(); p != nil; p = k.take() {
		k.s.children.signalGroup(p.process, syscall.SIGKILL)
		<-p.exited
		p.close()
	}
}

func (p *stocked) close() {
	for _, f := range []*os.File{p.control, p.stdin, p.stdout, p.stderr} {
		f.Close() // nothing of it counts any more
	}
}

// order is what a stocked process is to become.
type order struct {
	Argv []string          `json:"argv"`
	Dir  string            `json:"dir"`
	Env  map[string]string `json:"env"`
}

// fromStock gives an execution to a stocked process; neither program nor fault
// where there is none that takes it.
func (s *supervisor) fromStock(e *execution) (*program, *startFault) {
	waiting := s.stock.take()
	if waiting == nil {
		return nil, nil
	}
	if err := s.hand(waiting, e); err != nil {
		s.children.signalGroup(waiting.process, syscall.SIGKILL)
		waiting.close()
		if left := s.cleaner.clear(waiting.place, waiting.pid); left != nil {
			return nil, &startFault{code: 126, reason: left.Error()}
		}
		s.stock.failed(waiting.place, err.Error())
		return nil, nil
	}
	p := &program{
		process: waiting.process, place: waiting.place, via: wire.ViaStock,
		stdin: waiting.stdin, stdout: waiting.stdout, stderr: waiting.stderr,
		release: func() { s.stock.giveBack(waiting.place) },
	}
	p.signal = func(number syscall.Signal) bool { return s.children.signalGroup(p.process, number) }
	s.connect(e, p)
	return p, nil
}

// hand tells a process what it is to run.
func (s *supervisor) hand(p *stocked, e *execution) error {
	if err := s.cleaner.put(p.place, e.Files); err != nil {
		return err
	}
	line, err := json.Marshal(order{Argv: e.Script, Dir: e.Dir, Env: mapped(environment(e.Env, p.scratch))})
	if err != nil {
		return err
	}
	p.control.SetWriteDeadline(time.Now().Add(takenTime)) // a failure is the write's, too
	if _, err := p.control.Write(append(line, '\n')); err != nil {
		return err
	}
	return p.control.Close()
}
