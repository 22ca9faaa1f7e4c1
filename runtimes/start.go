package runtimes

import (
	"errors"
	"runtime"
	"time"
)

// errReplaced says that a directory was replaced while an instance started.
var errReplaced = errors.New("a directory of the pack was replaced meanwhile")

// startMore asks for room for as many instances as the pool lacks. The pool is
// locked.
func (p *pool) startMore() {
	lacking := p.lacking()
	if lacking <= 0 {
		return
	}
	p.wanted += lacking
	p.owner.budget.ask(p)
}

// lacking is how many instances have to be started, as far as the pool's own
// limit allows: one for each slot that a waiter needs and none is starting for,
// and those that are kept. The pool is locked.
func (p *pool) lacking() int {
	if p.closed {
		return 0
	}
	coming := p.starting + p.wanted
	// Starts take processors from the calls that run: not all at once.
	calls := min(p.needed(), max(startsAtOnce, p.live-p.starting))
	lacking := max(calls-coming, p.short())
	if p.most > 0 {
		lacking = min(lacking, p.most-p.live-p.wanted)
	}
	return lacking
}

// startsAtOnce is how many instances a pool starts at once; one with more
// instances than that doubles them.
var startsAtOnce = 2 * runtime.NumCPU()

// bearable is how long a call may wait before another instance is started for
// it: a tenth of what a start takes of a processor, and of the time before a new
// instance could serve it.
const bearable = 25 * time.Millisecond

// needed is how many instances the calls in line would fill, without those that
// the slots there are will have served in a moment, and those that get another
// worker. The pool is locked.
func (p *pool) needed() int {
	n := len(p.waiters) - p.returning
	if n <= 0 {
		return 0
	}
	if p.service > 0 && !p.once && time.Since(p.waiters[0].since) < bearable {
		soon := int64(bearable/p.service) * int64((p.live-p.starting)*p.slots)
		n -= int(min(soon, int64(n)))
		if soon > 0 {
			p.lookAgain()
		}
	}
	return (n + p.slots - 1) / p.slots
}

// lookAgain asks once more when a call has waited for longer than was to be
// expected. The pool is locked.
func (p *pool) lookAgain() {
	if p.looking {
		return
	}
	p.looking = true
	time.AfterFunc(bearable, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.looking = false
		p.startMore()
	})
}

// launch starts an instance for which the budget has room. It runs by itself.
func (p *pool) launch() {
	begun := time.Now()
	instance, err := p.owner.launch(p.owner.ctx, p.shape)
	if err == nil && instance.roots != p.shape.roots() {
		err = errors.Join(errReplaced, instance.destroy(p.owner.ctx))
	}
	if err != nil {
		p.owner.counters.failed.Add(1)
		p.owner.budget.giveBack(p, nil)
		p.failed(err)
		return
	}
	p.owner.counters.started.Add(1)
	p.owner.counters.startTime.Add(int64(time.Since(begun)))
	p.owner.background.Add(1) // until it is removed
	p.open(instance, time.Since(begun))
	p.watch(instance)
}

// open hands out the slots of a new instance.
func (p *pool) open(i *Instance, took time.Duration) {
	p.mu.Lock()
	i.pool, i.started, i.idleSince = p, time.Now(), time.Now()
	p.starting--
	p.instances = append(p.instances, i)
	if p.closed {
		p.retire(i, removedClosing)
		p.detach(i)
		p.mu.Unlock()
		p.owner.remove(i)
		return
	}
	for _, s := range i.slots {
		p.lay(s, took)
	}
	idle := i.busy == 0
	p.startMore()
	p.mu.Unlock()
	if idle {
		p.owner.budget.idled()
	}
}

// failed ends a start without an instance. It fails the call that has waited
// longest: a fault that stays must be told, not retried for ever. What is kept
// without a call is tried again later.
func (p *pool) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starting--
	p.live--
	replaced := errors.Is(err, errReplaced)
	if !replaced {
		p.backOff()
	}
	if w := p.head(replaced); w != nil {
		w.ready <- grant{err: err}
	} else if !replaced && !p.closed {
		p.owner.log.Warn("instance could not be kept warm; trying again", "pack", p.shape.Pack, "runtime", p.shape.Runtime.Name,
			"in", time.Until(p.notBefore).Round(time.Second), "error", err)
	}
	p.startMore()
}

// head is who learns of a failed start; nobody of one that is simply repeated.
func (p *pool) head(repeated bool) *waiter {
	if repeated {
		return nil
	}
	return p.next()
}

// watch tells what the agent has to say, and removes an instance whose agent is
// lost. Slots in use come back by Release.
func (p *pool) watch(i *Instance) {
	for notice := range i.link.Notices() {
		p.notice(notice)
	}
	<-i.link.Done()
	p.mu.Lock()
	if !i.retiring && time.Since(i.started) < settled {
		p.backOff()
	}
	p.mu.Unlock()
	p.weed(func(other *Instance) bool { return other == i }, 1, removedLost)
}
