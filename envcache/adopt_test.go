package envcache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"attune/runtimes/container"
)

// abandon starts a build whose script is at its gate, and closes the gateway.
func (r *rig) abandon(t *testing.T, recipe *Recipe) {
	t.Helper()
	told := newEvents()
	c := r.gateway(t, func(o *Options) { o.Events = told.take })
	c.Plan([]*Recipe{recipe})
	told.await(t, waiting)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(r.containers(t)); n != 1 {
		t.Fatalf("after Close there are %d containers, want the builder", n)
	}
}

func TestRunningBuilderOutlivesItsGatewayAndIsAdopted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := newGate(t)
	recipe := r.recipe(t, g.wait())
	r.abandon(t, recipe)
	told := newEvents()
	next := r.gateway(t, func(o *Options) { o.Events = told.take })
	next.Plan([]*Recipe{recipe})
	told.await(t, func(e Event) bool { return e.Phase == PhaseAdopt })
	g.open(t)
	mustEnsure(t, next, recipe)
	r.engine.wantBuilders(t, 1)
	r.nothingLeft(t)
	if log := read(t, next.volume.log(mustDigest(t, next, recipe))); !strings.Contains(log, "waiting\n") {
		t.Errorf("the adopter's log has only %q", log)
	}
}

func mustDigest(t *testing.T, c *Cache, r *Recipe) string {
	t.Helper()
	d, err := c.digest(r)
	if err != nil {
		t.Fatal(err)
	}
	return d.digest
}

func TestFinishedBuilderIsAdopted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := newGate(t)
	recipe := r.recipe(t, g.wait()+"echo made >file")
	r.abandon(t, recipe)
	g.open(t)
	r.builderEnds(t)
	env := mustEnsure(t, r.gateway(t, nil), recipe)
	if got := read(t, env.Dir+"/file"); got != "made\n" {
		t.Errorf("file = %q", got)
	}
	r.engine.wantBuilders(t, 1)
	r.nothingLeft(t)
}

// What failed while nobody looked is a failure like any other: it is told, and
// backed off from.
func TestFailedBuilderIsAdoptedAndRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := newGate(t)
	recipe := r.recipe(t, g.wait()+"echo no such package; exit 3")
	r.abandon(t, recipe)
	g.open(t)
	r.builderEnds(t)
	failed := mustFail(t, r.gateway(t, nil), recipe)
	if failed.Attempt != 1 || !strings.HasSuffix(failed.Reason, "exit code 3: no such package") {
		t.Errorf("failure = %+v", failed)
	}
	if again := mustFail(t, r.gateway(t, nil), recipe); again.Attempt != 1 {
		t.Errorf("within the back-off: %+v", again)
	}
	r.engine.wantBuilders(t, 1)
	r.nothingLeft(t)
}

// A failure is recorded once, also when its builder could not be removed.
func TestJudgedBuilderIsNotJudgedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	recipe := r.recipe(t, "exit 3")
	var refused atomic.Bool
	r.engine.set(func(e *spyEngine) {
		e.wrap = func(made container.Container) container.Container {
			return &odd{Container: made, remove: func(ctx context.Context) error {
				if !refused.Swap(true) {
					return container.ErrUnavailable
				}
				return made.Remove(ctx)
			}}
		}
	})
	mustFail(t, c, recipe)
	if n := len(r.containers(t)); n != 1 {
		t.Fatalf("%d containers, want the one that can't be removed", n)
	}
	r.endBackoff(t, c, recipe)
	if failed := mustFail(t, c, recipe); failed.Attempt != 2 {
		t.Errorf("failure = %+v, want the second attempt's", failed)
	}
	r.engine.wantBuilders(t, 2)
	r.nothingLeft(t)
}

// endBackoff lets the recorded failure be as old as it must be.
func (r *rig) endBackoff(t *testing.T, c *Cache, recipe *Recipe) {
	t.Helper()
	digest := mustDigest(t, c, recipe)
	record := c.volume.failureRecord(digest)
	if record == nil {
		t.Fatal("no failure is recorded")
	}
	record.NextRetry = time.Now().Add(-time.Millisecond)
	if err := c.volume.setFailureRecord(digest, *record); err != nil {
		t.Fatal(err)
	}
}

// A builder that was made and not started: its gateway died, or is about to start
// it. To start it is right in both cases; only one that is too old is made anew.
func TestBuilderThatWasNeverStartedIsStarted(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		left time.Duration // of its time
		made int           // builders beside it
	}{
		"young": {time.Minute + grace, 0},
		"old":   {time.Minute - time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c := r.gateway(t, nil)
			recipe := r.recipe(t, "true")
			d, err := c.digest(recipe)
			if err != nil {
				t.Fatal(err)
			}
			attempt := d.digest + ".00000000"
			if err := os.Mkdir(c.volume.attempt(attempt), 0o755); err != nil {
				t.Fatal(err)
			}
			spec, err := c.builderSpec(recipe, d, attempt, time.Now().Add(test.left))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.engine.Engine.Create(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			mustEnsure(t, c, recipe)
			r.engine.wantBuilders(t, test.made)
			r.nothingLeft(t)
		})
	}
}

// Exit 0 with its attempt gone is of no use.
func TestFinishedBuilderWithoutAttemptIsReplaced(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := newGate(t)
	recipe := r.recipe(t, "test -e "+g.path+".go && exit; "+g.wait())
	r.abandon(t, recipe)
	g.open(t)
	r.builderEnds(t)
	write(t, g.path+".go", "")
	c := r.gateway(t, nil)
	entries, err := os.ReadDir(c.volume.attempts())
	if err != nil || len(entries) != 1 {
		t.Fatalf("attempts = %v, %v", entries, err)
	}
	if err := c.volume.discard(c.volume.attempt(entries[0].Name())); err != nil {
		t.Fatal(err)
	}
	mustEnsure(t, c, recipe)
	r.engine.wantBuilders(t, 2)
	r.nothingLeft(t)
}

func TestBuilderVanishes(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*odd){
		"before its start": func(o *odd) {
			o.start = func(ctx context.Context) error {
				if err := o.Container.Remove(ctx); err != nil {
					return err
				}
				return o.Container.Start(ctx)
			}
		},
		"while it is waited for": func(o *odd) {
			o.wait = func(ctx context.Context) (container.Exit, error) {
				if err := o.Container.Remove(ctx); err != nil {
					return container.Exit{}, err
				}
				return o.Container.Wait(ctx)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			var before atomic.Bool
			r.engine.set(func(e *spyEngine) {
				e.wrap = func(made container.Container) container.Container {
					o := &odd{Container: made}
					if !before.Swap(true) {
						change(o)
					}
					return o
				}
			})
			c := r.gateway(t, nil)
			mustEnsure(t, c, r.recipe(t, "true"))
			r.engine.wantBuilders(t, 2)
			r.reapedAtLast(t, c)
		})
	}
}

// A name is taken while a removal is in progress.
func TestTakenNameIsWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var asked atomic.Int32
	r.engine.set(func(e *spyEngine) {
		e.create = func(container.Spec) error {
			if asked.Add(1) < 4 {
				return fmt.Errorf("create: %w", container.ErrNameTaken)
			}
			return nil
		}
	})
	mustEnsure(t, r.gateway(t, nil), r.recipe(t, "true"))
	r.engine.wantBuilders(t, 1)
}

func TestNameThatStaysTakenIsAFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.engine.set(func(e *spyEngine) {
		e.create = func(container.Spec) error { return container.ErrNameTaken }
	})
	failed := mustFail(t, r.gateway(t, nil), r.recipe(t, "true"))
	if !failed.Infrastructure || !errors.Is(failed, container.ErrNameTaken) {
		t.Errorf("failure = %+v", failed)
	}
	r.nothingLeft(t)
}
