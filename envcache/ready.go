package envcache

import (
	"maps"
	"sync"
	"sync/atomic"
)

// readyMap remembers environments for the path of every warm call: looking one
// up takes no lock and no memory. The map is copied on every change, which is
// as rare as a build. It holds what it remembers.
type readyMap struct {
	changing sync.Mutex
	current  atomic.Pointer[map[key]*Environment]
}

// get returns the environment with a hold for the caller, or nil.
func (m *readyMap) get(k key) *Environment {
	for {
		env := m.peek(k)
		if env == nil || env.hold() {
			return env
		}
		// It was replaced and let go in this moment: look again.
	}
}

// peek returns the environment without a hold: to look at, not to use.
func (m *readyMap) peek(k key) *Environment {
	if current := m.current.Load(); current != nil {
		return (*current)[k]
	}
	return nil
}

// put remembers env, whose hold it takes over, in place of what was there.
func (m *readyMap) put(k key, env *Environment) {
	m.changing.Lock()
	defer m.changing.Unlock()
	next := m.copy()
	before := next[k]
	next[k] = env
	m.current.Store(&next)
	if before != nil {
		before.Release()
	}
}

// drop forgets what matches.
func (m *readyMap) drop(match func(key) bool) {
	m.changing.Lock()
	defer m.changing.Unlock()
	var dropped []*Environment
	next := m.copy()
	for k, env := range next {
		if match(k) {
			dropped = append(dropped, env)
			delete(next, k)
		}
	}
	m.current.Store(&next)
	for _, env := range dropped {
		env.Release()
	}
}

// all returns a snapshot that must not be changed.
func (m *readyMap) all() map[key]*Environment {
	if current := m.current.Load(); current != nil {
		return *current
	}
	return nil
}

func (m *readyMap) copy() map[key]*Environment {
	next := maps.Clone(m.all())
	if next == nil {
		next = make(map[key]*Environment)
	}
	return next
}
