package envcache

import (
	"maps"
	"sync"
	"sync/atomic"
)

// readyMap remembers environments for the path of every warm call: looking one
// up takes no lock and no memory. The map is copied on every change, which is
// as rare as a build.
type readyMap struct {
	changing sync.Mutex
	current  atomic.Pointer[map[key]*Environment]
}

func (m *readyMap) get(k key) *Environment {
	if current := m.current.Load(); current != nil {
		return (*current)[k]
	}
	return nil
}

// keep remembers env, or returns the one that is remembered already.
func (m *readyMap) keep(k key, env *Environment) *Environment {
	m.changing.Lock()
	defer m.changing.Unlock()
	if first := m.get(k); first != nil {
		return first
	}
	next := m.copy()
	next[k] = env
	m.current.Store(&next)
	return env
}

// drop forgets what matches, and returns it.
func (m *readyMap) drop(match func(key) bool) []*Environment {
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
	return dropped
}

func (m *readyMap) copy() map[key]*Environment {
	next := make(map[key]*Environment)
	if current := m.current.Load(); current != nil {
		maps.Copy(next, *current)
	}
	return next
}
