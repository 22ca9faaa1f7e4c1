package supervisor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ipcTables list System V shared memory, semaphores and message queues, which
// outlive their process and would tell the next execution about this one. They
// are kept open: looking costs a read each.
type ipcTables struct{ files []*os.File }

func openIPC() (*ipcTables, error) {
	t := &ipcTables{}
	for _, kind := range []string{"shm", "sem", "msg"} {
		f, err := os.Open("/proc/sysvipc/" + kind)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without them
		}
		if err != nil {
			return nil, fmt.Errorf("look for System V IPC: %w", err)
		}
		t.files = append(t.files, f)
	}
	return t, nil
}

// left reports what a uid has made and not removed.
func (t *ipcTables) left(uid int) error {
	var head [512]byte // mostly there is nothing but the heading
	for _, f := range t.files {
		n, err := f.ReadAt(head[:], 0)
		table := string(head[:n])
		if err == nil { // there is more
			var all []byte
			all, err = io.ReadAll(io.NewSectionReader(f, 0, 16<<20))
			table = string(all)
		}
		if err != nil && err != io.EOF {
			return fmt.Errorf("look for System V IPC: %w", err)
		}
		if made(table, uid) {
			return fmt.Errorf("leftover System V IPC (%s)", f.Name()[len("/proc/sysvipc/"):])
		}
	}
	return nil
}

// made tells whether a table has a row whose creator is uid. The owner, another
// column, can be changed by whom it belongs to.
func made(table string, uid int) bool {
	heading, rows, _ := strings.Cut(table, "\n")
	if rows == "" {
		return false
	}
	creator := slices.Index(strings.Fields(heading), "cuid")
	for row := range strings.Lines(rows) {
		fields := strings.Fields(row)
		if creator < 0 || creator >= len(fields) || fields[creator] == strconv.Itoa(uid) {
			return true // what can't be read counts against it
		}
	}
	return false
}
