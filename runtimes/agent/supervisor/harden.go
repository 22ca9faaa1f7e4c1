package supervisor

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
)

const (
	prSetChildSubreaper = 36
	prSetNoNewPrivs     = 38
)

// threads is how many are made before user code exists beside two for each slot,
// see stockThreads.
const threads = 6

// harden makes this process unreadable for others and the parent of orphans, and
// keeps its descriptors from programs that it starts.
func harden(isolated bool) error {
	if err := undumpable(); err != nil {
		return err
	}
	if err := closeOnExec(); err != nil {
		return err
	}
	if !isolated {
		if err := prctl(prSetChildSubreaper, 1); err != nil {
			return fmt.Errorf("become child subreaper: %w", err)
		}
		return nil
	}
	// The container has it set already; if it hasn't, set-uid programs of an
	// image would be a way out of the slot's uid.
	if _, _, errno := syscall.AllThreadsSyscall6(syscall.SYS_PRCTL, prSetNoNewPrivs, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("set no-new-privileges: %w", errno)
	}
	return nil
}

// undumpable forbids tracing and /proc/PID/mem to every other uid and to equals.
// The kernel forgets it whenever a thread changes its uid.
func undumpable() error {
	if err := prctl(syscall.PR_SET_DUMPABLE, 0); err != nil {
		return fmt.Errorf("become undumpable: %w", err)
	}
	return nil
}

func prctl(option, value uintptr) error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, option, value, 0); errno != 0 {
		return errno
	}
	return nil
}

// closeOnExec marks descriptors that this process was started with.
func closeOnExec() error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list open descriptors: %w", err)
	}
	for _, e := range open {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
	return nil
}

// stockThreads makes the threads that the Go runtime may want later. It dies if
// it wants one while a fork bomb holds every process ID of the container. Idle
// threads are kept and taken before new ones are made.
func stockThreads(slots int) {
	threads := threads + 2*slots
	var up, down sync.WaitGroup
	up.Add(threads)
	down.Add(threads)
	release := make(chan struct{})
	for range threads {
		go func() {
			defer down.Done()
			runtime.LockOSThread() // so each goroutine needs a thread of its own
			defer runtime.UnlockOSThread()
			up.Done()
			<-release
		}()
	}
	up.Wait()
	close(release)
	down.Wait()
}
