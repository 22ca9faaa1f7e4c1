package leasetest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"attune/envcache"
)

// Environment variables that make a test binary a holder.
const (
	holderName    = "ATTUNE_LEASETEST_NAME"
	holderAddress = "ATTUNE_LEASETEST_ADDRESS"
)

// Hold makes this process a holder and never returns, where it is one that the
// tests started to kill it: a test binary runs itself for that. Otherwise it
// returns at once. TestMain calls it before anything else.
func Hold(open func(address string) (envcache.Leaser, error)) {
	name := os.Getenv(holderName)
	if name == "" {
		return
	}
	if err := hold(open, name); err != nil {
		fmt.Fprintln(os.Stderr, "holder:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// hold says on stdout that it has the lease, and keeps it until stdin ends: so
// it doesn't outlive its parent.
func hold(open func(address string) (envcache.Leaser, error), name string) error {
	leaser, err := open(os.Getenv(holderAddress))
	if err != nil {
		return err
	}
	if _, err := leaser.Acquire(context.Background(), name, ttl); err != nil {
		return err
	}
	if _, err := fmt.Println("held"); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// startHolder returns when another process holds the lease; kill kills it, and
// returns when it is dead.
func startHolder(t *testing.T, address, name string) (kill func()) {
	t.Helper()
	holder := exec.Command(os.Args[0], "-test.run=^$")
	holder.Env = append(os.Environ(), holderName+"="+name, holderAddress+"="+address)
	holder.Stderr = os.Stderr
	// Held open by us alone, and closed when we die.
	if _, err := holder.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	dead := false
	kill = func() {
		if dead {
			return
		}
		dead = true
		if err := holder.Process.Kill(); err != nil {
			t.Errorf("kill the holder: %v", err)
		}
		if err := holder.Wait(); holder.ProcessState == nil {
			t.Errorf("wait for the holder: %v", err) // "signal: killed" is what we want
		}
	}
	t.Cleanup(kill)
	if said, err := bufio.NewReader(stdout).ReadString('\n'); said != "held\n" {
		t.Fatalf("the holder said %q, %v", said, err)
	}
	return kill
}

func killedHolder(t *testing.T, leaser envcache.Leaser, options Options) {
	name := someName()
	kill := startHolder(t, options.Address, name)
	wantTaken(t, leaser, name)
	kill()
	if !options.Expires {
		mustAcquire(t, leaser, name) // at once
		return
	}
	// At most its ttl from its last renewal, and some time to ask.
	if took := acquireEventually(t, leaser, name); took > 2*ttl {
		t.Errorf("a killed holder's lease was free after %v, want within its ttl of %v", took, ttl)
	}
}
