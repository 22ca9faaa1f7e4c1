package key

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// A copy is what a gateway remembers of a store that it shares with others, in a
// file of its own, for a start while that store is away. It holds hashes, no
// tokens.

// Remember makes the keeper write a copy whenever keys have changed. It is called
// before the keeper is used.
func (k *Keeper) Remember(path string) { k.path = path }

// Recall takes the ring from the copy. An error, also one of a copy that isn't
// there, leaves the keeper without a ring.
func (k *Keeper) Recall() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	content, err := os.ReadFile(k.path)
	if err != nil {
		return fmt.Errorf("recall API keys: %w", err)
	}
	var rows []json.RawMessage
	if err := json.Unmarshal(content, &rows); err != nil {
		return fmt.Errorf("recall API keys: %s is damaged", k.path)
	}
	keys := make([]Key, len(rows))
	for i, encoded := range rows {
		if keys[i], err = Decode(encoded); err != nil {
			return fmt.Errorf("recall API keys: %w", err)
		}
	}
	k.ring.Store(NewRing(keys...))
	return nil
}

// remember writes the copy anew, so that no reader sees half of it, if it isn't
// what was written last.
func (k *Keeper) remember(ring *Ring) error {
	if k.path == "" {
		return nil
	}
	rows := []row{}
	for _, known := range ring.Keys() {
		rows = append(rows, row{*known, known.Hash})
	}
	content, err := json.Marshal(rows)
	if err != nil || bytes.Equal(content, k.written) {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(k.path), "."+filepath.Base(k.path)+"-*") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // gone already, unless something failed
	_, err = file.Write(content)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), k.path); err != nil {
		return err
	}
	k.written = content
	return nil
}
