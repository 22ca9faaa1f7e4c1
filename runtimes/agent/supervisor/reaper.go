package supervisor

import (
	"errors"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// reaper starts processes and waits for all of them and for orphans. It is the
// only one in the program that waits for processes: os/exec would steal from it.
type reaper struct {
	mu      sync.Mutex // held over fork and over wait, so no exit comes before its registration
	running map[int]*process
	changed chan struct{} // something was reaped; capacity 1

	signals chan os.Signal
	ended   chan struct{}
}

// process is a child that was started, not adopted.
type process struct {
	pid    int
	exited chan struct{} // closed when status is set
	status syscall.WaitStatus
}

func newReaper() *reaper {
	r := &reaper{
		running: map[int]*process{}, changed: make(chan struct{}, 1),
		signals: make(chan os.Signal, 1), ended: make(chan struct{}),
	}
	signal.Notify(r.signals, syscall.SIGCHLD)
	go func() {
		defer close(r.ended)
		for range r.signals {
			r.reap()
		}
	}()
	return r
}

// stop ends the reaper's goroutine.
func (r *reaper) stop() {
	signal.Stop(r.signals)
	close(r.signals)
	<-r.ended
}

// start starts a process as syscall.ForkExec does.
func (r *reaper) start(path string, argv []string, attr *syscall.ProcAttr) (*process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return nil, err
	}
	p := &process{pid: pid, exited: make(chan struct{})}
	r.running[pid] = p
	return p, nil
}

// reap takes all processes that have ended and tells whether any child is left.
// As every orphan comes to this process, none left means no descendants.
func (r *reaper) reap() (left bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil: // ECHILD
			return false
		case pid == 0:
			return true
		}
		if p := r.running[pid]; p != nil {
			p.status = status
			delete(r.running, pid)
			close(p.exited)
		}
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
}

// signalGroup signals the process group of p unless p has ended: its number may
// belong to somebody else then.
func (r *reaper) signalGroup(p *process, sig syscall.Signal) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running[p.pid] != p {
		return false
	}
	return syscall.Kill(-p.pid, sig) == nil
}

// killChildren kills every child, adopted ones too. Nothing is reaped meanwhile,
// so that no number can have changed its owner.
func (r *reaper) killChildren() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	self := os.Getpid()
	all, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range all {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && parent(pid) == self {
			syscall.Kill(pid, syscall.SIGKILL) // a set-uid child may refuse; it stays and is reported
		}
	}
	return nil
}

// parent returns the parent of a process, 0 if there is no such process.
func parent(pid int) int {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// "pid (name) state ppid …", where the name may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return ppid
}
