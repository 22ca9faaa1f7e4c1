package supervisor

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"attune/runtimes/agent/wire"
)

const (
	// takenTime bounds the hand-over to a process that does nothing but read.
	takenTime = 2 * time.Second
	// provenTime is how old a process must be to prove that they don't die unused.
	provenTime = 100 * time.Millisecond
	// Between starts of processes that die unused.
	leastBackOff = 100 * time.Millisecond
	mostBackOff  = 30 * time.Second
)

// source makes the processes of a stock.
type source interface {
	// start makes a process that waits for its order; nil with the reason, or without
	// one when the stock quits.
	start(where place, quit <-chan struct{}) (*stocked, string)
	// able tells whether there will be another one soon, so that waiting for it is
	// better than an interpreter of one's own. It waits until that is known, or the
	// execution must end.
	able(e *execution) bool
	// pause is for how long nobody must have asked for one before more are made.
	pause() time.Duration
	// via is what Exit says of its processes.
	via() int
	// used tells which script was run last.
	used(script string)
	// stop ends it.
	stop()
}

// stock keeps processes, each of which waits for what it is to run and is used
// once. Each has a uid of its own from its start.
type stock struct {
	s       *supervisor
	source  source
	count   int
	change  chan struct{} // something was taken or died; capacity 1
	quit    chan struct{}
	quitted chan struct{}

	mu       sync.Mutex
	places   []place // that nobody has
	waiting  []*stocked
	added    chan struct{} // closed, and made anew, when one is added or an attempt failed
	failures int           // in a row
	notUntil time.Time     // the next start, after a failed one
	calm     time.Time     // … and after somebody asked for one
}

// stocked is a process that waits.
type stocked struct {
	*process
	place
	control               *os.File // its order is written there
	stdin, stdout, stderr *os.File
	signal                func(syscall.Signal) bool // its process group
	started               time.Time
	taken                 chan struct{}
}

func (s *supervisor) startStock(source source, count int, places []place) *stock {
	k := &stock{
		s: s, source: source, count: count, places: places, added: make(chan struct{}),
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
	select {
	case <-k.quit:
		return 0, false
	default:
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return max(time.Until(k.notUntil), time.Until(k.calm), 0), len(k.waiting) < k.count && len(k.places) > 0
}

// add starts a process.
func (k *stock) add() {
	k.mu.Lock()
	where := k.places[0]
	k.places = k.places[1:]
	k.mu.Unlock()
	p, reason := k.source.start(where, k.quit)
	if p == nil {
		k.failed(where, reason)
		return
	}
	p.started, p.taken = time.Now(), make(chan struct{})
	k.mu.Lock()
	k.waiting = append(k.waiting, p)
	k.announce()
	k.mu.Unlock()
	go k.watch(p)
}

// announce wakes who waits for a process. The stock is locked.
func (k *stock) announce() {
	close(k.added)
	k.added = make(chan struct{})
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
		if !unused {
			return
		}
		p.close()
		if left := k.s.clearUnused(p); left != nil {
			k.s.notice("a stocked process left something: %v", left)
			k.mu.Lock()
			k.failures++ // its place is given up
			k.announce()
			k.mu.Unlock()
			k.changed()
			return
		}
		reason := "it ended by itself"
		if p.lost {
			reason = "" // its parent's end was said
		}
		k.failed(p.place, reason)
	}
}

// clearUnused clears after a process that was never used, beside executions. Where
// all files are the gateway's, those in a directory that it shares with one can't be
// told from that one's: they go with them.
func (s *supervisor) clearUnused(p *stocked) error {
	s.children.count(1) // so that a single execution is not alone
	defer s.children.count(-1)
	where := p.place
	if !s.isolated && !where.alone {
		where.scratch = ""
	}
	return s.cleaner.clear(where, p.pid)
}

// failed puts the next start off.
func (k *stock) failed(where place, reason string) {
	k.mu.Lock()
	k.places = append(k.places, where)
	k.failures++
	first := k.failures == 1
	k.notUntil = time.Now().Add(min(leastBackOff<<min(k.failures-1, 10), mostBackOff))
	k.announce()
	k.mu.Unlock()
	if first && reason != "" {
		k.s.notice("no process is kept ready: %s", reason)
	}
	k.changed()
}

func (k *stock) changed() {
	select {
	case k.change <- struct{}{}:
	default:
	}
}

// take takes the process that has waited longest. Where there is none it waits
// for one that will soon be there; nil otherwise.
func (k *stock) take(e *execution) *stocked {
	if !k.source.able(e) {
		return nil
	}
	timer := time.NewTimer(time.Until(e.deadline))
	defer timer.Stop()
	for {
		k.mu.Lock()
		p, added, failing := k.pop(), k.added, k.failures > 0
		k.mu.Unlock()
		if p != nil || failing || k.source.pause() > 0 {
			return p
		}
		select {
		case <-added:
		case <-timer.C:
			return nil
		case grace := <-e.kills:
			e.stop(grace) // for who waits for the process
			return nil
		}
	}
}

// pop takes the first process. The stock is locked.
func (k *stock) pop() *stocked {
	k.calm = time.Now().Add(k.source.pause())
	if len(k.waiting) == 0 {
		return nil
	}
	p := k.waiting[0]
	k.waiting = k.waiting[1:]
	if time.Since(p.started) > provenTime {
		k.failures = 0
	}
	close(p.taken)
	k.changed()
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
	for {
		k.mu.Lock()
		p := k.pop()
		k.mu.Unlock()
		if p == nil {
			break
		}
		p.signal(syscall.SIGKILL)
		<-p.exited
		p.close()
	}
	k.source.stop()
}

func (p *stocked) close() {
	for _, f := range []*os.File{p.control, p.stdin, p.stdout, p.stderr} {
		f.Close() // nothing of it counts any more
	}
}

// order is what a waiting process is to become.
type order struct {
	Argv []string          `json:"argv"`
	Dir  string            `json:"dir"`
	Env  map[string]string `json:"env"`
}

// fromStock gives an execution to a process that waits; neither program nor fault
// where there is none that takes it.
func (s *supervisor) fromStock(e *execution) (*program, *startFault) {
	waiting := s.stock.take(e)
	if waiting == nil {
		return nil, nil
	}
	if err := s.hand(waiting, e); err != nil {
		waiting.signal(syscall.SIGKILL)
		waiting.close()
		if left := s.clear(waiting.place, waiting.pid); left != nil {
			return nil, &startFault{code: 126, reason: left.Error()}
		}
		s.stock.failed(waiting.place, err.Error())
		return nil, nil
	}
	s.stock.source.used(e.Script[0])
	p := &program{
		process: waiting.process, place: waiting.place, via: s.stock.source.via(), signal: waiting.signal,
		stdin: waiting.stdin, stdout: waiting.stdout, stderr: waiting.stderr,
		release: func() { s.stock.giveBack(waiting.place) },
	}
	s.connect(e, p)
	return p, nil
}

// hand tells a process what it is to run, unless it is known to have ended, or
// nobody would learn how it ends.
func (s *supervisor) hand(p *stocked, e *execution) error {
	select {
	case <-p.exited:
		return errors.New("it ended by itself")
	default:
	}
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

// orderPipe is how a process gets its order: its end, and ours.
func orderPipe() (theirs, ours *os.File, err error) {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	syscall.SetNonblock(fds[1], true) // can't fail on a pipe just made
	return os.NewFile(uintptr(fds[0]), "order"), os.NewFile(uintptr(fds[1]), "order"), nil
}

// mapped is an environment by names; of names that are there twice the first
// counts, as for getenv(3).
func mapped(env []string) map[string]string {
	m := make(map[string]string, len(env))
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		if _, twice := m[name]; !twice {
			m[name] = value
		}
	}
	return m
}

// starter is the source of a stock of started processes.
type starter struct {
	s       *supervisor
	program *wire.Program
}

// refillTime is for how long nothing must have been started before the stock is
// filled up. Calls that follow each other more closely use more processes than can
// be started between them: what is started for the stock would only take the
// processor from the interpreters that such calls start themselves. So it is longer
// than the start of one takes.
const refillTime = 50 * time.Millisecond

func (*starter) able(*execution) bool { return true }
func (*starter) pause() time.Duration { return refillTime }
func (*starter) via() int             { return wire.ViaStock }
func (*starter) used(string)          {}
func (*starter) stop()                {}

func (r *starter) start(where place, _ <-chan struct{}) (*stocked, string) {
	theirs, ours, err := orderPipe()
	if err != nil {
		return nil, err.Error()
	}
	defer theirs.Close() // the process has its own
	started, pipes, fault := r.s.launch(launch{
		argv: r.program.Argv, dir: r.program.Dir, env: environment(r.program.Env, where.scratch), uid: where.uid, descriptor: theirs,
	})
	if fault != nil {
		ours.Close()
		return nil, fault.reason
	}
	return &stocked{
		process: started, place: where, control: ours, stdin: pipes[0], stdout: pipes[1], stderr: pipes[2],
		signal: func(number syscall.Signal) bool { return r.s.children.signalGroup(started, number) },
	}, ""
}
