package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"sync"
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
// could kill too much. So a thread takes a slot's uid for the while: kill(-1)
// then reaches exactly that uid's processes (never PID 1, never itself), and files
// are removed by their owner. The saved uid stays 0, which is the way back and,
// like the real one, keeps user code from signalling or tracing the thread. The
// real uid is nobody's: were it 0, kill(-1) would hit a program of another slot
// that is just being started and isn't its uid yet. There is a thread per slot, so
// that none waits for what another has left, and they exist before user code does:
// a fork bomb can't prevent them.
type janitor struct {
	children *reaper
	jobs     chan job
	shared   []string // those of shared that there are
	ipc      sysvIPC
}

// shared are the directories beside its scratch one that user code may be able
// to write. A hardened container has none that it can.
var shared = []string{"/dev/shm", "/dev/mqueue"}

var _ cleaner = (*janitor)(nil)

type job struct {
	uid  int
	work func() error
	done chan error
}

// nobody is a uid that no process of a container ever has.
const nobody = 65531

// newJanitor starts the threads. The caller must be PID 1 of a container.
func newJanitor(children *reaper, threads int) (*janitor, error) {
	if os.Getpid() != 1 {
		return nil, errors.New("start janitor: not PID 1 of a container")
	}
	j := &janitor{children: children, jobs: make(chan job)}
	for _, dir := range shared {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) { // only root could make it
			j.shared = append(j.shared, dir)
		}
	}
	var err error
	if j.ipc, err = openSysvIPC(); err != nil {
		return nil, fmt.Errorf("start janitor: %w", err)
	}
	var ready sync.WaitGroup
	ready.Add(threads)
	for range threads {
		go j.run(&ready)
	}
	ready.Wait()
	// Tries both ways, while nobody else is there.
	if err := j.do(agent.SlotUID, func() error { return nil }); err != nil {
		return nil, fmt.Errorf("start janitor: %w", err)
	}
	return j, nil
}

func (j *janitor) run(ready *sync.WaitGroup) {
	runtime.LockOSThread() // for ever; the runtime never clones new threads from a locked one
	ready.Done()
	for job := range j.jobs {
		job.done <- as(uintptr(job.uid), job.work)
	}
}

// do runs work on a thread of the janitor as a uid.
func (j *janitor) do(uid int, work func() error) error {
	done := make(chan error, 1)
	j.jobs <- job{uid: uid, work: work, done: done}
	return <-done
}

// as runs work with the calling thread's real and effective uid changed. Raw system calls,
// because syscall.Setresuid changes all threads.
func as(uid uintptr, work func() error) error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, uid, 0); errno != 0 {
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
	return j.do(uid, func() error { return os.Mkdir(dir, 0o700) })
}

// put implements cleaner.
func (j *janitor) put(p place, files []wire.File) error {
	if len(files) == 0 {
		return nil
	}
	return j.do(p.uid, func() error { return put(p.scratch, files) })
}

// tidy implements cleaner.
func (j *janitor) tidy(uid int, dir string) error {
	return j.do(uid, func() error { return wipeOwn(dir, uid) })
}

// signal implements cleaner. As the execution's uid it can hit nobody else, even
// if the number has got a new owner.
func (j *janitor) signal(p place, pid, number int) bool {
	return j.do(p.uid, func() error { return syscall.Kill(-pid, syscall.Signal(number)) }) == nil
}

// clear kills and wipes, then looks for what outlives its process.
func (j *janitor) clear(p place, _ int) error {
	return j.do(p.uid, func() error {
		if err := j.kill(p.uid); err != nil {
			return err
		}
		limit := time.Now().Add(wipeTime)
		if err := wipe(p.scratch, agent.ParentUID, limit); err != nil { // a parent that imports may be writing
			return err
		}
		for _, dir := range j.shared {
			if err := wipeOwn(dir, p.uid); err != nil {
				return err
			}
		}
		return j.ipc.left(p.uid)
	})
}

// kill kills until the container holds nobody of a uid, which the thread has.
func (j *janitor) kill(uid int) error {
	limit := time.Now().Add(killTime)
	for !absent(uid) {
		if os.Getpid() != 1 {
			panic("janitor outside of a container") // kill(-1) would be a catastrophe
		}
		// kill(-1) sees every process of the container at one moment, half-made
		// forks included.
		syscall.Kill(-1, syscall.SIGKILL) // what it did is looked at
		j.children.reap()
		left, err := remains(uid)
		if err != nil || !left {
			return err
		}
		if time.Now().After(limit) {
			return errors.New("processes are left that can't be killed")
		}
		select {
		case <-j.children.changed:
		case <-time.After(pollTime):
		}
	}
	return nil
}

// prioUser is getpriority(2)'s PRIO_USER.
const prioUser = 2

// absent tells that no process of the container has the uid, not even one that has
// ended: mostly so, and known by one system call. False also where the kernel
// doesn't say.
func absent(uid int) bool {
	_, _, errno := syscall.RawSyscall(syscall.SYS_GETPRIORITY, prioUser, uintptr(uid), 0)
	return errno == syscall.ESRCH
}

// remains tells whether a process of the uid is alive. Those that have ended and
// wait for their parent to take note are not.
func remains(uid int) (bool, error) {
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
