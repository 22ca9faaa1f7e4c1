package supervisor

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"attune/runtimes/agent/wire"
)

// descendants cleans up where there is no container. Everything that an execution
// leaves comes back to the agent, a child subreaper: its session is killed, and
// where nobody else runs all children that the agent has not started itself.
type descendants struct{ children *reaper }

var _ cleaner = descendants{}

func (d descendants) private(_ int, dir string) error { return os.Mkdir(dir, 0o700) }

func (d descendants) put(p place, files []wire.File) error { return put(p.scratch, files) }

func (d descendants) signal(_ place, pid int, number syscall.Signal) {
	if syscall.Kill(-pid, number) != nil {
		syscall.Kill(pid, number) // before it has a group of its own; gone is as good
	}
}

func (d descendants) clear(p place, leader int) error {
	if err := d.kill(leader); err != nil {
		return err
	}
	return d.wipe(p)
}

// wipe implements cleaner. All files are the gateway's.
func (d descendants) wipe(p place) error { return wipe(p.scratch, anybody, time.Now().Add(wipeTime)) }

// everybody is the leader of all processes that the agent has.
const everybody = -1

// kill kills until there is nobody; grandchildren become children when their
// parent is gone.
func (d descendants) kill(leader int) error {
	limit := time.Now().Add(killTime)
	for d.children.reap() { // no child, no descendant
		left, err := d.children.killLeft(leader)
		if err != nil {
			return fmt.Errorf("kill what is left: %w", err)
		}
		if !left {
			return nil
		}
		if time.Now().After(limit) {
			return errUnkilled
		}
		select {
		case <-d.children.changed:
		case <-time.After(pollTime):
		}
	}
	return nil
}

// killLeft kills a leader, its session, and orphans unless another execution could
// have left them. Nothing is reaped meanwhile, so that no number can have changed
// its owner.
func (r *reaper) killLeft(leader int) (left bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, err := ownChildren()
	if err != nil {
		return false, err
	}
	for _, pid := range all {
		known := r.running[pid] != nil && pid != leader
		alone := r.executing <= 1 && !known
		if leader != everybody && !alone && (known || sessionOf(pid) != leader) {
			continue
		}
		syscall.Kill(pid, syscall.SIGKILL) // a set-uid child may refuse; it stays and is reported
		left = true
	}
	if leader > 0 && syscall.Kill(-leader, syscall.SIGKILL) == nil {
		left = true // children that are still a child's, too
	}
	return left, nil
}

// ownChildren lists this process's children, those that have ended among them.
func ownChildren() ([]int, error) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, err
	}
	var all []int
	for _, task := range tasks {
		list, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if err != nil {
			if _, gone := os.Stat("/proc/self/task/" + task.Name()); gone != nil {
				continue // its children have gone to another thread
			}
			return childrenOf(os.Getpid()) // a kernel without that file
		}
		for field := range strings.FieldsSeq(string(list)) {
			if pid, err := strconv.Atoi(field); err == nil {
				all = append(all, pid)
			}
		}
	}
	return all, nil
}

// childrenOf looks at every process for its parent.
func childrenOf(parent int) ([]int, error) {
	names, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []int
	for _, e := range names {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if fields := statFields(pid); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			all = append(all, pid)
		}
	}
	return all, nil
}

// sessionOf returns the session of a process, 0 if there is no such process.
func sessionOf(pid int) int {
	fields := statFields(pid)
	if len(fields) < 4 {
		return 0
	}
	session, _ := strconv.Atoi(fields[3]) // the kernel writes a number there
	return session
}
