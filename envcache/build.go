package envcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"attune/runtimes/agent"
	"attune/runtimes/container"
)

// labelAttempt names the directory that a builder writes, so that whoever
// adopts the builder finds what it made.
const labelAttempt = "attune.attempt"

// labelDeadline tells when a builder must have ended, in seconds since 1970:
// also to a reaper that never followed it.
const labelDeadline = "attune.deadline"

// grace is how much longer than its own deadline a builder may exist: it ends
// itself first, and only one that can't is removed by the gateway.
const grace = 30 * time.Second

// build makes one generation and publishes it. Every step may be the last one
// of this gateway; whoever comes next goes on from what is on the volume and at
// the engine. The caller holds the lease, which saves work; nothing here would
// be wrong without it.
//
// A builder that comes back with an error has failed for good: the caller
// records that, and then removes it.
func (c *Cache) build(ctx context.Context, f *flight, d digested) (container.Container, error) {
	if shared, err := c.share(ctx, f, d); shared || err != nil {
		return nil, err
	}
	started := time.Now()
	builder, err := c.builder(ctx, f, d)
	if err != nil {
		return nil, err
	}
	output := newBuildLog(func(line string) { c.tell(f, PhaseInstall, line, nil) }, c.indexSecrets(f.recipe)...)
	exit, err := c.follow(ctx, builder, output)
	if errors.Is(err, container.ErrNoContainer) {
		return nil, errAgain // another gateway finished it, or the reaper found it late
	}
	if err == nil {
		// Not only with the builder: what comes now takes time, and may never come.
		if err := c.volume.dropSecret(builder.Labels()[labelAttempt]); err != nil {
			c.Log.Warn("index credentials stay for the next sweep", "builder", builder.ID(), "error", err)
		}
	}
	c.Fault(PointExited)
	c.keepLog(d.digest, output)
	if err != nil {
		return nil, err // it may run on, and is adopted
	}
	if exit.Code != 0 && c.volume.hasAttempt(builder.Labels()[labelAttempt]) {
		return builder, c.exitFailure(exit, output)
	}
	claimed, err := c.volume.claim(builder.Labels()[labelAttempt], c.Limits.Lease)
	c.Fault(PointClaimed)
	if err == nil {
		pure := builder.Labels()[labelPure] != ""
		err = c.finish(ctx, f, d, claimed, pure, started)
	}
	switch {
	case err == nil:
		c.cleanUp(ctx, builder) // a published attempt has moved, a redundant one has not
		c.Fault(PointCleaned)
		return nil, nil
	case errors.Is(err, errAgain):
		return nil, err
	case ctx.Err() != nil:
		return nil, errors.Join(err, c.volume.unclaim(claimed))
	}
	return builder, err
}

// finish verifies and publishes a claimed attempt. One that is gone was taken
// over by another gateway, which held this one for dead.
func (c *Cache) finish(ctx context.Context, f *flight, d digested, claimed string, pure bool, started time.Time) error {
	c.at(f, PhaseVerify, nil)
	path := c.volume.attempt(claimed)
	err := c.verify(ctx, f.recipe, d, path, pure, started)
	c.Fault(PointVerified)
	if err == nil {
		c.at(f, PhasePublish, nil)
		_, err = c.volume.publish(path, d.digest)
	}
	c.Fault(PointPublished)
	if _, statErr := os.Lstat(path); err != nil && errors.Is(statErr, fs.ErrNotExist) {
		return errAgain
	}
	return err
}

// builder returns the running or finished builder of a digest: the one that is
// there, whoever started it, or a new one.
func (c *Cache) builder(ctx context.Context, f *flight, d digested) (container.Container, error) {
	for range 20 {
		found, err := c.adoptable(ctx, d.digest)
		if err != nil {
			return nil, fmt.Errorf("look for a builder: %w", err)
		}
		if found != nil {
			c.at(f, PhaseAdopt, nil)
			return found, nil
		}
		c.at(f, PhaseCreate, nil)
		created, err := c.start(ctx, f.recipe, d)
		if err == nil {
			c.at(f, PhaseInstall, nil)
			return created, nil
		}
		// A name that is taken is a builder started in this moment, or one whose
		// removal is not finished; one that vanished was cleaned up by another.
		if !errors.Is(err, container.ErrNameTaken) && !errors.Is(err, container.ErrNoContainer) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(c.Limits.PollMin):
		}
	}
	return nil, fmt.Errorf("start a builder: %w", container.ErrNameTaken)
}

// adoptable finds a builder of the digest that runs, or whose end nobody has
// judged yet; one that was created and not started, it starts: to remove it
// would be to fight with a gateway that is about to. It removes all others: too
// old to be started, without an attempt, or failed and recorded.
func (c *Cache) adoptable(ctx context.Context, digest string) (container.Container, error) {
	found, err := c.Engine.Find(ctx, map[string]string{
		container.LabelRole: container.RoleBuilder, container.LabelDigest: digest,
	})
	if err != nil {
		return nil, err
	}
	for _, builder := range found {
		state, err := builder.State(ctx)
		if errors.Is(err, container.ErrNoContainer) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if state.Phase == container.PhaseRunning || c.unjudged(builder, digest, state) {
			return builder, nil
		}
		if state.Phase == container.PhaseCreated && c.startable(builder) && startBuilder(ctx, builder) == nil {
			return builder, nil
		}
		c.cleanUp(ctx, builder)
	}
	return nil, nil
}

// startable tells whether a builder that was only created has its attempt, and
// all the time that a build may take.
func (c *Cache) startable(builder container.Container) bool {
	return c.volume.hasAttempt(builder.Labels()[labelAttempt]) && time.Until(deadlineOf(builder)) >= c.Limits.Timeout
}

// startBuilder starts a builder, or finds that another has done so just now.
func startBuilder(ctx context.Context, builder container.Container) error {
	err := builder.Start(ctx)
	if err == nil {
		return nil
	}
	if state, stateErr := builder.State(ctx); stateErr == nil && (state.Phase == container.PhaseRunning || state.Phase == container.PhaseExited) {
		return nil
	}
	return err
}

// unjudged tells whether a builder's end says something that isn't recorded. One
// whose attempt was taken away says nothing.
func (c *Cache) unjudged(builder container.Container, digest string, state container.State) bool {
	if state.Phase != container.PhaseExited {
		return false
	}
	if record := c.volume.failureRecord(digest); record != nil && record.Builder == builder.ID() {
		return false
	}
	return c.volume.hasAttempt(builder.Labels()[labelAttempt])
}

// start makes the attempt's directory and its builder.
func (c *Cache) start(ctx context.Context, r *Recipe, d digested) (container.Container, error) {
	attempt, err := c.attemptAt(d.digest)
	if err != nil {
		return nil, err
	}
	created, err := c.create(ctx, r, d, attempt)
	if err != nil {
		if !c.volume.hasAttempt(attempt) {
			return nil, errAgain // another gateway's reaper took it for abandoned
		}
		return nil, errors.Join(err, c.volume.discardAttempt(attempt))
	}
	c.Fault(PointCreated)
	if err := startBuilder(ctx, created); err != nil {
		taken := !c.volume.hasAttempt(attempt)
		c.cleanUp(ctx, created)
		if taken {
			return nil, errAgain
		}
		return nil, fmt.Errorf("start the builder: %w", err)
	}
	c.Fault(PointStarted)
	return created, nil
}

// attemptAt makes the directory of an attempt, if there is room.
func (c *Cache) attemptAt(digest string) (string, error) {
	free, err := c.volume.free()
	if err != nil {
		return "", err
	}
	if free < c.Limits.FreeSpace {
		return "", ErrStorageFull
	}
	attempt := digest + "." + randomName()[:8]
	if err := os.Mkdir(c.volume.attempt(attempt), 0o755); err != nil {
		return "", err
	}
	c.Fault(PointAttempt)
	return attempt, nil
}

func (c *Cache) create(ctx context.Context, r *Recipe, d digested, attempt string) (container.Container, error) {
	if os.Geteuid() == 0 {
		if err := os.Chown(c.volume.attempt(attempt), builderUID, builderUID); err != nil {
			return nil, err
		}
	}
	spec, err := c.builderSpec(r, d, attempt, time.Now().Add(c.Limits.Timeout+grace))
	if err != nil {
		return nil, err
	}
	if err := c.equip(&spec, r, d.inputs, attempt); err != nil {
		return nil, errors.Join(err, c.unequip(attempt))
	}
	created, err := c.Engine.Create(ctx, spec)
	if err != nil {
		err = errors.Join(err, c.unequip(attempt))
	}
	return created, err
}

// follow copies the builder's output until it stops; one that outlives its
// deadline has timed out. When ctx ends the builder runs on, for the next caller
// to adopt.
func (c *Cache) follow(ctx context.Context, builder container.Container, output *buildLog) (container.Exit, error) {
	// A builder that is found late may have ended in time.
	ctx, cancel := context.WithTimeout(ctx, max(time.Until(deadlineOf(builder)), grace))
	defer cancel()
	copied := make(chan error, 1)
	go func() { copied <- builder.Logs(ctx, output) }()
	exit, err := builder.Wait(ctx)
	if err != nil {
		cancel()
		<-copied
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return container.Exit{Code: agent.ExitTimeout}, nil
		}
		return exit, fmt.Errorf("wait for the builder: %w", err)
	}
	drained := time.AfterFunc(5*time.Second, cancel) // a log that doesn't end must not hold up the build
	defer drained.Stop()
	if err := <-copied; err != nil {
		c.Log.Warn("the builder's output is incomplete", "builder", builder.ID(), "error", err)
	}
	return exit, nil
}

// deadlineOf is when a builder must have ended, whoever started it.
func deadlineOf(builder container.Container) time.Time {
	seconds, err := strconv.ParseInt(builder.Labels()[labelDeadline], 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// cleanUp removes a builder and then what is left of its attempt, also when the
// build's own context has ended. The attempt of a builder that can't be removed
// stays, for it may be writing there.
func (c *Cache) cleanUp(ctx context.Context, builder container.Container) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := builder.Remove(ctx)
	if attempt := builder.Labels()[labelAttempt]; err == nil && attempt != "" {
		err = errors.Join(c.unequip(attempt), c.volume.discardAttempt(attempt))
	}
	if err != nil {
		c.Log.Warn("leftovers of a build stay for the reaper", "builder", builder.ID(), "error", err)
	}
}

func (c *Cache) keepLog(digest string, output *buildLog) {
	if err := c.volume.replace(c.volume.log(digest), output.bytes()); err != nil {
		c.Log.Warn("build log could not be kept", "digest", digest, "error", err)
	}
}
