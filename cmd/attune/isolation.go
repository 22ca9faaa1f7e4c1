package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"attune/runtimes/container"
)

// isolation remembers whether the engine has shown that a container sees its
// own environment and no other.
type isolation struct {
	mu     sync.Mutex
	proven bool
}

// errSelfTest says that the engine has failed the self-test, or could not make it.
var errSelfTest = errors.New("self-test of the engine's isolation")

// proofTimeout bounds the self-test of the engine.
const proofTimeout = time.Minute

// admit lets an image be used once the engine has passed the self-test in it,
// or in another. A gateway that starts without any image makes the test when
// the first appears.
func (g *gateway) admit(ctx context.Context, image container.Image) error {
	if !g.info.Isolated {
		return nil // engine process promises nothing
	}
	g.isolation.mu.Lock()
	defer g.isolation.mu.Unlock()
	if g.isolation.proven {
		return nil
	}
	// Not for the caller alone: one that leaves must not fail the test.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), proofTimeout)
	defer cancel()
	if err := g.cache.SelfTest(ctx, image); err != nil {
		return fmt.Errorf("%w: %w", errSelfTest, err)
	}
	g.isolation.proven = true
	return nil
}

// proveIsolation makes the self-test before the gateway serves.
func (g *gateway) proveIsolation(ctx context.Context) error {
	var missing []string
	for _, rt := range g.registry.All() {
		_, err := g.images.Resolve(ctx, rt)
		if err == nil || errors.Is(err, errSelfTest) {
			return err
		}
		missing = append(missing, rt.Name+": "+err.Error())
	}
	g.log.Warn("no runtime has a usable image: make images, or pull them", "runtimes", missing)
	return nil
}
