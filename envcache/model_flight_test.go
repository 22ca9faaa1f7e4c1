package envcache

import "time"

// modelOutcome of a part of a flight.
type modelOutcome int

const (
	modelBuilt  modelOutcome = iota // there is an environment
	modelFailed                     // there is none, and that is the answer
	modelAgain                      // look again
	modelNone                       // it may be built
)

// find is Cache.find: it ends when the environment is there, or can't be.
func (p *modelProc) find() {
	w, d := p.gateway.world, p.digest
	var revision int64
	p.locked(func() {
		p.step("read wish")
		wanted, now := w.wanted, w.revision
		if wanted != d {
			now++
			p.step("write wish")
			w.wanted, w.revision = d, now
		}
		revision = now
	})
	p.at(PointDigest)
	for poll := 250 * time.Millisecond; ; poll = min(2*poll, 2*time.Second) {
		if p.look(revision) != modelNone {
			break
		}
		if p.attempt(revision) != modelAgain {
			break
		}
		p.sleep(poll)
	}
	p.edges(p.last, "end")
}

// look takes a reference, and then tests the marker.
func (p *modelProc) look(revision int64) modelOutcome {
	g, w, d := p.gateway, p.gateway.world, p.digest
	if !w.has("reference first") {
		p.step("marker")
		if w.store[d] == nil {
			return p.recent()
		}
	}
	p.step("reference")
	if w.pruning[d] != nil {
		return p.recent() // as good as gone
	}
	if w.references[d] == nil {
		w.references[d] = map[*modelGateway]int{}
	}
	w.references[d][g]++
	p.step("marker")
	if w.has("reference first") && w.store[d] == nil {
		if w.references[d][g]--; w.references[d][g] == 0 {
			delete(w.references[d], g)
		}
		return p.recent()
	}
	p.land(revision)
	if g.ready == nil {
		g.ready = map[modelDigest]bool{}
	}
	g.ready[d] = true
	return modelBuilt
}

func (p *modelProc) recent() modelOutcome {
	p.step("failure record")
	if p.gateway.world.now < p.gateway.world.failures[p.digest].until {
		return modelFailed
	}
	return modelNone
}

// land seals, points and forgives, also in place of the one who published.
func (p *modelProc) land(revision int64) {
	w, d := p.gateway.world, p.digest
	p.at(PointSealed)
	p.locked(func() {
		p.step("read wish")
		if revision < w.shown && w.has("revision") {
			return
		}
		raise := func() {
			p.step("raise the number")
			w.shown = max(w.shown, revision)
		}
		if w.has("number first") {
			raise()
		}
		p.step("flip")
		w.point(d, revision)
		if !w.has("number first") {
			raise()
		}
	})
	p.at(PointPointed)
	delete(w.failures, d)
}

// attempt builds under the lease.
func (p *modelProc) attempt(revision int64) modelOutcome {
	if !p.lease(p.digest) {
		return modelAgain
	}
	p.at(PointLeased)
	result := modelNone
	if p.gateway.world.has("second look") {
		result = p.look(revision)
	}
	if result == modelNone {
		result = p.build(revision)
	}
	p.release(p.digest)
	p.at(PointReleased)
	return result
}

func (p *modelProc) build(revision int64) modelOutcome {
	w := p.gateway.world
	switch p.share() {
	case modelBuilt:
		return p.look(revision)
	case modelAgain:
		return modelAgain
	}
	b := p.builder()
	if b == nil {
		return modelAgain
	}
	p.await("wait for the builder", func() bool { return b.exited || b.removed || w.now > b.deadline })
	if b.removed {
		return modelAgain
	}
	p.at(PointExited)
	a := b.attempt
	if (b.code != 0 || !b.exited) && a.there {
		if !b.exited {
			w.failed++ // it took too long
		}
		return p.fail(b)
	}
	claimed := p.claim(a)
	p.at(PointClaimed)
	if !claimed {
		return modelAgain
	}
	good := p.verify(a)
	p.at(PointVerified)
	gone := !p.mine(a)
	if good {
		p.step("rename")
		if gone = !p.mine(a); !gone {
			w.publish(a)
		}
	}
	p.at(PointPublished)
	switch {
	case gone:
		return modelAgain // another has taken it over
	case !good:
		return p.fail(b)
	}
	p.cleanUp(b)
	p.at(PointCleaned)
	return p.look(revision)
}

// share publishes a copy of what another pack has.
func (p *modelProc) share() modelOutcome {
	g, w, d := p.gateway, p.gateway.world, p.digest
	p.step("look for a source")
	s := w.sources[d]
	if s == nil {
		return modelNone
	}
	p.step("hold the source")
	if !s.there {
		return modelNone
	}
	s.holds[g]++
	defer func() {
		if s.holds[g]--; s.holds[g] <= 0 {
			delete(s.holds, g)
		}
	}()
	p.at(PointSource)
	p.step("find")
	if b := w.named(d); b != nil && p.adoptable(b) {
		return modelNone
	}
	p.step("mkdir")
	a := &modelAttempt{digest: d, there: true}
	w.attempts = append(w.attempts, a)
	p.at(PointAttempt)
	p.step("copy")
	if !s.there {
		w.violate("I7: a source was pruned while it was copied")
	}
	a.whole = s.whole
	good := a.there && (a.whole || !w.has("listing"))
	p.step("mark")
	if good = good && a.there; good {
		w.write(a)
		a.marked = true
	}
	p.at(PointCopied)
	published := false
	if good {
		p.step("rename")
		if published = a.there; published {
			w.publish(a)
		}
	}
	p.at(PointPublished)
	gone := !published && !a.there
	p.step("discard attempt")
	w.discard(a)
	switch {
	case gone:
		return modelAgain
	case published:
		return modelBuilt
	}
	return modelNone
}

// adoptable removes a builder that isn't.
func (p *modelProc) adoptable(b *modelBuilder) bool {
	w := p.gateway.world
	p.step("state")
	judged := w.has("judged") && w.failures[p.digest].builder == b
	switch {
	case b.removed:
	case b.running, b.exited && !judged && b.attempt.there:
		return true
	default:
		p.cleanUp(b)
	}
	return false
}

// mine tells whether an attempt still has the name that this claim gave it.
func (p *modelProc) mine(a *modelAttempt) bool {
	return a.there && (a.claim == p || !p.gateway.world.has("claim"))
}

func (p *modelProc) claim(a *modelAttempt) bool {
	w := p.gateway.world
	p.step("find attempt")
	if !a.there {
		return false
	}
	if !w.has("claim") {
		return true
	}
	found := a.claim
	if found != nil && w.now-a.claimedAt < modelTTL {
		return false
	}
	p.step("claim")
	if !a.there || a.claim != found {
		return false
	}
	a.claim, a.claimedAt = p, w.now
	return true
}

// verify gives false for an attempt that isn't whole, or is not here any more.
func (p *modelProc) verify(a *modelAttempt) bool {
	w := p.gateway.world
	for _, what := range []string{"remove marker", "seal", "look again", "write marker"} {
		p.step(what)
		if w.has("claim") && !p.mine(a) {
			return false
		}
		switch what {
		case "remove marker":
			w.write(a)
			a.marked = false
		case "look again":
			if !a.whole && w.has("verify") {
				return false
			}
		case "write marker":
			w.write(a)
			a.marked = true
		}
	}
	return true
}

// fail records a failure, and then removes its builder.
func (p *modelProc) fail(b *modelBuilder) modelOutcome {
	w := p.gateway.world
	p.step("read record")
	last := w.failures[b.digest]
	p.step("write record")
	backoff := min(buildBackoff<<min(last.attempt, 20), maxBuildBackoff)
	w.failures[b.digest] = modelFailure{attempt: last.attempt + 1, until: w.now + backoff, builder: b}
	w.recorded++
	p.at(PointRecorded)
	p.cleanUp(b)
	return modelFailed
}

// builder returns the one that is there, or a new one; nil to look again.
func (p *modelProc) builder() *modelBuilder {
	w, d := p.gateway.world, p.digest
	for range 20 {
		p.step("find")
		if b := w.named(d); b != nil && p.adoptable(b) {
			return b
		}
		p.step("mkdir")
		a := &modelAttempt{digest: d, there: true}
		w.attempts = append(w.attempts, a)
		p.at(PointAttempt)
		if w.named(d) != nil && w.has("name") {
			p.step("discard attempt")
			w.discard(a)
			p.sleep(250 * time.Millisecond)
			continue
		}
		if !a.there {
			return nil // a reaper took it for abandoned
		}
		b := &modelBuilder{digest: d, attempt: a, deadline: w.now + modelTimeout + grace}
		w.builders = append(w.builders, b)
		p.at(PointCreated)
		if b.removed {
			p.cleanUp(b)
			p.sleep(250 * time.Millisecond)
			continue
		}
		b.running = true
		w.started(b)
		p.at(PointStarted)
		return b
	}
	return nil
}
