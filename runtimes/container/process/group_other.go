//go:build unix && !linux

package process

import (
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
