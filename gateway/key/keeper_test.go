package key_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"attune/gateway/key"
	"attune/gateway/key/keytest"
	"attune/gateway/limit"
)

func TestMemoryStore(t *testing.T) {
	t.Parallel()
	keytest.Exercise(t, func(*testing.T) key.Store { return keytest.NewMemory() })
}

func mustKeep(t *testing.T, store key.Store) *key.Keeper {
	t.Helper()
	k := key.NewKeeper(store, slog.New(slog.DiscardHandler))
	if err := k.Load(t.Context()); err != nil {
		t.Fatalf("Load() error = %v", err)
	}
	return k
}

func mustCreate(t *testing.T, k *key.Keeper, o key.Order) (key.Key, string) {
	t.Helper()
	made, token, err := k.Create(t.Context(), o)
	if err != nil {
		t.Fatalf("Create(%+v) error = %v", o, err)
	}
	return made, token
}

var (
	admin  = key.Order{Name: "ops", Scopes: []key.Scope{"read:*", key.Admin}}
	caller = key.Order{Name: "app", Scopes: []key.Scope{"invoke:*"}}
)

// Nobody can lock himself out by the order in which keys come and go.
func TestNobodyIsLockedOut(t *testing.T) {
	t.Parallel()
	k := mustKeep(t, keytest.NewMemory())
	if _, _, err := k.Create(t.Context(), caller); !errors.Is(err, key.ErrFirst) || k.Ring().Len() != 0 {
		t.Errorf("Create() of a first caller error = %v, want ErrFirst", err)
	}
	first, _ := mustCreate(t, k, admin)
	app, token := mustCreate(t, k, caller)
	if err := k.Revoke(t.Context(), first.ID); !errors.Is(err, key.ErrLastAdmin) {
		t.Errorf("Revoke() of the last admin error = %v, want ErrLastAdmin", err)
	}
	second, _ := mustCreate(t, k, admin)
	if err := k.Revoke(t.Context(), first.ID); err != nil {
		t.Errorf("Revoke() of one of two admins error = %v", err)
	}
	if err := k.Revoke(t.Context(), app.ID); err != nil {
		t.Errorf("Revoke() error = %v", err)
	}
	if _, err := k.Ring().Authenticate(token, time.Now()); !errors.Is(err, key.ErrUnknown) {
		t.Errorf("Authenticate() of a revoked key error = %v, want ErrUnknown", err)
	}
	if err := k.Revoke(t.Context(), second.ID); err != nil || k.Ring().Len() != 0 {
		t.Errorf("Revoke() of the last key error = %v", err)
	}
	if err := k.Revoke(t.Context(), second.ID); !errors.Is(err, key.ErrNone) {
		t.Errorf("Revoke() again error = %v, want ErrNone", err)
	}
}

// An admin key that has expired makes no other: then only an admin may come.
func TestExpiredAdminIsNone(t *testing.T) {
	t.Parallel()
	old, _, err := key.New(key.Order{Name: "old", Scopes: admin.Scopes, ExpiresAt: time.Now().Add(-time.Hour)}, time.Now().Add(-2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	k := mustKeep(t, keytest.NewMemory(old))
	if k.Ring().Usable(time.Now()) || k.Ring().Len() != 1 {
		t.Error("an expired key is usable, or none that is needed")
	}
	if _, _, err := k.Create(t.Context(), caller); !errors.Is(err, key.ErrFirst) {
		t.Errorf("Create() error = %v, want ErrFirst", err)
	}
	mustCreate(t, k, admin)
	if !k.Ring().Usable(time.Now()) {
		t.Error("a new key is not usable")
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	k := mustKeep(t, keytest.NewMemory())
	for what, o := range map[string]key.Order{
		"no name":       {Scopes: admin.Scopes},
		"a bad scope":   {Name: "a", Scopes: []key.Scope{key.Admin, "invoke:demo"}},
		"many scopes":   {Name: "a", Scopes: append(make([]key.Scope, 100), key.Admin)},
		"a bad rate":    {Name: "a", Scopes: admin.Scopes, Rate: limit.Rate{Limit: 1, Per: time.Millisecond}},
		"a bad quota":   {Name: "a", Scopes: admin.Scopes, Quota: limit.Rate{Limit: -1, Per: time.Hour}},
		"fewer than no": {Name: "a", Scopes: admin.Scopes, MaxConcurrent: -1},
		"late":          {Name: "a", Scopes: admin.Scopes, ExpiresAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		var wrong *key.OrderError
		if _, _, err := k.Create(t.Context(), o); !errors.As(err, &wrong) || k.Ring().Len() != 0 {
			t.Errorf("%s: Create() error = %v, want an OrderError", what, err)
		}
	}
}

// What another gateway does is known soon, and a store that is away changes
// nothing.
func TestRingFollowsItsStore(t *testing.T) {
	t.Parallel()
	store := keytest.NewMemory()
	here, there := mustKeep(t, store), mustKeep(t, store)
	here.Every(time.Millisecond)
	var reads atomic.Int64
	here.OnRead(func() { reads.Add(1) })
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if err := here.Run(ctx); err != nil {
			t.Errorf("Run() error = %v", err)
		}
	})
	t.Cleanup(group.Wait)
	t.Cleanup(cancel)
	_, keep := mustCreate(t, there, admin)
	app, token := mustCreate(t, there, caller)
	until(t, "the new key", func() bool { _, err := here.Ring().Authenticate(token, time.Now()); return err == nil })

	store.Fail(errors.New("away"))
	from := reads.Load()
	until(t, "a few readings", func() bool { return reads.Load() > from+3 })
	if _, err := here.Ring().Authenticate(keep, time.Now()); err != nil {
		t.Errorf("Authenticate() without the store error = %v", err)
	}
	if _, _, err := here.Create(t.Context(), caller); err == nil || strings.Contains(err.Error(), "attune_") {
		t.Errorf("Create() without the store error = %v", err)
	}

	store.Fail(nil)
	if err := there.Revoke(t.Context(), app.ID); err != nil {
		t.Fatal(err)
	}
	until(t, "the end of a key", func() bool { _, err := here.Ring().Authenticate(token, time.Now()); return err != nil })
}

// A store that was never read lets nobody in, and nobody make a first key.
func TestRingThatWasNeverRead(t *testing.T) {
	t.Parallel()
	store := keytest.NewMemory()
	store.Fail(errors.New("away"))
	k := key.NewKeeper(store, slog.New(slog.DiscardHandler))
	if err := k.Load(t.Context()); err == nil || k.Ring() != nil {
		t.Errorf("Load() error = %v, Ring() = %v", err, k.Ring())
	}
	if _, _, err := k.Create(t.Context(), admin); err == nil {
		t.Error("Create() error = nil")
	}
}

// A gateway that starts without its store knows the keys that it knew before.
func TestRecall(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "api-keys.json")
	store := keytest.NewMemory()
	k := key.NewKeeper(store, slog.New(slog.DiscardHandler))
	k.Remember(path)
	if err := k.Recall(); !errors.Is(err, os.ErrNotExist) || k.Ring() != nil {
		t.Errorf("Recall() of nothing error = %v", err)
	}
	if err := k.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	recalled := func() *key.Ring {
		again := key.NewKeeper(store, slog.New(slog.DiscardHandler))
		again.Remember(path)
		if err := again.Recall(); err != nil {
			t.Fatalf("Recall() error = %v", err)
		}
		return again.Ring()
	}
	if recalled().Len() != 0 {
		t.Error("there are keys before any was made")
	}
	_, token := mustCreate(t, k, admin)
	app, gone := mustCreate(t, k, caller)
	if _, err := recalled().Authenticate(gone, time.Now()); err != nil {
		t.Errorf("Authenticate() error = %v", err)
	}
	if err := k.Revoke(t.Context(), app.ID); err != nil {
		t.Fatal(err)
	}
	ring := recalled()
	if _, err := ring.Authenticate(token, time.Now()); err != nil {
		t.Errorf("Authenticate() error = %v", err)
	}
	if _, err := ring.Authenticate(gone, time.Now()); !errors.Is(err, key.ErrUnknown) {
		t.Errorf("Authenticate() of a revoked key error = %v, want ErrUnknown", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy = %v, %v, want mode 0600", info, err)
	}
	content, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(content), token[len("attune_")+27:]) {
		t.Errorf("the copy holds a token, %v", err)
	}
	for _, damaged := range []string{"", "{", `[{"id":"x"}]`, "[1]"} {
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		again := key.NewKeeper(store, slog.New(slog.DiscardHandler))
		again.Remember(path)
		if err := again.Recall(); err == nil || again.Ring() != nil {
			t.Errorf("Recall() of %q error = nil", damaged)
		}
	}
}

// A store that has lost its keys opens nothing, not after a restart either; one
// whose last key was revoked does.
func TestForgetfulStore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "api-keys.json")
	start := func(store key.Store) *key.Keeper {
		k := key.NewKeeper(store, slog.New(slog.DiscardHandler))
		k.Remember(path)
		if err := k.Recall(); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err := k.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		return k
	}
	store := keytest.NewMemory()
	k := start(store)
	if k.Ring().Needed() {
		t.Error("a key is needed before there is one")
	}
	made, _ := mustCreate(t, k, admin)
	if err := store.Delete(t.Context(), made.ID); err != nil { // as nobody would by the gateway
		t.Fatal(err)
	}
	for range 2 {
		if err := k.Load(t.Context()); err != nil || !k.Ring().Needed() || k.Ring().Len() != 0 {
			t.Errorf("Load() = %v; a key is needed: %t, of %d", err, k.Ring().Needed(), k.Ring().Len())
		}
	}
	if k = start(store); !k.Ring().Needed() {
		t.Error("after a restart no key is needed")
	}
	made, _ = mustCreate(t, mustKeep(t, store), admin) // attune key create --local
	if err := k.Load(t.Context()); err != nil || k.Ring().Len() != 1 {
		t.Errorf("Load() = %v, %d keys, want the new one", err, k.Ring().Len())
	}
	if err := k.Revoke(t.Context(), made.ID); err != nil || k.Ring().Needed() {
		t.Errorf("Revoke() = %v; a key is needed: %t", err, k.Ring().Needed())
	}
	if k = start(store); k.Ring().Needed() {
		t.Error("after a restart a key is needed that was revoked")
	}
}

// Two first keys at once: each sees the other, so that the second is no first.
func TestCreatesAtOnce(t *testing.T) {
	t.Parallel()
	k := mustKeep(t, keytest.NewMemory())
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if _, _, err := k.Create(t.Context(), admin); err != nil {
				t.Errorf("Create() error = %v", err)
			}
		})
	}
	group.Wait()
	if k.Ring().Len() != 20 {
		t.Errorf("%d keys, want 20", k.Ring().Len())
	}
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come", what)
		}
	}
}
