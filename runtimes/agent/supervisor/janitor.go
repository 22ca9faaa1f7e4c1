package supervisor

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"attune/runtimes/agent"
	"attune/runtimes/agent/wire"
)

// Bounds of clear, together less than the gateway's patience.
const (
	killTime = time.Second
	wipeTime = 800 * time.Millisecond
	pollTime = 2 * time.Millisecond // between looks at what was killed
)

// janitor cleans up after user code in a container, as user code's uid.
//
// Root without DAC_OVERRIDE can't remove another uid's files, and root with KILL
// could kill too much. So one thread takes the slot's uid for the while: kill(-1)
// then reaches exactly that uid's processes (never PID 1, never itself), and files
// are removed by their owner. The real and the saved uid stay 0, which is the way
// back and keeps user code from signalling or tracing the thread. The thread
// exists before user code does: a fork bomb can't prevent it.
type janitor struct {
	children *reaper
	places   []string // directories that user code may write
	jobs     chan job
}

var _ cleaner = (*janitor)(nil)

type job struct {
	work func() error
	done chan error
}

// newJanitor starts the thread. The caller must be PID 1 of a container.
func newJanitor(children *reaper, scratch string) (*janitor, error) {
	if os.Getpid() != 1 {
		return nil, errors.New("start janitor: not PID 1 of a container")
	}
	j := &janitor{children: children, jobs: make(chan job), places: []string{scratch, "/dev/shm", "/dev/mqueue"}}
	go j.run()
	// Tries both ways, while nobody else is there.
	if err := j.do(func() error { return nil }); err != nil {
		return nil, fmt.Errorf("start janitor: %w", err)
	}
	return j, nil
}

func (j *janitor) run() {
	runtime.LockOSThread() // for ever; the runtime never clones new threads from a locked one
	for job := range j.jobs {
		job.done <- as(agent.SlotUID, job.work)
	}
}

// do runs work on the janitor's thread as the slot's uid.
func (j *janitor) do(work func() error) error {
	done := make(chan error, 1)
	j.jobs <- job{work: work, done: done}
	return <-done
}

// as runs work with the calling thread's effective uid changed. Raw system calls,
// because syscall.Setresuid changes all threads.
func as(uid uintptr, work func() error) error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, 0, uid, 0); errno != 0 {
		return fmt.Errorf("become uid %d: %w", uid, errno)
	}
	err := work()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, 0, 0, 0); errno != 0 {
		panic(fmt.Sprintf("return to uid 0: %v", errno)) // ends the container, as it must
	}
	return errors.Join(err, undumpable())
}

// place makes the files of an execution.
func (j *janitor) place(dir string, files []wire.File) error {
	if len(files) == 0 {
		return nil
	}
	return j.do(func() error { return place(dir, files) })
}

// clear kills and wipes, then looks for what outlives its process.
func (j *janitor) clear() error {
	return j.do(func() error {
		if err := j.kill(); err != nil {
			return err
		}
		limit := time.Now().Add(wipeTime)
		for _, dir := range j.places {
			if err := wipe(dir, limit); err != nil {
				return err
			}
		}
		return sysvLeft()
	})
}

// kill kills until the container holds nobody but the agent.
func (j *janitor) kill() error {
	limit := time.Now().Add(killTime)
	for {
		if os.Getpid() != 1 {
			panic("janitor outside of a container") // kill(-1) would be a catastrophe
		}
		// kill(-1) sees every process of the container at one moment, half-made
		// forks included, and reports ESRCH only if there is none.
		if err := syscall.Kill(-1, syscall.SIGKILL); err == syscall.ESRCH {
			j.children.reap() // the last statuses, if another has taken the signal
			return nil
		}
		if time.Now().After(limit) {
			return errors.New("processes are left that can't be killed")
		}
		j.children.reap()
		select {
		case <-j.children.changed:
		case <-time.After(pollTime):
		}
	}
}
