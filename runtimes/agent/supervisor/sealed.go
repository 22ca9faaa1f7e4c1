package supervisor

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// Of memfd_create(2) and fcntl(2); package syscall is frozen without them.
const (
	memfdCloexec  = 1
	allowSealing  = 2
	addSeals      = 1033
	allSeals      = 1 | 2 | 4 | 8 // no further seal, shrinking, growing or writing
	secretsNumber = 3             // the descriptor that the program sees
)

// sealed is a file in memory that nobody can change any more, on no file system
// that anybody could look into. The caller closes it.
func sealed(content []byte) (*os.File, error) {
	name := [...]byte{'s', 'e', 'c', 'r', 'e', 't', 's', 0}
	fd, _, errno := syscall.Syscall(memfdCreate, uintptr(unsafe.Pointer(&name)), memfdCloexec|allowSealing, 0)
	if errno != 0 {
		return nil, fmt.Errorf("make a file in memory: %w", errno)
	}
	file := os.NewFile(fd, "secrets")
	if _, err := file.WriteAt(content, 0); err != nil {
		file.Close()
		return nil, fmt.Errorf("write secrets: %w", err)
	}
	if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, addSeals, allSeals); errno != 0 {
		file.Close()
		return nil, fmt.Errorf("seal secrets: %w", errno)
	}
	return file, nil
}
