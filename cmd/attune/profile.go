package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
)

// profile watches this process until stop, which writes what it spent its time
// on into dir/cpu.pprof, and what it holds in memory into dir/heap.pprof: for
// benchmarks, which want all of it. An operator asks the administrative listener.
func profile(dir string) (stop func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	cpu, err := os.Create(filepath.Join(dir, "cpu.pprof"))
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(fmt.Errorf("profile: %w", err), cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		err := cpu.Close()
		heap, created := os.Create(filepath.Join(dir, "heap.pprof"))
		if created != nil {
			return errors.Join(err, created)
		}
		runtime.GC() // the profile is of what the last collection has left
		return errors.Join(err, pprof.WriteHeapProfile(heap), heap.Close())
	}, nil
}
