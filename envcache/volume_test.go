package envcache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func newVolume(t *testing.T) volume {
	t.Helper()
	v := volume{root: t.TempDir()}
	if err := v.init(); err != nil {
		t.Fatal(err)
	}
	return v
}

// attemptFor makes an attempt that looks finished.
func (v volume) attemptFor(t *testing.T, digest string) string {
	t.Helper()
	path := v.attempt(digest + "." + randomName()[:8])
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(path, markerFile), fmt.Sprintf(`{"digest":%q,"builder":%q}`, digest, filepath.Base(path)))
	return path
}

const someDigest = "0123456789abcdef0123456789abcdef"

func TestOfTwentyPublishersOneWins(t *testing.T) {
	t.Parallel()
	v := newVolume(t)
	paths := make([]string, 20)
	for i := range paths {
		paths[i] = v.attemptFor(t, someDigest)
	}
	won := make(chan string, len(paths))
	var publishers sync.WaitGroup
	for _, path := range paths {
		publishers.Go(func() {
			mine, err := v.publish(path, someDigest)
			if err != nil {
				t.Errorf("publish() error = %v", err)
			}
			if mine {
				won <- filepath.Base(path)
			}
		})
	}
	publishers.Wait()
	if len(won) != 1 {
		t.Fatalf("%d publishers won", len(won))
	}
	marker, err := v.published(someDigest)
	if winner := <-won; err != nil || marker.Builder != winner {
		t.Errorf("published() = %+v, %v, want that of %s", marker, err, winner)
	}
	left, err := os.ReadDir(v.attempts())
	if err != nil || len(left) != len(paths)-1 {
		t.Errorf("%d attempts are left, %v, want the losers'", len(left), err)
	}
}

// A generation whose marker somebody took away must not be built for ever.
func TestPublishOntoADamagedGeneration(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	recipe := r.recipe(t, "true")
	env := mustEnsure(t, r.gateway(t, nil), recipe)
	if err := os.Chmod(env.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(env.Dir, markerFile)); err != nil {
		t.Fatal(err)
	}
	c := r.gateway(t, nil)
	failed := mustFail(t, c, recipe)
	if !failed.Infrastructure || failed.Reason != ErrDamaged.Error() || !strings.Contains(failed.Error(), env.Dir) {
		t.Errorf("failure = %v, want the cure for callers and the path for the log", failed)
	}
	mustFail(t, c, recipe)
	r.engine.wantBuilders(t, 1)
	if s := wantStatus(t, c, recipe, StateFailed); s.Reason != ErrDamaged.Error() {
		t.Errorf("Status() = %+v", s)
	}
	if v, err := c.Verify(t.Context(), recipe); err != nil || v.OK || len(v.Faults) != 1 {
		t.Errorf("Verify() = %+v, %v", v, err)
	}
	if _, err := c.Prune(t.Context(), true); err != nil {
		t.Errorf("Prune() beside damage = %v", err)
	}
	if err := c.Build(recipe); err != nil { // the cure
		t.Fatal(err)
	}
	waitState(t, c, recipe, StateReady)
	r.engine.wantBuilders(t, 2)
	if list, err := c.Generations(recipe); err != nil || len(list) != 1 || !list[0].Serving {
		t.Errorf("Generations() = %+v, %v, want the whole one", list, err)
	}
	r.nothingLeft(t)
}

// Who looks while it is published sees nothing or all, and no damage.
func TestPublishedUnderALook(t *testing.T) {
	t.Parallel()
	v := newVolume(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2000 {
			dir := filepath.Join(v.attempts(), "a")
			err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, markerFile), []byte(`{"digest":"`+someDigest+`"}`), 0o644),
				os.Rename(dir, v.generation(someDigest)))
			trash, hideErr := v.hide(v.generation(someDigest))
			if err = errors.Join(err, hideErr, os.RemoveAll(trash)); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for {
		if _, err := v.published(someDigest); err != nil {
			t.Fatalf("published() = %v", err)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

func TestDamageIsNamedWithItsCure(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]struct {
		file    func(v volume) string
		content string
	}{
		"marker":       {func(v volume) string { return v.marker(someDigest) }, "{"},
		"other marker": {func(v volume) string { return v.marker(someDigest) }, `{"digest":"other"}`},
		"identity":     {func(v volume) string { return v.identity("demo") }, "short"},
		"wish":         {func(v volume) string { return v.wanted("demo", "sh") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVolume(t)
			if err := os.Mkdir(v.generation(someDigest), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, damage.file(v), damage.content)
			_, markerErr := v.published(someDigest)
			_, identityErr := v.packIdentity("demo")
			_, wishErr := v.wish("demo", "sh")
			err := errors.Join(markerErr, identityErr, wishErr)
			if err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), v.root) {
				t.Errorf("error = %v, want what to remove", err)
			}
		})
	}
}

func TestDamageIsAFaultOfTheMachine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	write(t, c.volume.identity("demo"), "short")
	if failed := mustFail(t, c, r.recipe(t, "true")); !failed.Infrastructure || strings.Contains(failed.Reason, r.root) {
		t.Errorf("failure = %+v", failed)
	}
	r.engine.wantBuilders(t, 0)
}

func TestReplicasAgreeOnAnIdentity(t *testing.T) {
	t.Parallel()
	v := newVolume(t)
	ids := make([]string, 20)
	var gateways sync.WaitGroup
	for i := range ids {
		gateways.Go(func() {
			id, err := v.packIdentity("demo")
			if err != nil {
				t.Error(err)
			}
			ids[i] = id
		})
	}
	gateways.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("identities = %q", ids)
		}
	}
	if other, err := v.packIdentity("other"); err != nil || other == ids[0] {
		t.Errorf("identity of another pack = %q, %v", other, err)
	}
}

func TestPointerNeverGoesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.gateway(t, nil), r.gateway(t, nil)
	recipe := r.recipe(t, "true")
	old, err := a.digest(recipe)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(recipe.PackDir, "deps.txt"), "b==2\n")
	upgraded := *recipe
	upgraded.Revision = "r2"
	fresh := mustBuild(t, b, &upgraded)
	if err := a.advance(recipe, old); err != nil { // wakes up late
		t.Fatal(err)
	}
	wantPointer(t, b, fresh.Digest)

	// The pack goes back to what it was: that is a new wish.
	write(t, filepath.Join(recipe.PackDir, "deps.txt"), "a==1\n")
	reverted := *recipe
	reverted.Revision = "r3"
	again := mustBuild(t, b, &reverted)
	if again.Digest != old.digest {
		t.Errorf("digest = %s, want %s as before", again.Digest, old.digest)
	}
	wantPointer(t, b, old.digest)
}

func wantPointer(t *testing.T, c *Cache, digest string) {
	t.Helper()
	if got := c.volume.pointsAt("demo", "sh"); got != digest {
		t.Errorf("the pointer leads to %q, want %s", got, digest)
	}
}

// A gateway that died between the number and the flip has moved nothing back,
// and what it wanted is done by the next.
func TestPointerAfterACrashInBetween(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	recipe := r.recipe(t, "true")
	old, err := c.digest(recipe)
	if err != nil {
		t.Fatal(err)
	}
	newest := digested{digest: someDigest, inputs: old.inputs, revision: old.revision + 1}
	if err := c.volume.setWish("demo", "sh", wish{Revision: newest.revision, Digest: newest.digest, Shown: newest.revision}); err != nil {
		t.Fatal(err)
	}
	if err := c.advance(recipe, old); err != nil {
		t.Fatal(err)
	}
	wantPointer(t, c, "")
	if err := c.advance(recipe, newest); err != nil {
		t.Fatal(err)
	}
	wantPointer(t, c, someDigest)
}

// Something in the pointer's place is no reason not to serve.
func TestBlockedPointerServes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := os.MkdirAll(filepath.Join(r.root, "demo", "sh", "mine"), 0o755); err != nil {
		t.Fatal(err)
	}
	mustEnsure(t, r.gateway(t, nil), r.recipe(t, "true"))
	r.nothingLeft(t)
}

func TestLongestNamesHaveAPointer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	recipe := r.recipe(t, "true")
	recipe.Pack, recipe.Runtime.Name = strings.Repeat("p", 63), strings.Repeat("r", 63)
	env := mustEnsure(t, c, recipe)
	if got := c.volume.pointsAt(recipe.Pack, recipe.Runtime.Name); got != env.Digest {
		t.Errorf("the pointer leads to %q", got)
	}
}
