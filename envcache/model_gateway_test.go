package envcache

import (
	"fmt"
	"iter"
	"time"
)

// modelGateway is a process of the gateway; one that crashed is another one
// with the same name at once.
type modelGateway struct {
	world  *modelWorld
	name   string
	paused bool
	wants  modelDigest
	ready  map[modelDigest]bool // under a reference
	procs  []*modelProc
}

// modelProc is a goroutine of a gateway: a coroutine that stops before every
// step, so that any other may come in between, or its death.
type modelProc struct {
	gateway *modelGateway
	what    string
	digest  modelDigest
	next    func() (string, bool)
	stop    func()
	yield   func(string) bool
	ready   func() bool // what it waits for; nil = it can go on
	last    string      // point
	edges   func(from, to string)
}

type modelDeath struct{}

func (g *modelGateway) spawn(what string, d modelDigest, edges func(from, to string), body func(*modelProc)) {
	p := &modelProc{gateway: g, what: what, digest: d, last: "begin", edges: edges}
	p.next, p.stop = iter.Pull(func(yield func(string) bool) {
		defer func() {
			if r := recover(); r != nil && r != (modelDeath{}) {
				panic(r)
			}
		}()
		p.yield = yield
		body(p)
	})
	g.procs = append(g.procs, p)
}

// run takes one step.
func (p *modelProc) run() string {
	at, more := p.next()
	if !more {
		p.stop()
		for i, other := range p.gateway.procs {
			if other == p {
				p.gateway.procs = append(p.gateway.procs[:i:i], p.gateway.procs[i+1:]...)
				break
			}
		}
		return "ends"
	}
	return at
}

func (p *modelProc) enabled() bool { return !p.gateway.paused && (p.ready == nil || p.ready()) }

// step stops before a step of input or output.
func (p *modelProc) step(what string) {
	if !p.yield(what) {
		panic(modelDeath{})
	}
}

// at passes a point of the product.
func (p *modelProc) at(point Point) {
	p.edges(p.last, string(point))
	p.last = string(point)
	p.step(string(point))
}

// await stops until something holds.
func (p *modelProc) await(what string, ready func() bool) {
	p.ready = ready
	p.step(what)
	p.ready = nil
}

func (p *modelProc) sleep(d time.Duration) {
	until := p.gateway.world.now + d
	p.await("poll", func() bool { return p.gateway.world.now >= until })
}

// crash ends a gateway. The kernel frees its locks; leases wait for their TTL.
func (g *modelGateway) crash() {
	w := g.world
	for _, p := range g.procs {
		p.stop()
	}
	for name, holder := range w.fileLocks {
		if holder.gateway == g {
			delete(w.fileLocks, name)
		}
	}
	for d, holder := range w.pruning {
		if holder.gateway == g {
			delete(w.pruning, d)
		}
		delete(w.references[d], g)
	}
	for d := range w.references {
		delete(w.references[d], g)
	}
	for _, s := range w.sources {
		delete(s.holds, g)
	}
	g.procs, g.ready, g.paused, g.wants = nil, nil, false, w.manifest
}

// ask starts a flight, if none is under way and none is needed.
func (g *modelGateway) ask(edges func(from, to string)) bool {
	d := g.wants
	for _, p := range g.procs {
		if p.what == "flight" && p.digest == d {
			return false
		}
	}
	if g.ready[d] {
		return false
	}
	g.spawn("flight", d, edges, (*modelProc).find)
	return true
}

// lockFile takes a lock that the kernel frees, without waiting.
func (p *modelProc) lockFile(name string) bool {
	w := p.gateway.world
	if w.fileLocks[name] != nil {
		return false
	}
	w.fileLocks[name] = p
	return true
}

func (p *modelProc) unlock(name string) {
	if w := p.gateway.world; w.fileLocks[name] == p {
		delete(w.fileLocks, name)
	}
}

// locked runs f under the pointer's lock.
func (p *modelProc) locked(f func()) {
	w := p.gateway.world
	p.await("pointer's lock", func() bool { return w.fileLocks["pointer"] == nil })
	if !p.lockFile("pointer") {
		p.locked(f)
		return
	}
	f()
	p.step("unlock pointer")
	p.unlock("pointer")
}

// lease takes the shared lease and then the file's.
func (p *modelProc) lease(d modelDigest) bool {
	w := p.gateway.world
	if w.shared {
		p.step("shared lease")
		if held, taken := w.leases[d]; !w.away {
			if taken && w.now < held.until {
				return false
			}
			w.leases[d] = modelLease{p, w.now + modelTTL}
		}
	}
	if w.file && !func() bool { p.step("file lease"); return p.lockFile(fmt.Sprint("build.", d)) }() {
		p.release(d)
		return false
	}
	return true
}

func (p *modelProc) release(d modelDigest) {
	w := p.gateway.world
	p.step("release")
	p.unlock(fmt.Sprint("build.", d))
	p.step("release shared")
	switch held := w.leases[d]; {
	case held.owner != p: // it was lost
	case w.away:
		w.leases[d] = modelLease{until: held.until} // nobody renews it
	default:
		delete(w.leases, d)
	}
}

// underLease is the reaper's way to work.
func (p *modelProc) underLease(d modelDigest, f func()) {
	if !p.gateway.world.has("reaper's lease") {
		f()
		return
	}
	if p.lease(d) {
		f()
		p.release(d)
	}
}

// reap removes leftovers.
func (p *modelProc) reap() {
	w := p.gateway.world
	p.step("find builders")
	builders := append([]*modelBuilder(nil), w.builders...)
	p.step("list attempts")
	attempts := append([]*modelAttempt(nil), w.attempts...)
	for _, b := range builders {
		p.step("published?")
		if w.store[b.digest] != nil || b.attempt.there && w.now > b.deadline {
			p.underLease(b.digest, func() { p.cleanUp(b) })
		}
	}
	for _, a := range attempts {
		p.underLease(a.digest, func() {
			p.step("find builder of attempt")
			if b := w.named(a.digest); w.has("reaper's look") && b != nil && b.attempt == a {
				return
			}
			p.step("discard attempt")
			w.discard(a)
		})
	}
	p.step("empty trash")
	w.trash = 0
}

func (p *modelProc) cleanUp(b *modelBuilder) {
	w := p.gateway.world
	p.step("remove builder")
	w.remove(b)
	p.step("discard its attempt")
	w.discard(b.attempt)
}

// prune deletes generations that nobody points at or refers to.
func (p *modelProc) prune() {
	w := p.gateway.world
	p.step("list generations")
	for d := modelDigest(1); d <= w.manifest; d++ {
		if w.store[d] == nil {
			continue
		}
		p.locked(func() {
			p.step("pointed at?")
			if w.pointer == d || w.wanted == d {
				return
			}
			p.step("containers")
			if w.named(d) != nil {
				return
			}
			p.step("reference")
			if w.has("reference") && len(w.references[d]) > 0 || w.pruning[d] != nil {
				return
			}
			w.pruning[d] = p
			p.step("move to trash")
			if w.store[d] != nil {
				delete(w.store, d)
				w.deletions[d]++
				w.trash++
			}
			p.step("unlock reference")
			delete(w.pruning, d)
		})
	}
}

// rollback points at an earlier generation, and leaves a number that only a
// generation after the present one can pass.
func (p *modelProc) rollback() {
	w := p.gateway.world
	p.locked(func() {
		p.step("choose")
		for d := w.pointer - 1; d > 0; d-- {
			if w.store[d] == nil {
				continue
			}
			p.step("raise the number")
			w.shown = w.revision + 1
			p.step("flip")
			w.point(d, w.shown)
			return
		}
	})
}
