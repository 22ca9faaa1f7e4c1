package redis

import (
	"context"
	"fmt"
	"sync"
	"time"

	"attune/envcache"
)

// lease is a held lease. One goroutine renews it from start to Release, or
// until it is lost; a timer declares it lost even while a renewal hangs,
// before anyone else can have it.
type lease struct {
	client *Client
	name   string
	owner  string
	ttl    time.Duration

	renewFailed func() // nil = nobody asks

	lost    chan struct{} // closed once, by lose
	lose    func()
	expiry  *time.Timer        // calls lose when ttl is over
	stop    context.CancelFunc // of the renewing goroutine
	stopped chan struct{}      // closed when it has returned

	mu       sync.Mutex
	released bool
}

var _ envcache.Lease = (*lease)(nil)

const (
	// renewalsPerTTL: a renewal may fail twice before the lease is lost.
	renewalsPerTTL = 3
	// maxRenewal bounds one renewal, and so how long Release may have to wait.
	maxRenewal = 2 * time.Second
	// expiryMargin is the part of a ttl by which the holder counts a lease as
	// lost before Redis ends it: time for a clock that drifts and for a busy
	// machine to wake who must stop.
	expiryMargin = 10
)

// safe is when a lease that was asked for at a time must be counted as lost.
func (l *lease) safe(asked time.Time) time.Time { return asked.Add(l.ttl - l.ttl/expiryMargin) }

// start begins renewing. The lease was asked for at a time that has a monotonic
// clock: a step of the wall clock neither loses nor prolongs it.
func (l *lease) start(asked time.Time) {
	ctx, cancel := context.WithCancel(context.Background()) // until Release, whatever became of Acquire's
	l.stop, l.stopped = cancel, make(chan struct{})
	l.lost = make(chan struct{})
	l.lose = sync.OnceFunc(func() { close(l.lost) })
	l.expiry = time.AfterFunc(time.Until(l.safe(asked)), l.lose)
	go func() {
		defer close(l.stopped)
		defer l.expiry.Stop()
		l.keep(ctx, asked)
	}()
}

// keep renews until ctx is cancelled or the lease is lost.
func (l *lease) keep(ctx context.Context, asked time.Time) {
	interval := l.ttl / renewalsPerTTL
	next := time.NewTimer(time.Until(asked.Add(interval)))
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.lost:
			return
		case <-next.C:
		}
		asked, mine, err := l.renew(ctx, interval)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			// Not known to be lost. The timer decides; until then try often.
			if l.renewFailed != nil {
				l.renewFailed()
			}
			next.Reset(interval / renewalsPerTTL)
			continue
		case !mine:
			l.lose()
			return
		}
		if !l.expiry.Reset(time.Until(l.safe(asked))) {
			// It was declared lost before the reply came, and stays so.
			l.expiry.Stop()
			l.lose()
			return
		}
		next.Reset(time.Until(asked.Add(interval)))
	}
}

func (l *lease) renew(ctx context.Context, interval time.Duration) (asked time.Time, mine bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, min(interval, maxRenewal))
	defer cancel()
	asked = time.Now()
	mine, err = l.run(ctx, renewScript, l.owner, l.ttl.Milliseconds())
	return asked, mine, err
}

// Lost implements envcache.Lease. It is closed at the latest when nine tenths of
// the ttl have passed since the last renewal that Redis confirmed was sent.
func (l *lease) Lost() <-chan struct{} { return l.lost }

// Release implements envcache.Lease. When it returns nothing renews any more,
// even with an error (ErrUnavailable): then the lease ends by its ttl, or by
// another Release.
func (l *lease) Release(ctx context.Context) error {
	l.stop()
	<-l.stopped
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return nil
	}
	// Where it was lost for want of a reply it may still be ours.
	if _, err := l.run(ctx, releaseScript, l.owner); err != nil && !l.isLost() {
		return fmt.Errorf("release lease %s: %w", l.name, err)
	}
	l.released = true
	return nil
}

func (l *lease) isLost() bool {
	select {
	case <-l.lost:
		return true
	default:
		return false
	}
}
