package limit

import (
	"sync"
	"time"
)

// Slots bound how many of something run at once, on this gateway. The zero value
// is ready. Safe for concurrent use.
type Slots struct {
	mu   sync.Mutex
	used map[string]*slot
}

// slot counts what runs under one name.
type slot struct {
	running int
	mean    time.Duration // of how long one takes, the latest counting most
}

// Enter takes a place under a name that has most of them; leave gives it back.
// Without a place ok is false, and after is when one is likely to be free, from
// how long the last ones took.
func (s *Slots) Enter(name string, most int) (leave func(), after time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used == nil {
		s.used = map[string]*slot{}
	}
	own := s.used[name]
	if own == nil {
		own = &slot{}
		s.used[name] = own
	}
	if own.running >= most {
		return nil, max(own.mean/time.Duration(most), time.Millisecond), false
	}
	own.running++
	begun := time.Now()
	return sync.OnceFunc(func() { s.leave(own, time.Since(begun)) }), 0, true
}

func (s *Slots) leave(own *slot, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own.running--
	if own.mean == 0 {
		own.mean = took
	}
	own.mean += (took - own.mean) / 4
}
