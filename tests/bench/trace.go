package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tracedArg makes this program the traced child.
const tracedArg = "traced"

// The calls are made in slices that are shorter than the scheduler's, so that
// its own system calls fall between most of them.
const (
	slicesInAll = 50
	perSlice    = million / slicesInAll
)

// Subjects of the count.
const (
	ensures = "ensures" // a million in all
	stats   = "stats"   // one per slice: to see that the count counts
)

// traced does what is to be watched, with the environment that the parent has
// built in a directory. Each slice stands between two calls of getppid, which
// the parent recognises.
func traced(dir, subject string) error {
	runtime.LockOSThread()
	ctx := context.Background()
	r, err := openReady(ctx, dir, "")
	if err != nil {
		return err
	}
	slice := func() error { return r.times(ctx, perSlice) }
	if subject == stats {
		slice = func() error { return unix.Stat(r.marker, new(unix.Stat_t)) }
	}
	if err := slice(); err != nil { // so that what is made once is made
		return err
	}
	fmt.Println(unix.Gettid())
	bufio.NewReader(os.Stdin).ReadString('\n') // the parent watches now, or has gone
	for range slicesInAll {
		runtime.Gosched() // a new time slice
		unix.Getppid()
		err := slice()
		unix.Getppid()
		if err != nil {
			return err
		}
	}
	return r.close()
}

// countSystemCalls counts those of each slice of a subject, by ptrace.
func countSystemCalls(dir, subject string) (counts series, err error) {
	self, err := os.Executable()
	if err != nil {
		return counts, err
	}
	runtime.LockOSThread() // a tracer is a thread
	defer runtime.UnlockOSThread()
	child := exec.Command(self, tracedArg, dir, subject)
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		return counts, err
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		return counts, err
	}
	if err := child.Start(); err != nil {
		return counts, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	tid, _ := strconv.Atoi(strings.TrimSpace(line)) // 0 is no thread: the next call fails
	if err == nil {
		if err = watch(tid); err == nil {
			fmt.Fprintln(stdin)
			counts.values, err = countBetweenMarkers(tid)
		}
	}
	stdin.Close()
	if err != nil {
		child.Process.Kill() // of no use if it has ended
	}
	return counts, errors.Join(err, child.Wait())
}

// watch makes this thread the tracer of another, which is left running up to its
// next system call.
func watch(tid int) error {
	err := unix.PtraceSeize(tid)
	if err == nil {
		err = unix.PtraceInterrupt(tid)
	}
	if err == nil {
		_, err = unix.Wait4(tid, nil, unix.WALL, nil)
	}
	if err == nil {
		err = unix.PtraceSetOptions(tid, unix.PTRACE_O_TRACESYSGOOD)
	}
	if err == nil {
		err = unix.PtraceSyscall(tid, 0)
	}
	if err != nil {
		return fmt.Errorf("trace thread %d: %w", tid, err)
	}
	return nil
}

// countBetweenMarkers follows a thread through all slices and lets it go.
func countBetweenMarkers(tid int) (counts []float64, err error) {
	for markers := 0; ; {
		var status unix.WaitStatus
		if _, err := unix.Wait4(tid, &status, unix.WALL, nil); err != nil {
			return nil, err
		}
		if !status.Stopped() {
			return nil, errors.New("the traced program has ended too early")
		}
		signal := int(status.StopSignal())
		if signal == int(unix.SIGTRAP)|0x80 {
			signal = 0
			call, entered, err := systemCall(tid)
			switch {
			case err != nil:
				return nil, err
			case entered && call == unix.SYS_GETPPID:
				if markers++; markers == 2*slicesInAll {
					return counts, unix.PtraceDetach(tid)
				}
				if markers%2 == 1 {
					counts = append(counts, 0)
				}
			case entered && markers%2 == 1:
				counts[len(counts)-1]++
			}
		} else if signal == int(unix.SIGTRAP) {
			signal = 0 // a stop of ptrace's own
		}
		if err := unix.PtraceSyscall(tid, signal); err != nil {
			return nil, err
		}
	}
}

// systemCall tells which call a stopped thread enters, on any architecture.
func systemCall(tid int) (number uint64, entered bool, err error) {
	const getSyscallInfo, entry = 0x420e, 1 // PTRACE_GET_SYSCALL_INFO
	var info struct {
		op           uint8
		_            [3]uint8
		_            uint32
		_, _, number uint64
		_            [7]uint64
	}
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return 0, false, fmt.Errorf("ask for the system call: %w", errno)
	}
	return info.number, info.op == entry, nil
}
