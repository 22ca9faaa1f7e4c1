package key

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// ErrNone says that there is no key of that ID.
var ErrNone = errors.New("no such API key")

// Store keeps keys. Both adapters (embedded database, Redis) pass
// keytest.Exercise. All methods may be called concurrently.
type Store interface {
	// Put writes a key, in place of one of the same ID.
	Put(ctx context.Context, k Key) error
	// Keys returns all keys, sorted by ID, which is oldest first; none is no error.
	Keys(ctx context.Context) ([]Key, error)
	// Delete removes a key. ErrNone.
	Delete(ctx context.Context, id string) error
}

// row is a key as it is stored: what everybody may see, and the hash.
type row struct {
	Key
	Hash []byte `json:"hash"`
}

// Encode is for stores.
func (k Key) Encode() ([]byte, error) { return json.Marshal(row{k, k.Hash}) }

// Decode reads what Encode wrote. The error says nothing of it.
func Decode(encoded []byte) (Key, error) {
	var r row
	if err := json.Unmarshal(encoded, &r); err != nil || r.ID == "" || len(r.Hash) == 0 {
		return Key{}, fmt.Errorf("stored API key of %d bytes is damaged", len(encoded))
	}
	r.Key.Hash = r.Hash
	return r.Key, nil
}
