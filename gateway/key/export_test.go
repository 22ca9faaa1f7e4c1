package key

import (
	"context"
	"time"
)

// Every sets how often Run reads.
func (k *Keeper) Every(d time.Duration) { k.every = d }

// OnRead is told of each reading, also of those that fail.
func (k *Keeper) OnRead(f func()) { k.store = watched{k.store, f} }

type watched struct {
	Store
	read func()
}

func (w watched) Keys(ctx context.Context) ([]Key, error) {
	defer w.read()
	return w.Store.Keys(ctx)
}
