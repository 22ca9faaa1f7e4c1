package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
)

// sysvIPC are the kernel's tables of System V shared memory, semaphores and
// message queues, which outlive their process and would tell the next execution
// about this one.
type sysvIPC []*os.File

func openSysvIPC() (tables sysvIPC, err error) {
	for _, kind := range []string{"shm", "sem", "msg"} {
		table, err := os.Open("/proc/sysvipc/" + kind)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without them
		}
		if err != nil {
			return nil, fmt.Errorf("look for System V IPC: %w", err)
		}
		tables = append(tables, table)
	}
	return tables, nil
}

// left reports what a uid has made. Another slot may have its own.
func (tables sysvIPC) left(uid int) error {
	for _, table := range tables {
		text, err := io.ReadAll(io.NewSectionReader(table, 0, math.MaxInt64))
		if err != nil {
			return fmt.Errorf("look for System V IPC: %w", err)
		}
		if madeBy(text, uid) {
			return fmt.Errorf("leftover System V IPC (%s)", table.Name())
		}
	}
	return nil
}

// madeBy tells whether a table has a line of a uid; the first is the heading.
func madeBy(table []byte, uid int) bool {
	heading, lines, _ := bytes.Cut(table, []byte("\n"))
	if len(lines) == 0 {
		return false
	}
	creator := slices.IndexFunc(bytes.Fields(heading), func(f []byte) bool { return string(f) == "cuid" })
	for line := range bytes.Lines(lines) {
		f := bytes.Fields(line)
		if creator < 0 || creator >= len(f) || string(f[creator]) == strconv.Itoa(uid) {
			return true // a table that isn't understood is no proof
		}
	}
	return false
}
