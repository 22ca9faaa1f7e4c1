package process

import (
	"errors"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes let the program die with the gateway, however that dies.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

// wait ends the group when its leader is dead but not yet reaped, and so can't
// have passed its ID on to anybody else.
func wait(cmd *exec.Cmd, endGroup func()) error {
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break // any other error will also be that of cmd.Wait
		}
	}
	endGroup()
	return cmd.Wait()
}
