package api

import (
	"context"
	"errors"
	"sync"
	"time"

	"attune/gateway/key"
)

// fakeKeys makes keys that nobody needs: its ring stays empty. err, if any, is
// what everything answers.
type fakeKeys struct {
	mu  sync.Mutex
	err error
}

var _ Keys = (*fakeKeys)(nil)

const knownKey = "01HZX3V7Q8R9S0T1V2W3X4Y5ZK"

var noKeys = key.NewRing()

func (f *fakeKeys) Ring() *key.Ring { return noKeys }

func (f *fakeKeys) Create(_ context.Context, o key.Order) (key.Key, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return key.Key{}, "", f.err
	}
	k, token, err := key.New(o, time.Now())
	if err != nil {
		return key.Key{}, "", errors.New("the fake makes no faulty keys")
	}
	return k, token, nil
}

func (f *fakeKeys) Revoke(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id != knownKey && f.err == nil {
		return key.ErrNone
	}
	return f.err
}
