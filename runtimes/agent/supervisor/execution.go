package supervisor

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"attune/runtimes/agent/wire"
)

// Bounds of the wait for the end of output after everything was killed.
const (
	drainTime = 500 * time.Millisecond
	// readTime is for output that nobody can add to any more, but that a busy
	// gateway reads slowly.
	readTime = 1500 * time.Millisecond
)

// execution is one program's run, or a worker's life.
type execution struct {
	stream uint32
	*wire.Start
	*slot
	descriptor     *os.File           // of a worker; nil otherwise
	deadline       time.Time          // zero = none
	kills          chan time.Duration // grace; capacity 1, the first counts
	stdout, stderr pump
	exit           wire.Exit
}

func newExecution(m message) *execution {
	e := &execution{
		stream: m.stream, Start: m.start, kills: make(chan time.Duration, 1),
		stdout: pump{kind: wire.TypeStdout}, stderr: pump{kind: wire.TypeStderr},
	}
	if m.worker {
		e.stdout.every, e.stderr.every = time.Second, time.Second
		e.descriptor = os.NewFile(uintptr(m.descriptor), "worker")
	} else {
		e.deadline = time.Now().Add(e.Timeout)
	}
	return e
}

// forget gives up what is not started.
func (e *execution) forget() {
	if e.descriptor != nil {
		e.descriptor.Close() // nothing was written to it
	}
}

// over tells that the execution was killed, or its time is up, before it began.
func (e *execution) over() bool {
	return len(e.kills) > 0 || !e.deadline.IsZero() && !time.Now().Before(e.deadline)
}

// stop asks for an early end.
func (e *execution) stop(grace time.Duration) {
	select {
	case e.kills <- grace:
	default:
	}
}

// execute runs a program to its end and everything after it.
func (s *supervisor) execute(e *execution) {
	s.children.count(1)
	defer s.children.count(-1)
	x := &e.exit
	// Said before it is true: from here on the gateway must assume that it ran.
	if err := s.send(wire.TypeStarted, e.stream, nil); err != nil {
		e.forget()
		return // nobody is there who would want it
	}
	before := s.oom.kills()
	p, fault := s.start(e)
	used, leader := e.place, 0
	switch {
	case fault != nil:
		x.Code, x.StartError = fault.code, fault.reason
	case p == nil:
		x.Code, x.Signal = 128+int(syscall.SIGTERM), int(syscall.SIGTERM)
		x.TimedOut, x.Cancelled = len(e.kills) == 0, len(e.kills) > 0
	default:
		x.Via, used, leader = p.via, p.place, p.pid
		s.wait(e, p, x)
	}
	left := s.clear(used, leader)
	if p != nil {
		s.finish(e, p, x, left)
	}
	x.OutOfMemory = s.oom.kills() > before
	x.Lost = x.Lost && !x.OutOfMemory // which says why
	switch {
	case left != nil:
		x.Reason = left.Error()
	case fault != nil && !fault.theirs:
		x.Reason = fault.reason
	case x.OutOfMemory:
		x.Reason = "out of memory"
	case x.Reason == "":
		x.Reusable = true
	}
	if p != nil && p.release != nil && left == nil { // or its uid would meet who is left
		p.release()
	}
}

// wait returns when the program has ended or its time is over.
func (s *supervisor) wait(e *execution, p *program, x *wire.Exit) {
	begin := time.Now()
	defer func() { x.Duration = time.Since(begin) }()
	var deadline <-chan time.Time
	if !e.deadline.IsZero() {
		timer := time.NewTimer(time.Until(e.deadline))
		defer timer.Stop()
		deadline = timer.C
	}
	var over <-chan time.Time
	for {
		select {
		case <-p.exited:
			return
		case <-over:
			return // clear kills it
		case <-deadline:
			if over == nil && p.signal(syscall.SIGTERM) {
				x.TimedOut, over = true, time.After(e.Grace)
			}
		case grace := <-e.kills:
			if over == nil && p.signal(syscall.SIGTERM) {
				x.Cancelled, over = true, time.After(grace)
			}
		}
	}
}

// finish collects status and output once everything was killed.
func (s *supervisor) finish(e *execution, p *program, x *wire.Exit, left error) {
	select {
	case <-p.exited:
		x.Code, x.Signal = exitCode(p.status)
		if p.lost {
			x.Reason, x.Lost = "the forking parent died", !x.TimedOut && !x.Cancelled
		}
	case <-time.After(drainTime):
		x.Code, x.Signal, x.Reason = 128+int(syscall.SIGKILL), int(syscall.SIGKILL), "the program can't be killed"
	}
	limit := readTime
	if left != nil || !s.isolated {
		limit = drainTime
	}
	p.join(time.Now().Add(limit))
	if e.stdout.cut || e.stderr.cut {
		x.Reason = "output did not end with the program"
	}
	x.Incomplete = e.stdout.cut || e.stderr.cut || errors.Is(left, errUnkilled)
	x.StdoutDropped, x.StderrDropped = e.stdout.dropped, e.stderr.dropped
}

// exitCode tells how a process ended, as a shell does.
func exitCode(status syscall.WaitStatus) (code, signal int) {
	if status.Signaled() {
		return 128 + int(status.Signal()), int(status.Signal())
	}
	return status.ExitStatus(), 0
}

// program is a started process and the agent's ends of its pipes.
type program struct {
	*process
	place
	via                   int
	signal                func(syscall.Signal) bool // its process group; false if it has ended
	release               func()                    // gives back what it had for itself; nil = nothing
	stdin, stdout, stderr *os.File                  // stdin is nil where there is nothing to be read
	pipes                 sync.WaitGroup            // their goroutines
}

// connect moves bytes between the program and the gateway.
func (s *supervisor) connect(e *execution, p *program) {
	if p.stdin != nil && len(e.Stdin) == 0 {
		p.stdin.Close() // nothing is lost
		p.stdin = nil
	}
	if p.stdin != nil {
		p.pipes.Go(func() {
			p.stdin.Write(e.Stdin) // a program may leave its input unread: EPIPE is no error
			p.stdin.Close()
		})
	}
	p.pipes.Go(func() { e.stdout.run(p.stdout, e.StdoutLimit, e.stream, s.sendFrame) })
	p.pipes.Go(func() { e.stderr.run(p.stderr, e.StderrLimit, e.stream, s.sendFrame) })
}

// join waits for the pipes' goroutines. With everybody dead they end by
// themselves; the limit is for a process that can't be killed.
func (p *program) join(limit time.Time) {
	for _, f := range []*os.File{p.stdin, p.stdout, p.stderr} {
		if f != nil {
			f.SetDeadline(limit) // of a file that is closed already, maybe
		}
	}
	p.pipes.Wait()
}
