package key

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of what would lock everybody out.
var (
	ErrFirst     = errors.New("the first API key must have the scope admin, or nobody could make another: from then on a key is needed")
	ErrLastAdmin = errors.New("the last API key that has the scope admin and has not expired stays while there are others")
)

// readEvery is how soon at the latest a gateway knows of a key that another has
// made or revoked.
const readEvery = 2 * time.Second

// readTimeout bounds one reading of the store.
const readTimeout = 5 * time.Second

// Keeper holds the present ring and keeps it as the store has it: after each
// change of its own, and every two seconds because of others. While the store is
// away, the last ring goes on. A store that has forgotten its keys opens nothing:
// only revoking the last key here does. Safe for concurrent use.
type Keeper struct {
	store Store
	log   *slog.Logger
	every time.Duration
	path  string // of the copy; empty = none
	ring  atomic.Pointer[Ring]

	mu      sync.Mutex // of changes: each is checked against what is there; and of readings: an older one never replaces a newer
	away    bool       // the last reading has failed
	written []byte     // what the copy holds
}

// NewKeeper returns a keeper that has not read its store yet.
func NewKeeper(store Store, log *slog.Logger) *Keeper {
	return &Keeper{store: store, log: log, every: readEvery}
}

// Ring is the present set of keys; nil while the store was never read. Then
// nobody knows whether keys are needed, and nobody may be let in.
func (k *Keeper) Ring() *Ring { return k.ring.Load() }

// Load reads the store.
func (k *Keeper) Load(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, err := k.load(ctx)
	return err
}

// load is Load for who has mu.
func (k *Keeper) load(ctx context.Context) (*Ring, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	keys, err := k.store.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("read API keys: %w", err)
	}
	ring := NewRing(keys...)
	if before := k.ring.Load(); len(keys) == 0 && before != nil && before.Needed() {
		ring.lost = true
		if !before.lost {
			k.log.Error("all API keys are gone from their store, and one is needed still: make it by attune key create --local", slog.String("remembered", k.path))
		}
	}
	k.serve(ring)
	return ring, nil
}

// serve makes a ring the present one, for who has mu.
func (k *Keeper) serve(ring *Ring) {
	k.ring.Store(ring)
	if ring.lost {
		return // the copy knows better
	}
	if err := k.remember(ring); err != nil { // the keys are good all the same
		k.log.Warn("API keys can't be copied for a start without their store", slog.Any("error", err))
	}
}

// Run reads the store again and again until ctx ends; then it returns nil.
func (k *Keeper) Run(ctx context.Context) error {
	ticker := time.NewTicker(k.every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := k.Load(ctx); ctx.Err() == nil {
			k.tell(err)
		}
	}
}

// tell logs when the store goes away and when it is back.
func (k *Keeper) tell(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err != nil && !k.away:
		k.log.Warn("API keys can't be read; the ones from before go on", slog.Any("error", err))
	case err == nil && k.away:
		k.log.Info("API keys are read again")
	}
	k.away = err != nil
}

// Create makes a key, which this gateway knows at once. ErrFirst; an *OrderError;
// others are the store's.
func (k *Keeper) Create(ctx context.Context, o Order) (Key, string, error) {
	now := time.Now()
	made, token, err := New(o, now)
	if err != nil {
		return Key{}, "", &OrderError{err}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	ring, err := k.load(ctx)
	if err != nil {
		return Key{}, "", err
	}
	if !ring.hasAdmin(now, "") && !made.IsAdmin() {
		return Key{}, "", ErrFirst
	}
	if err := k.store.Put(ctx, made); err != nil {
		return Key{}, "", err
	}
	k.serve(NewRing(append(ring.values(), made)...))
	return made, token, nil
}

// Revoke makes a key invalid, here at once. ErrNone, ErrLastAdmin; others are
// the store's.
func (k *Keeper) Revoke(ctx context.Context, id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	ring, err := k.load(ctx)
	if err != nil {
		return err
	}
	revoked := ring.keys[id]
	switch {
	case revoked == nil:
		return ErrNone
	case ring.Len() > 1 && revoked.IsAdmin() && !ring.hasAdmin(time.Now(), id):
		return ErrLastAdmin
	}
	if err := k.store.Delete(ctx, id); err != nil {
		return err
	}
	k.serve(NewRing(slices.DeleteFunc(ring.values(), func(other Key) bool { return other.ID == id })...))
	return nil
}

// Usable tells whether there is a key that has not expired.
func (r *Ring) Usable(now time.Time) bool {
	return slices.ContainsFunc(r.values(), func(k Key) bool { return !k.Expired(now) })
}

// hasAdmin tells whether a key other than one can make further keys.
func (r *Ring) hasAdmin(now time.Time, but string) bool {
	return slices.ContainsFunc(r.values(), func(k Key) bool { return k.ID != but && k.IsAdmin() && !k.Expired(now) })
}

func (r *Ring) values() []Key {
	all := make([]Key, 0, len(r.keys)+1)
	for _, k := range r.keys {
		all = append(all, *k)
	}
	return all
}

// OrderError says what is wrong with an order of a key.
type OrderError struct{ err error }

// Error implements error.
func (e *OrderError) Error() string { return e.err.Error() }

// Unwrap returns the reason.
func (e *OrderError) Unwrap() error { return e.err }
