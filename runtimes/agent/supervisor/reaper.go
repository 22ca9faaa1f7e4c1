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
	// executing is how many executions and workers there are.
	executing int
	changed   chan struct{} // something was reaped; capacity 1

	signals chan os.Signal
	ended   chan struct{}
}

// process is one that was started, not adopted: a child, or the forking parent's.
type process struct {
	pid    int
	exited chan struct{} // closed when status is set
	status syscall.WaitStatus
	lost   bool // nobody knows how it ended
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

// count notes that an execution begins (1) or has ended (-1).
func (r *reaper) count(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.executing += n
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

// statFields are those of /proc/PID/stat from the state on; none if there is no
// such process.
func statFields(pid int) []string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	// "pid (name) state ppid pgrp session …", where the name may hold anything.
	return strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
}
