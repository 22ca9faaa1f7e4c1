package process

import (
	"errors"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"attune/runtimes/container"
)

const (
	// outputGrace is how long output is read on when a process that left the
	// group keeps it open.
	outputGrace = time.Second
	// termGrace is how long a program may take to end by SIGTERM: an agent gives
	// an installer five seconds.
	termGrace = 6 * time.Second
	// deathGrace is how long killed processes may take to die.
	deathGrace = time.Second
)

// run is the life of one program: the thread that started it must live as long,
// because its end is what the kernel reports as the parent's death.
func (i *instance) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := i.command()
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	i.group = cmd.Process.Pid // Start holds the lock until it has received
	started <- nil

	err := wait(cmd, i.endGroup)
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		i.engine.log.Warn("output of a process is incomplete", "container", i.spec.Name, "error", err)
	}
	if !groupEnded(cmd.Process.Pid) {
		i.engine.log.Warn("killed processes do not die", "container", i.spec.Name, "group", cmd.Process.Pid)
	}
	i.finish(exitOf(cmd))
}

func (i *instance) command() *exec.Cmd {
	cmd := &exec.Cmd{
		Path:        i.spec.Entrypoint[0],
		Args:        i.spec.Entrypoint,
		Env:         append([]string{}, i.spec.Env...), // nil would inherit the gateway's
		Dir:         i.spec.Dir,
		SysProcAttr: attributes(),
		WaitDelay:   outputGrace,
	}
	if i.spec.KeepLogs {
		cmd.Stdout, cmd.Stderr = i.output, i.output
	}
	return cmd
}

// endGroup kills what the program left behind, as the end of its first process
// ends a container. From here on Remove must not use the group's ID.
func (i *instance) endGroup() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.group != 0 {
		i.signal(-i.group, syscall.SIGKILL)
		i.group = 0
	}
}

// signal sends to a process, or to a group by its negative ID.
func (i *instance) signal(to int, signal syscall.Signal) {
	if err := syscall.Kill(to, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		i.engine.log.Warn("process can't be signalled", "container", i.spec.Name, "error", err)
	}
}

func (i *instance) finish(exit container.Exit) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.exit = exit
	if i.phase == container.PhaseRunning {
		i.phase = container.PhaseExited
	}
	i.output.end()
	close(i.exited)
}

func exitOf(cmd *exec.Cmd) container.Exit {
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return container.Exit{Code: 128 + int(status.Signal())}
	}
	return container.Exit{Code: cmd.ProcessState.ExitCode()}
}

// groupEnded polls: nothing tells when the last process of a group has died.
func groupEnded(group int) bool {
	deadline := time.Now().Add(deathGrace)
	for pause := time.Millisecond; alive(group); pause *= 2 {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(pause)
	}
	return true
}
