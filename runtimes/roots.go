package runtimes

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// roots identifies the directories that an instance of the shape mounts. A mount
// shows the directory that was there at its start, though another of the same
// path and content may have taken its place: then the instance sees the old one,
// or nothing any more. What changes inside of it is seen.
func (s *Shape) roots() string {
	var found strings.Builder
	note := func(path string) {
		info, err := os.Stat(path)
		if err != nil {
			found.WriteString("- ")
			return
		}
		// While it is mounted its number isn't given to another.
		stat := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&found, "%d:%d ", stat.Dev, stat.Ino)
	}
	note(s.PackDir)
	if s.EnvDir != "" {
		note(s.EnvDir)
		for _, m := range s.Runtime.Environment.Mounts {
			note(filepath.Join(s.EnvDir, m.From))
		}
	}
	return found.String()
}
