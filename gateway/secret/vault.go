package secret

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Vault opens and closes what a Store keeps. Without Keys it only lists and
// deletes.
type Vault struct {
	Store Store
	Keys  *Keyring // nil = none
}

// Set stores a value. ErrNoKey. Names and sizes are the caller's to check.
func (v *Vault) Set(ctx context.Context, pack, name, value string) error {
	sealed, err := v.Keys.seal(pack, name, value, time.Now().UnixNano())
	if err != nil {
		return err
	}
	return v.Store.Put(ctx, sealed)
}

// List tells about the secrets of a pack, sorted by name.
func (v *Vault) List(ctx context.Context, pack string) ([]Entry, error) {
	stored, err := v.Store.Pack(ctx, pack)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(stored))
	for i, s := range stored {
		entries[i] = Entry{Name: s.Name, UpdatedAt: time.Unix(0, s.Version).UTC(), Key: s.Key, Readable: v.Keys.readable(s)}
	}
	return entries, nil
}

// Delete removes a secret. ErrNone.
func (v *Vault) Delete(ctx context.Context, pack, name string) error {
	return v.Store.Delete(ctx, pack, name)
}

// Values opens those secrets of a pack that are named; names that aren't stored
// are left out. ErrNoKey, ErrUnreadable.
func (v *Vault) Values(ctx context.Context, pack string, names []string) (map[string]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	stored, err := v.Store.Pack(ctx, pack)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for _, s := range stored {
		if !slices.Contains(names, s.Name) {
			continue
		}
		if s.Pack != pack { // a store that mixes up packs is as bad as a forged row
			return nil, fmt.Errorf("%s: %w", s.Name, ErrUnreadable)
		}
		if values[s.Name], err = v.Keys.open(s); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return values, nil
}

// Reseal seals with the first key what another one has sealed, so that the
// operator can take the other away. It reports how many it has sealed, and in
// the error what it couldn't read; those stay as they are.
func (v *Vault) Reseal(ctx context.Context) (sealed int, err error) {
	if v.Keys == nil {
		return 0, nil
	}
	packs, err := v.Store.Packs(ctx)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, pack := range packs {
		stored, err := v.Store.Pack(ctx, pack)
		errs = append(errs, err)
		for _, s := range stored {
			if s.Key == v.Keys.first {
				continue
			}
			done, err := v.resealOne(ctx, s)
			if err != nil {
				errs = append(errs, fmt.Errorf("secret %s of pack %s: %w", s.Name, s.Pack, err))
			}
			if done {
				sealed++
			}
		}
	}
	return sealed, errors.Join(errs...)
}

// resealOne keeps the version, since the value is the same. A secret that
// somebody writes meanwhile is sealed by the key of that.
func (v *Vault) resealOne(ctx context.Context, s Sealed) (bool, error) {
	value, err := v.Keys.open(s)
	if err != nil {
		return false, err
	}
	again, err := v.Keys.seal(s.Pack, s.Name, value, s.Version)
	if err != nil {
		return false, err
	}
	return v.Store.Swap(ctx, s.Version, again)
}
