package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
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
// could kill too much. So the thread that cleans takes a slot's uid for the while:
// kill(-1) then reaches exactly that uid's processes (never PID 1, never itself),
// and files are removed by their owner. The saved uid stays 0, which is the way
// back and, like the real one, keeps user code from signalling or tracing the
// thread. The real uid is nobody's: were it 0, kill(-1) would hit a program of
// another slot that is just being started and isn't its uid yet. It is
// the execution's own thread, so no slot waits for another's cleaning; all threads
// exist before user code does (stockThreads), so a fork bomb can't prevent it.
type janitor struct {
	children *reaper
	shared   []string // directories beside scratch ones that user code can write
	ipc      *ipcTables
}

var _ cleaner = (*janitor)(nil)

// newJanitor looks what there will be to clean. The caller must be PID 1 of a
// container, with nobody else in it.
func newJanitor(children *reaper) (*janitor, error) {
	if os.Getpid() != 1 {
		return nil, errors.New("start janitor: not PID 1 of a container")
	}
	ipc, err := openIPC()
	if err != nil {
		return nil, err
	}
	j := &janitor{children: children, ipc: ipc}
	// Tries the way to another uid and back, too.
	err = as(agent.SlotUID, func() error {
		for _, dir := range []string{"/dev/shm", "/dev/mqueue"} {
			if writable(dir) {
				j.shared = append(j.shared, dir)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("start janitor: %w", err)
	}
	return j, nil
}

// writable tells whether a file can be made in dir. A hardened container has no
// such directory but the scratch one.
func writable(dir string) bool {
	name := filepath.Join(dir, "attune-probe")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	for _, cannot := range []error{syscall.ENOENT, syscall.EROFS, syscall.EACCES, syscall.EPERM} {
		if errors.Is(err, cannot) {
			return false
		}
	}
	if err == nil {
		f.Close()       // it holds nothing
		os.Remove(name) // in a directory that is wiped after every execution anyway
	}
	return true
}

// nobody is a uid that no process of a container ever has.
const nobody = 65531

// as runs work with the calling thread's real and effective uid changed. Raw system
// calls, because syscall.Setresuid changes all threads. The runtime never clones
// new threads from a locked one.
func as(uid int, work func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, uintptr(uid), 0); errno != 0 {
		return fmt.Errorf("become uid %d: %w", uid, errno)
	}
	err := work()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, 0, 0, 0); errno != 0 {
		panic(fmt.Sprintf("return to uid 0: %v", errno)) // ends the container, as it must
	}
	return errors.Join(err, undumpable())
}

// private implements cleaner.
func (j *janitor) private(uid int, dir string) error {
	return as(uid, func() error { return os.Mkdir(dir, 0o700) })
}

// put implements cleaner.
func (j *janitor) put(p place, files []wire.File) error {
	if len(files) == 0 {
		return nil
	}
	return as(p.uid, func() error { return put(p.scratch, files) })
}

// signal implements cleaner. As the execution's uid it can hit nobody else, even
// if the number has got a new owner. A child that still has the parent's uid is
// signalled alone, before it has met user code.
func (j *janitor) signal(p place, pid int, number syscall.Signal) {
	if as(p.uid, func() error { return syscall.Kill(-pid, number) }) != nil {
		as(agent.ParentUID, func() error { return syscall.Kill(pid, number) }) // gone is as good
	}
}

// wipe implements cleaner.
func (j *janitor) wipe(p place) error {
	return as(p.uid, func() error { return p.wipe(time.Now().Add(wipeTime)) })
}

// clear implements cleaner.
func (j *janitor) clear(p place, _ int) error {
	// Most leave nothing, and that can be seen without becoming somebody else.
	if gone(p.uid) && !p.alone && len(j.shared) == 0 && empty(p.scratch) {
		j.children.reap() // the last statuses, if another has taken the signal
		return j.ipc.left(p.uid)
	}
	return as(p.uid, func() error {
		if err := j.kill(p.uid); err != nil {
			return err
		}
		limit := time.Now().Add(wipeTime)
		if err := p.wipe(limit); err != nil {
			return err
		}
		for _, dir := range j.shared {
			if err := wipe(dir, p.uid, limit); err != nil {
				return err
			}
		}
		return j.ipc.left(p.uid)
	})
}

// kill kills until the container holds nobody of a uid, which the thread has.
func (j *janitor) kill(uid int) error {
	limit := time.Now().Add(killTime)
	for {
		if os.Getpid() != 1 {
			panic("janitor outside of a container") // kill(-1) would be a catastrophe
		}
		// kill(-1) sees every process of the container at one moment, half-made
		// forks included. ESRCH says that there is none but the agent; with others,
		// of other uids, it doesn't tell.
		err := syscall.Kill(-1, syscall.SIGKILL)
		j.children.reap() // the last statuses, if another has taken the signal
		if err == syscall.ESRCH {
			return nil
		}
		left, err := remains(uid)
		if err != nil || !left {
			return err
		}
		if time.Now().After(limit) {
			return errUnkilled
		}
		select {
		case <-j.children.changed:
		case <-time.After(pollTime):
		}
	}
}

// ofUser is PRIO_USER of getpriority(2).
const ofUser = 2

// gone tells that no process of a uid exists, be it one that has ended; false
// where the kernel can't say so.
func gone(uid int) bool {
	_, err := syscall.Getpriority(ofUser, uid)
	return err == syscall.ESRCH
}

// remains tells whether a process of the uid is alive. Those that have ended and
// wait for their parent to take note are not.
func remains(uid int) (bool, error) {
	if gone(uid) {
		return false, nil
	}
	all, err := os.Open("/proc")
	if err != nil {
		return false, fmt.Errorf("look for processes: %w", err)
	}
	defer all.Close()
	names, err := all.Readdirnames(-1)
	if err != nil {
		return false, fmt.Errorf("look for processes: %w", err)
	}
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' || name == "1" {
			continue
		}
		if alive(name, uid) {
			return true, nil
		}
	}
	return false, nil
}

// alive tells whether a process is one of the uid, and runs.
func alive(pid string, uid int) bool {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return false // it has gone meanwhile
	}
	_, rest, _ := bytes.Cut(status, []byte("\nState:\t"))
	zombie := bytes.HasPrefix(rest, []byte("Z")) || bytes.HasPrefix(rest, []byte("X"))
	_, rest, _ = bytes.Cut(rest, []byte("\nUid:\t"))
	real, _, _ := bytes.Cut(rest, []byte("\t"))
	return !zombie && string(real) == strconv.Itoa(uid)
}
