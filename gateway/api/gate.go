package api

import (
	"sync"
	"time"
)

// gate counts the requests inside, and stays shut once it was shut.
type gate struct {
	mu       sync.Mutex
	inside   int
	closed   bool
	left     time.Time // when the last one left; zero = never
	shutAt   time.Time
	shutting chan struct{} // closed when the gate is shut
	empty    chan struct{} // closed when the gate is shut and nobody is inside
}

func newGate() *gate { return &gate{shutting: make(chan struct{}), empty: make(chan struct{})} }

// enter lets one request in, unless the gate is shut.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside++
	return true
}

// leave must follow every enter that returned true.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	g.left = time.Now()
	if g.closed && g.inside == 0 {
		close(g.empty)
	}
}

// shut lets nobody in any more; what it returns is closed when all have left.
func (g *gate) shut() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.shutAt = time.Now()
		close(g.shutting)
		if g.inside == 0 {
			close(g.empty)
		}
	}
	g.closed = true
	return g.empty
}

func (g *gate) isShut() bool {
	select {
	case <-g.shutting:
		return true
	default:
		return false
	}
}

// since is when the gate was shut.
func (g *gate) since() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shutAt.UTC()
}

// lastLeft is when the last request left.
func (g *gate) lastLeft() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.left
}

func (g *gate) running() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside
}
