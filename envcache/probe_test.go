package envcache

import (
	"os"
	"path/filepath"
	"testing"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	if free, err := c.Probe(); err != nil || free <= 0 {
		t.Errorf("Probe() = %d, %v, want what is free", free, err)
	}
	if left, err := filepath.Glob(filepath.Join(c.Root, ".probe-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
	if err := os.Rename(filepath.Join(c.Root, ".store"), filepath.Join(c.Root, ".away")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Probe(); err == nil {
		t.Error("Probe() of a volume without environments = nil, want an error")
	}
	if err := os.Rename(filepath.Join(c.Root, ".away"), filepath.Join(c.Root, ".store")); err != nil {
		t.Fatal(err)
	}
	// What is in the way can't be written over, whoever one is.
	if err := os.Mkdir(filepath.Join(c.Root, ".probe-gw"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Probe(); err == nil {
		t.Error("Probe() where nothing can be written = nil, want an error")
	}
}
