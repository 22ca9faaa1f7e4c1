package limit

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Shared asks a limiter that all gateways share, and counts by itself while that
// is away: each gateway then allows the whole rate. It never fails a request.
type Shared struct {
	primary Limiter
	local   *Memory
	log     *slog.Logger

	mu    sync.Mutex
	retry time.Time // not before then
	away  bool
}

var _ Limiter = (*Shared)(nil)

const (
	sharedTimeout = 250 * time.Millisecond // the most that a request waits for the primary
	sharedPause   = time.Second            // without asking, after it has failed
)

// NewShared returns a limiter that asks primary.
func NewShared(primary Limiter, log *slog.Logger) *Shared {
	return &Shared{primary: primary, local: NewMemory(), log: log}
}

// Take implements Limiter; its error is always nil.
func (s *Shared) Take(ctx context.Context, name string, rate Rate) (State, error) {
	if !s.mayAsk() {
		return s.local.Take(ctx, name, rate)
	}
	bounded, cancel := context.WithTimeout(ctx, sharedTimeout)
	defer cancel()
	state, err := s.primary.Take(bounded, name, rate)
	if err != nil {
		if ctx.Err() == nil { // or the caller has left, and the primary may be well
			s.failed(err)
		}
		return s.local.Take(ctx, name, rate)
	}
	s.answered()
	return state, nil
}

func (s *Shared) mayAsk() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.away || time.Now().After(s.retry)
}

func (s *Shared) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retry = time.Now().Add(sharedPause)
	if !s.away {
		s.away = true
		s.log.Warn("rates are limited per gateway until their store answers", slog.Any("error", err))
	}
}

func (s *Shared) answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		s.away = false
		s.log.Info("rates are limited across gateways again")
	}
}
