//go:build unix && !linux

package process

import (
	"errors"
	"os/exec"
	"syscall"
)

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// wait ends the group after its leader was reaped: nothing better is portable.
func wait(cmd *exec.Cmd, endGroup func()) error {
	err := cmd.Wait()
	endGroup()
	return err
}

// alive says whether the group has processes, be they only not reaped yet.
func alive(group int) bool {
	return !errors.Is(syscall.Kill(-group, 0), syscall.ESRCH)
}
