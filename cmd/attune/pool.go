package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// MemoryAuto is the word for a budget of memory that is made from the machine's.
const MemoryAuto = "auto"

// overcommit is how many times the machine's memory the limits of all instances
// may add up to.
const overcommit = 8

// memory is pool.memory in bytes; 0 = no bound.
func (p PoolConfig) memory() (int64, error) {
	if p.Memory == MemoryAuto {
		total, err := machineMemory()
		return overcommit * int64(total), err
	}
	size, err := ParseBytes(p.Memory)
	return int64(size), err
}

// machineMemory is how much this machine has.
func machineMemory() (Bytes, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("find out how much memory this machine has: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			return ParseBytes(strings.Replace(strings.TrimSpace(rest), "kB", "KiB", 1)) // it means the latter
		}
	}
	return 0, errors.New("find out how much memory this machine has: /proc/meminfo doesn't say")
}
