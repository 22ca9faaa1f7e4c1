package envcache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"attune/runtimes/container"
	"attune/tests/kit"
)

func mustReap(t *testing.T, c *Cache) {
	t.Helper()
	if err := c.Reap(t.Context()); err != nil {
		t.Errorf("Reap() = %v", err)
	}
}

// reapedAtLast reaps until nothing is left. A lease given back a moment ago may
// look taken: a child that another test has just forked still has its file.
func (r *rig) reapedAtLast(t *testing.T, c *Cache) {
	t.Helper()
	kit.Until(t, func() bool {
		mustReap(t, c)
		left, err := os.ReadDir(c.volume.attempts())
		return err == nil && len(left) == 0 && len(r.containers(t)) == 0
	})
	r.nothingLeft(t)
}

func TestReaperDeletesWhatNobodyWorksOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	v := c.volume
	old := time.Now().Add(-time.Hour)
	abandoned := v.attemptFor(t, someDigest)
	if _, err := v.claim(filepath.Base(v.attemptFor(t, someDigest)), time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(abandoned, 0o555); err != nil {
		t.Fatal(err)
	}
	write(t, v.attempt("file.old"), "")
	if err := os.Chtimes(v.attempt("file.old"), old, old); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(v.attemptFor(t, someDigest), filepath.Join(v.trash(), "x")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), filepath.Join(v.trash(), "link")); err != nil {
		t.Fatal(err)
	}
	young := v.attempt("file.young")
	write(t, young, "")
	mustReap(t, c)
	if err := os.Remove(young); err != nil {
		t.Errorf("a file that was to replace another is gone at once: %v", err)
	}
	r.reapedAtLast(t, c)
}

func TestReaperLeavesWhatSomebodyWorksOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	told := newEvents()
	g := newGate(t)
	c := r.gateway(t, func(o *Options) { o.Events = told.take })
	recipe := r.recipe(t, g.wait())
	c.Plan([]*Recipe{recipe})
	told.await(t, waiting)
	mustReap(t, r.gateway(t, nil))
	g.open(t)
	mustEnsure(t, c, recipe)
	r.engine.wantBuilders(t, 1)
}

func TestReaperLeavesABuilderForAdoptionUntilItsDeadline(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := newGate(t)
	recipe := r.recipe(t, g.wait())
	r.abandon(t, recipe)
	c := r.gateway(t, nil)
	mustReap(t, c)
	if n := len(r.containers(t)); n != 1 {
		t.Fatalf("after Reap there are %d containers, want the builder", n)
	}
	r.engine.set(func(e *spyEngine) {
		e.wrap = func(made container.Container) container.Container {
			return &relabelled{Container: made, labels: map[string]string{labelDeadline: "1"}}
		}
	})
	r.reapedAtLast(t, c)
}

// relabelled is a container with other labels.
type relabelled struct {
	container.Container
	labels map[string]string
}

func (r *relabelled) Labels() map[string]string {
	labels := make(map[string]string)
	for name, value := range r.Container.Labels() {
		labels[name] = value
	}
	for name, value := range r.labels {
		labels[name] = value
	}
	return labels
}

// A gateway that died after publishing left its builder.
func TestReaperRemovesTheBuilderOfWhatIsPublished(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := newGate(t)
	recipe := r.recipe(t, g.wait())
	r.abandon(t, recipe)
	c := r.gateway(t, nil)
	digest := mustDigest(t, c, recipe)
	if mine, err := c.volume.publish(c.volume.attemptFor(t, digest), digest); err != nil || !mine {
		t.Fatalf("publish() = %v, %v", mine, err)
	}
	r.reapedAtLast(t, c)
}

// The attempt of a builder that can't be removed stays: it may be written.
func TestAttemptOfARunningBuilderIsNotDeleted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := newGate(t)
	r.abandon(t, r.recipe(t, g.wait()))
	c := r.gateway(t, nil)
	builder := r.containers(t)[0]
	c.cleanUp(t.Context(), &odd{Container: builder, remove: func(context.Context) error { return container.ErrUnavailable }})
	if entries, err := os.ReadDir(c.volume.attempts()); err != nil || len(entries) != 1 {
		t.Errorf("attempts = %v, %v, want the builder's", entries, err)
	}
	c.cleanUp(t.Context(), builder)
	r.nothingLeft(t)
}

func TestReaperTellsThatTheEngineIsAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.engine.set(func(e *spyEngine) { e.find = func() error { return container.ErrUnavailable } })
	if err := r.gateway(t, nil).Reap(t.Context()); !errors.Is(err, container.ErrUnavailable) {
		t.Errorf("Reap() = %v, want ErrUnavailable", err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	c.volume.attemptFor(t, someDigest)
	ctx, cancel := context.WithCancel(t.Context())
	reaped := make(chan struct{})
	r.engine.set(func(e *spyEngine) {
		e.find = func() error {
			select {
			case reaped <- struct{}{}:
			case <-ctx.Done():
			}
			return nil
		}
	})
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	<-reaped // the builders
	<-reaped // the attempt's
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run() = %v", err)
	}
}

// Another volume's builder on the same engine is not ours to judge, not even one
// without a deadline.
func TestReaperLeavesBuildersOfOtherVolumes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	image, err := r.engine.Image(t.Context(), r.image)
	if err != nil {
		t.Fatal(err)
	}
	other, err := r.engine.Create(t.Context(), container.Spec{
		Name: "attune-build-of-another-volume", Image: image.ID, Entrypoint: []string{"/bin/sleep", "1000"}, User: "0:0", Dir: "/",
		Labels:  map[string]string{container.LabelRole: container.RoleBuilder, container.LabelDigest: someDigest, labelAttempt: someDigest + ".elsewhere"},
		Network: container.NetworkNone, Limits: container.Limits{Memory: 1 << 20, CPU: 1, Pids: 1, NoFile: 16, FileSize: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	mustReap(t, c)
	if _, err := other.State(t.Context()); err != nil {
		t.Errorf("State() after another volume's Reap() = %v", err)
	}
	if err := other.Remove(t.Context()); err != nil {
		t.Error(err)
	}
}
