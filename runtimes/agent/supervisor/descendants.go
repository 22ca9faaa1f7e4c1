package supervisor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
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

// tidy implements cleaner. Everybody is the same uid here: clear does it.
func (d descendants) tidy(int, string) error { return nil }

func (d descendants) signal(_ place, pid, number int) bool {
	return syscall.Kill(-pid, syscall.Signal(number)) == nil
}

func (d descendants) clear(p place, leader int) error {
	if err := d.kill(leader); err != nil {
		return err
	}
	return wipe(p.scratch, 0, time.Now().Add(wipeTime))
}

// everybody is the leader of all processes that the agent has.
const everybody = -1

// kill kills until there is nobody; grandchildren become children when their
// parent is gone.
func (d descendants) kill(leader int) error {
	limit := time.Now().Add(killTime)
	for {
		d.children.reap()
		left, err := d.children.killLeft(leader)
		if err != nil {
			return fmt.Errorf("kill what is left: %w", err)
		}
		if !left {
			return nil
		}
		if time.Now().After(limit) {
			return errors.New("processes are left that can't be killed")
		}
		select {
		case <-d.children.changed:
		case <-time.After(pollTime):
		}
	}
}

// killLeft kills the session of a leader, and orphans unless another execution
// could have left them. Nothing is reaped meanwhile, so that no number can have
// changed its owner.
func (r *reaper) killLeft(leader int) (left bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	self := os.Getpid()
	all, err := os.ReadDir("/proc")
	if err != nil {
		return false, err
	}
	for _, e := range all {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == self {
			continue
		}
		parent, session, ended := lineage(pid)
		own := r.running[pid]
		orphan := parent == self && (leader == everybody || own == nil && r.executing <= 1)
		if ended || !orphan && (leader <= 0 || session != leader && pid != leader) {
			continue
		}
		syscall.Kill(pid, syscall.SIGKILL) // a set-uid child may refuse; it stays and is reported
		left = true
	}
	return left, nil
}

// lineage returns the parent and the session of a process, 0 if there is no such
// process, and whether it has ended.
func lineage(pid int) (parent, session int, ended bool) {
	fields := statFields(pid)
	if len(fields) < 4 {
		return 0, 0, true
	}
	parent, _ = strconv.Atoi(fields[1]) // the kernel writes numbers there
	session, _ = strconv.Atoi(fields[3])
	return parent, session, fields[0] == "Z"
}
