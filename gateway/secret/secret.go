// Package secret keeps what actions must know and nobody may see: it stores
// secrets per pack, sealed by the operator's key, and masks them in what
// programs print.
package secret

import (
	"context"
	"errors"
	"time"
)

// MaxValue bounds a stored value, in bytes.
const MaxValue = 64 << 10

var (
	// ErrNone says that a pack has no secret of that name.
	ErrNone = errors.New("no such secret")
	// ErrNoKey says that the gateway was given no key for secrets.
	ErrNoKey = errors.New("the gateway has no key for secrets: make one (attune secret keygen FILE) and name it in secrets.key_file")
	// ErrUnreadable says that a secret was sealed by a key that the gateway
	// doesn't have, or that somebody has changed or moved it in the store.
	ErrUnreadable = errors.New("secret can't be read with the gateway's keys")
)

// Sealed is a secret as it is stored.
type Sealed struct {
	Pack, Name string
	// Version is when it was written, in nanoseconds since 1970, UTC.
	Version int64
	Key     string // ID of the key that sealed it
	Box     []byte // nonce and ciphertext; bound to pack, name and version
}

// Store keeps sealed secrets. Both adapters (embedded database, Redis) pass
// secrettest.Exercise. All methods may be called concurrently.
type Store interface {
	// Put writes a secret, in place of one of the same pack and name.
	Put(ctx context.Context, s Sealed) error
	// Swap is Put if the stored version is still before; it reports whether it
	// was.
	Swap(ctx context.Context, before int64, s Sealed) (bool, error)
	// Pack returns all secrets of a pack, sorted by name; none is no error.
	Pack(ctx context.Context, pack string) ([]Sealed, error)
	// Packs names the packs that have secrets, sorted.
	Packs(ctx context.Context) ([]string, error)
	// Delete removes a secret. ErrNone.
	Delete(ctx context.Context, pack, name string) error
}

// Entry tells about a stored secret everything but its value.
type Entry struct {
	Name      string    `json:"name"`
	UpdatedAt time.Time `json:"updated_at"`
	Key       string    `json:"key"`      // ID of the key that sealed it
	Readable  bool      `json:"readable"` // whether the gateway has that key
}
