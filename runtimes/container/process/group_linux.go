package process

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes let the program die with the gateway, however that dies: by
// SIGTERM, because an agent must still kill what it runs.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
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

// alive says whether a process of the group still runs. One that is only not
// reaped yet doesn't, and who inherited it may take a while.
func alive(group int) bool {
	if errors.Is(syscall.Kill(-group, 0), syscall.ESRCH) {
		return false
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		return true // no /proc to look into
	}
	return slices.ContainsFunc(stats, func(name string) bool { return runsIn(group, name) })
}

// runsIn reads "42 (name) S parent group …"; the name may contain anything.
func runsIn(group int, name string) bool {
	stat, err := os.ReadFile(name)
	if err != nil {
		return false // it ended meanwhile
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	return len(fields) > 2 && fields[2] == strconv.Itoa(group) && fields[0] != "Z" && fields[0] != "X"
}
