package supervisor

import (
	"os"
	"sync"
	"syscall"
	"time"

	"attune/runtimes/agent/wire"
)

// drainTime bounds the wait for the end of output after everything was killed.
const drainTime = 500 * time.Millisecond

// execution is one program's run.
type execution struct {
	stream uint32
	*wire.Start
	kills chan time.Duration // grace; capacity 1, the first counts
	done  chan wire.Exit     // capacity 1
}

func newExecution(stream uint32, s *wire.Start) *execution {
	return &execution{stream: stream, Start: s, kills: make(chan time.Duration, 1), done: make(chan wire.Exit, 1)}
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
	var x wire.Exit
	defer func() { e.done <- x }()
	// Said before it is true: from here on the gateway must assume that it ran.
	if err := s.send(wire.TypeStarted, e.stream, nil); err != nil {
		return // nobody is there who would want it
	}
	before := s.oom.kills()
	p, err := s.start(e)
	if err != nil {
		x.Code, x.StartError = err.code, err.reason
	} else {
		s.wait(e, p.process, &x)
	}
	left := s.cleaner.clear()
	if p != nil {
		s.finish(e, p, &x)
	}
	x.OutOfMemory = s.oom.kills() > before
	switch {
	case left != nil:
		x.Reason = left.Error()
	case err != nil && !err.theirs:
		x.Reason = err.reason
	case x.OutOfMemory:
		x.Reason = "out of memory"
	case x.Reason == "":
		x.Reusable = true
	}
}

// wait returns when the program has ended or its time is over.
func (s *supervisor) wait(e *execution, p *process, x *wire.Exit) {
	begin := time.Now()
	defer func() { x.Duration = time.Since(begin) }()
	deadline := time.NewTimer(e.Timeout)
	defer deadline.Stop()
	var over <-chan time.Time
	for {
		select {
		case <-p.exited:
			return
		case <-over:
			return // clear kills it
		case <-deadline.C:
			if over == nil && s.children.signalGroup(p, syscall.SIGTERM) {
				x.TimedOut, over = true, time.After(e.Grace)
			}
		case grace := <-e.kills:
			if over == nil && s.children.signalGroup(p, syscall.SIGTERM) {
				x.Cancelled, over = true, time.After(grace)
			}
		}
	}
}

// finish collects status and output once everything was killed.
func (s *supervisor) finish(e *execution, p *program, x *wire.Exit) {
	select {
	case <-p.exited:
		x.Code, x.Signal = exitCode(p.status)
	case <-time.After(drainTime):
		x.Code, x.Signal, x.Reason = 128+int(syscall.SIGKILL), int(syscall.SIGKILL), "the program can't be killed"
	}
	if !p.join(time.Now().Add(drainTime)) {
		x.Reason = "output did not end with the program"
	}
	x.StdoutDropped, x.StderrDropped = s.stdout.dropped, s.stderr.dropped
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
	stdin, stdout, stderr *os.File
	pipes                 sync.WaitGroup // their goroutines
}

// connect moves bytes between the program and the gateway.
func (s *supervisor) connect(e *execution, p *program) {
	p.pipes.Go(func() {
		p.stdin.Write(e.Stdin) // a program may leave its input unread: EPIPE is no error
		p.stdin.Close()
	})
	p.pipes.Go(func() { s.stdout.run(p.stdout, e.StdoutLimit, e.stream, s.sendFrame) })
	p.pipes.Go(func() { s.stderr.run(p.stderr, e.StderrLimit, e.stream, s.sendFrame) })
}

// join waits for the pipes' goroutines. With everybody dead they end by
// themselves; the limit is for a process that can't be killed. False says that
// output was cut off.
func (p *program) join(limit time.Time) bool {
	for _, f := range []*os.File{p.stdin, p.stdout, p.stderr} {
		f.SetDeadline(limit) // of a file that is closed already, maybe
	}
	p.pipes.Wait()
	return time.Now().Before(limit)
}
