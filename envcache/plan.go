package envcache

import (
	"context"
	"errors"
	"time"
)

// Plan has environments built that nobody waits for, Limits.Concurrency at
// once and in the order given. It returns at once; what becomes of them is told
// by Status and events. Callers don't queue behind the plan.
func (c *Cache) Plan(recipes []*Recipe) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.schedule(recipes, false)
}

// schedule is Plan under c.mu; urgent ones come before all others.
func (c *Cache) schedule(recipes []*Recipe, urgent bool) {
	if c.ctx.Err() != nil {
		return
	}
	var keys []key
	for _, r := range recipes {
		k := r.key()
		if c.planned[k] == nil && !c.upToDate(k) {
			c.planned[k] = r
			keys = append(keys, k)
		}
	}
	if urgent {
		c.order = append(keys, c.order...)
	} else {
		c.order = append(c.order, keys...)
	}
	for c.workers < min(c.Limits.Concurrency, len(c.order)) {
		c.workers++
		c.wait.Go(c.work)
	}
}

// upToDate tells whether calls get the very generation that a recipe is known
// to ask for.
func (c *Cache) upToDate(k key) bool {
	env := c.ready.peek(k)
	asked, ok := c.known.Load(k)
	return ok && env != nil && env.Digest == asked.(*known).digest
}

// work carries out the plan until nothing is left of it.
func (c *Cache) work() {
	for {
		r := c.next()
		if r == nil {
			return
		}
		f, err := c.join(r)
		if err != nil {
			continue // closed
		}
		select {
		case <-f.done:
		case <-c.ctx.Done():
		}
		if errors.Is(f.failure(), ErrBusy) {
			// Callers come first; the plan goes on when they are done.
			select {
			case <-c.ctx.Done():
			case <-time.After(c.Limits.PollMax):
				c.Plan([]*Recipe{r})
			}
		}
	}
}

// next takes the next build of the plan; nil ends the worker.
func (c *Cache) next() *Recipe {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.order) == 0 || c.ctx.Err() != nil {
		c.workers--
		return nil
	}
	k := c.order[0]
	c.order = c.order[1:]
	r := c.planned[k]
	delete(c.planned, k)
	return r
}

// tend follows what other gateways decide, and tries again what failed while an
// earlier generation served: no call does, for calls are content.
func (c *Cache) tend(ctx context.Context) {
	var again []*Recipe
	c.known.Range(func(_, value any) bool {
		k := value.(*known)
		changed, err := c.reconsider(k)
		if err != nil {
			c.Log.Warn("environment can't be followed", "pack", k.recipe.Pack, "runtime", k.recipe.Runtime.Name, "error", err)
		}
		env := c.ready.peek(k.recipe.key())
		behind := env != nil && env.Digest != k.digest && c.volume.recentFailure(k.digest) == nil
		if changed && env != nil || behind {
			again = append(again, k.recipe)
		}
		return ctx.Err() == nil
	})
	c.Plan(again)
}
