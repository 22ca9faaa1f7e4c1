package envcache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// flight is one build in this process, whoever asked for it. It runs on the
// cache's context, never on a request's.
type flight struct {
	recipe *Recipe
	since  time.Time
	served chan struct{} // closed by serve when calls can have the generation before
	serve  func()
	done   chan struct{} // closed when it has landed: the environment is ready, or err is set
	err    error

	mu     sync.Mutex
	phase  Phase
	digest string
}

// at notes the flight's phase and tells it.
func (c *Cache) at(f *flight, phase Phase, err error) {
	f.mu.Lock()
	changed := f.phase != phase
	f.phase = phase
	f.mu.Unlock()
	if changed {
		c.tell(f, phase, "", err)
	}
}

func (c *Cache) tell(f *flight, phase Phase, line string, err error) {
	f.mu.Lock()
	digest := f.digest
	f.mu.Unlock()
	e := Event{
		Pack: f.recipe.Pack, Runtime: f.recipe.Runtime.Name, Digest: digest,
		Phase: phase, Line: line, Elapsed: time.Since(f.since), Err: err,
	}
	c.hub.tell(e)
	c.Events(e)
}

// join returns the flight of a recipe, started if there is none.
func (c *Cache) join(r *Recipe) (*flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[r.key()]; f != nil {
		return f, nil
	}
	if c.ctx.Err() != nil {
		return nil, ErrClosed
	}
	f := &flight{recipe: r, since: time.Now(), served: make(chan struct{}), done: make(chan struct{})}
	f.serve = sync.OnceFunc(func() { close(f.served) })
	c.flights[r.key()] = f
	c.wait.Go(func() { c.fly(f) })
	return f, nil
}

func (c *Cache) fly(f *flight) {
	defer func() {
		if p := recover(); p != nil { // a fault of ours in one build must not end all calls
			c.Log.Error("panic in a build", "pack", f.recipe.Pack, "panic", p, "stack", string(debug.Stack()))
			f.err = asFailure(fmt.Errorf("panic: %v", p))
			c.at(f, PhaseFailed, f.err)
			c.leave(f)
		}
	}()
	env, err := c.find(c.ctx, f)
	for err == nil && !c.asks(f.recipe, env.Digest) {
		// Somebody has gone back, or asked for a rebuild, in the meantime.
		env.Release()
		env, err = c.find(c.ctx, f)
	}
	switch {
	case err == nil:
		c.landed(f, env)
	case c.ctx.Err() != nil:
		f.err = ErrClosed
	default:
		f.err = asAnswer(err)
		c.at(f, PhaseFailed, f.err)
	}
	c.leave(f)
}

// leave ends a flight for those who wait for it.
func (c *Cache) leave(f *flight) {
	c.mu.Lock()
	delete(c.flights, f.recipe.key())
	c.mu.Unlock()
	close(f.done)
}

// asks tells whether a generation is still the one that a recipe gets, or
// whether nobody knows any more.
func (c *Cache) asks(r *Recipe, digest string) bool {
	k, ok := c.known.Load(r.key())
	return !ok || k.(*known).digest == digest
}

// landed puts what a flight has found on the warm path. An environment that was
// forgotten on the way isn't put there: who waits for it asks once more.
func (c *Cache) landed(f *flight, env *Environment) {
	if _, ok := c.known.Load(f.recipe.key()); ok {
		c.ready.put(f.recipe.key(), env)
	} else {
		env.Release()
	}
	f.mu.Lock()
	told := f.phase != "" // of a build, here or elsewhere
	f.mu.Unlock()
	if told {
		c.at(f, PhasePublished, nil)
	}
}

// failure is why a flight has landed without an environment; nil while it flies.
func (f *flight) failure() error {
	select {
	case <-f.done:
		return f.err
	default:
		return nil
	}
}

// find returns the environment, from the disk if it is published, and else by
// building it or by waiting for who builds it. What is asked for may change in
// the meantime.
func (c *Cache) find(ctx context.Context, f *flight) (*Environment, error) {
	d, err := c.digest(f.recipe)
	if err != nil {
		return nil, err
	}
	for poll := c.Limits.PollMin; ; poll = min(poll*2, c.Limits.PollMax) {
		// A recipe that was forgotten meanwhile is no news: to tell its digest
		// anew would be to wish for it anew.
		if k, ok := c.known.Load(f.recipe.key()); ok {
			d = k.(*known).digested
		}
		c.heads(f, d)
		env, err := c.look(f, d)
		if env != nil {
			return env, nil
		}
		c.fallBack(ctx, f, d)
		if err != nil {
			return nil, err
		}
		if env, err = c.attempt(ctx, f, d); !errors.Is(err, ErrLeaseTaken) && !errors.Is(err, errAgain) {
			return env, err
		}
		c.at(f, PhaseQueued, nil)
		select {
		case <-ctx.Done():
			return nil, ErrClosed
		case <-time.After(poll):
		}
	}
}

// heads notes which generation a flight is for.
func (c *Cache) heads(f *flight, d digested) {
	f.mu.Lock()
	changed := f.digest != d.digest
	f.digest = d.digest
	f.mu.Unlock()
	if changed {
		c.Fault(PointDigest)
	}
}

// fallBack lets calls have the generation that the pointer leads to while its
// successor is missing. It works in the image that it was built in only.
func (c *Cache) fallBack(ctx context.Context, f *flight, d digested) {
	k := f.recipe.key()
	if c.ready.peek(k) == nil {
		before := c.volume.pointsAt(f.recipe.Pack, f.recipe.Runtime.Name)
		if before == "" || before == d.digest {
			return
		}
		env, err := c.open(before)
		if env != nil {
			_, err = c.Engine.Image(ctx, env.Image.ID)
			if env.identity != d.inputs.Identity {
				err = errors.New("it is that of a deleted pack of the same name")
			}
			if err != nil {
				env.Release()
			}
		}
		if env == nil || err != nil {
			c.Log.Warn("the generation before can't serve", "pack", f.recipe.Pack,
				"runtime", f.recipe.Runtime.Name, "digest", before, "error", err)
			return
		}
		c.ready.put(k, env)
	}
	f.serve()
}

// look answers from the disk: the published environment, or a failure that is
// too young for another attempt. Both nil: it may be built.
func (c *Cache) look(f *flight, d digested) (*Environment, error) {
	env, err := c.open(d.digest)
	if err != nil {
		return nil, err
	}
	if env != nil {
		c.observe(env.buildTime)
		c.land(f.recipe, d)
		return env, nil
	}
	return nil, c.volume.recentFailure(d.digest)
}

// land does what follows a publication, also in place of a gateway that died
// before it could. What fails here is tried again by the next gateway that
// looks; the environment serves without it.
func (c *Cache) land(r *Recipe, d digested) {
	err := c.volume.seal(d.digest)
	c.Fault(PointSealed)
	err = errors.Join(err, c.advance(r, d))
	c.Fault(PointPointed)
	err = errors.Join(err, c.volume.forgive(d.digest))
	if err != nil {
		c.Log.Warn("environment is ready, but its pointer or record is not", "pack", r.Pack,
			"runtime", r.Runtime.Name, "digest", d.digest, "error", err)
	}
}

// attempt builds the environment if a slot and the lease can be had, and gives
// ErrLeaseTaken if another holds the lease.
func (c *Cache) attempt(ctx context.Context, f *flight, d digested) (*Environment, error) {
	if d.rolledBack() {
		// It was there when the digest was told, and can't be built from these
		// inputs. Being pruned it is gone in a moment, or is there again.
		c.known.Delete(f.recipe.key())
		if _, err := c.digest(f.recipe); err != nil {
			return nil, err
		}
		return nil, errAgain
	}
	leave, err := c.enter(ctx, f)
	if err != nil {
		return nil, err
	}
	defer leave()
	release, err := c.lease(ctx, d.digest)
	if err != nil {
		return nil, err
	}
	defer func() {
		release()
		c.Fault(PointReleased)
	}()
	c.Fault(PointLeased)
	// Another may have built it, or failed, between our look and the lease.
	if env, err := c.look(f, d); env != nil || err != nil {
		return env, err
	}
	builder, err := c.build(ctx, f, d)
	switch {
	case err == nil:
		return c.published(f, d)
	case ctx.Err() != nil, errors.Is(err, errAgain):
		return nil, err
	}
	err = c.failed(f, d, err, builder)
	c.Fault(PointRecorded)
	if builder != nil {
		c.cleanUp(ctx, builder)
	}
	return nil, err
}

// published opens what was built a moment ago.
func (c *Cache) published(f *flight, d digested) (*Environment, error) {
	env, err := c.look(f, d)
	if env == nil && err == nil {
		err = fmt.Errorf("environment %s was removed right after it was published", d.digest)
	}
	if err == nil {
		c.at(f, PhasePublished, nil)
	}
	return env, err
}

// enter takes a build slot, waiting in a bounded queue.
func (c *Cache) enter(ctx context.Context, f *flight) (leave func(), err error) {
	leave = func() { <-c.slots }
	select {
	case c.slots <- struct{}{}:
		return leave, nil
	default:
	}
	c.mu.Lock()
	if c.queued >= c.Limits.Queue {
		c.mu.Unlock()
		return nil, ErrBusy
	}
	c.queued++
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.queued--
		c.mu.Unlock()
	}()
	c.at(f, PhaseQueued, nil)
	select {
	case c.slots <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, ErrClosed
	}
}

// lease takes the shared lease and then the local one, always in that order.
// A shared lease that can't be had because its service is away costs double
// work at the worst, and never an environment: the build goes on without it.
func (c *Cache) lease(ctx context.Context, digest string) (release func(), err error) {
	var held []Lease
	release = func() {
		done, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		for _, lease := range held {
			if err := lease.Release(done); err != nil {
				c.Log.Warn("lease could not be released; it ends by itself", "digest", digest, "error", err)
			}
		}
	}
	name := "build." + digest
	if c.Shared != nil {
		lease, err := c.Shared.Acquire(ctx, name, c.Limits.Lease)
		switch {
		case errors.Is(err, ErrLeaseTaken):
			return nil, err
		case err != nil:
			c.Log.Warn("shared lease is unavailable; going on with the local one", "digest", digest, "error", err)
		default:
			held = append(held, lease)
		}
	}
	lease, err := c.Local.Acquire(ctx, name, c.Limits.Lease)
	if err != nil {
		release()
		return nil, err
	}
	held = append([]Lease{lease}, held...) // released in reverse order
	return release, nil
}
