package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// defaultWidth is used where a terminal doesn't tell its size.
const defaultWidth = 80

// terminalWidth returns a function that asks the terminal behind file for its
// columns, each time anew: windows are resized.
func terminalWidth(file *os.File) func() int {
	return func() int {
		size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
		if err != nil || size.Col == 0 {
			return defaultWidth
		}
		return int(size.Col)
	}
}
