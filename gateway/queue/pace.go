package queue

import (
	"sync"
	"time"
)

// pace is how fast jobs end here.
type pace struct {
	mu     sync.Mutex
	since  time.Time // when the present span began
	ended  int       // in it
	before float64   // jobs a second, in the span before
}

// paceSpan is what the pace is measured over.
const paceSpan = 10 * time.Second

// note counts a job that has ended.
func (p *pace) note(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn(now)
	p.ended++
}

// turn begins another span where the present one is over.
func (p *pace) turn(now time.Time) {
	if elapsed := now.Sub(p.since); elapsed >= paceSpan {
		p.before = float64(p.ended) / elapsed.Seconds()
		p.since, p.ended = now, 0
	}
}

// Bounds of what is told to who finds the queue full.
const (
	leastUntil = time.Second
	mostUntil  = time.Minute
)

// until estimates when a twentieth of a full queue will have ended: who is
// refused is not alone, and for all of them one free place is too few.
func (p *pace) until(most int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.turn(now)
	rate := p.before
	if elapsed := now.Sub(p.since).Seconds(); elapsed > 1 {
		rate = max(rate, float64(p.ended)/elapsed)
	}
	if rate == 0 {
		return mostUntil
	}
	return min(max(time.Duration(float64(most)/20/rate*float64(time.Second)), leastUntil), mostUntil)
}
