package envcache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"attune/runtimes/container"
)

// reapInterval is how often leftovers and old generations are looked for.
const reapInterval = time.Minute

// Run looks after the volume until ctx ends: it removes leftovers at once and
// then regularly, prunes, and follows what other gateways decide.
func (c *Cache) Run(ctx context.Context) error {
	reap := time.NewTicker(reapInterval)
	defer reap.Stop()
	follow := time.NewTicker(c.Limits.PollMax)
	defer follow.Stop()
	beat := time.NewTicker(c.Limits.Lease / 3)
	defer beat.Stop()
	c.tidy(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-follow.C:
			c.tend(ctx)
		case <-beat.C:
			if err := c.heartbeat(ctx); err != nil && ctx.Err() == nil {
				c.Log.Debug("other machines were not told what is in use", "error", err)
			}
		case <-reap.C:
			c.tidy(ctx)
		}
	}
}

func (c *Cache) tidy(ctx context.Context) {
	if err := c.Reap(ctx); err != nil && ctx.Err() == nil {
		c.Log.Warn("leftovers of builds could not be removed", "error", err)
	}
	if _, err := c.Prune(ctx, false); err != nil && ctx.Err() == nil {
		c.Log.Warn("old environments could not be pruned", "error", err)
	}
}

// Reap removes what dead gateways left of builds: builders that nobody adopted
// before their deadline, attempts without a builder, trash. Whatever somebody
// works on is under a lease and is left alone.
func (c *Cache) Reap(ctx context.Context) error {
	c.sweep()
	builders, err := c.Engine.Find(ctx, map[string]string{container.LabelRole: container.RoleBuilder})
	if err != nil {
		return err
	}
	attempts, err := os.ReadDir(c.volume.attempts())
	if err != nil {
		return err
	}
	var errs []error
	for _, builder := range builders {
		digest := builder.Labels()[container.LabelDigest]
		published, err := c.volume.published(digest)
		// Damage is told when somebody asks for the environment.
		needless := err == nil && published != nil
		// A builder without an attempt here works on another volume of this
		// engine: it is the matter of the gateways there.
		late := c.volume.hasAttempt(builder.Labels()[labelAttempt]) && time.Now().After(deadlineOf(builder))
		if !needless && !late {
			continue
		}
		errs = append(errs, c.underLease(ctx, digest, func() error {
			c.cleanUp(ctx, builder)
			return nil
		}))
	}
	for _, entry := range attempts {
		name := entry.Name()
		digest, _, _ := strings.Cut(name, ".")
		if len(digest) != 32 {
			errs = append(errs, c.reapStray(name))
			continue
		}
		errs = append(errs, c.underLease(ctx, digest, func() error {
			return c.reapAttempt(ctx, digest, name)
		}))
	}
	return errors.Join(append(errs, c.emptyTrash())...)
}

// reapAttempt deletes an attempt that no builder belongs to. The lease is held,
// so none can appear.
func (c *Cache) reapAttempt(ctx context.Context, digest, name string) error {
	builders, err := c.Engine.Find(ctx, map[string]string{
		container.LabelRole: container.RoleBuilder, container.LabelDigest: digest,
	})
	if err != nil {
		return err
	}
	for _, builder := range builders {
		attempt := builder.Labels()[labelAttempt]
		if name == attempt || strings.HasPrefix(name, attempt+claimMark) {
			return nil
		}
	}
	return c.volume.discard(c.volume.attempt(name))
}

// reapStray deletes a file that was to replace another, once it is too old to
// be in somebody's hands.
func (c *Cache) reapStray(name string) error {
	path := c.volume.attempt(name)
	info, err := os.Lstat(path)
	if err != nil || time.Since(info.ModTime()) < time.Minute {
		return nil //nolint:nilerr // gone already, or young
	}
	return os.RemoveAll(path)
}

// underLease runs f if nobody builds the digest now.
func (c *Cache) underLease(ctx context.Context, digest string, f func() error) error {
	release, err := c.lease(ctx, digest)
	if errors.Is(err, ErrLeaseTaken) {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	return f()
}

func (c *Cache) emptyTrash() error {
	entries, err := os.ReadDir(c.volume.trash())
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		errs = append(errs, removeTree(filepath.Join(c.volume.trash(), entry.Name())))
	}
	return errors.Join(errs...)
}
