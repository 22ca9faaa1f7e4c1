package api

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/hashicorp/go-multierror"

	"attune/envcache"
	"attune/gateway/execution"
	"attune/gateway/pack"
)

const (
	firstDigest  = "11111111111111111111111111111111"
	secondDigest = "22222222222222222222222222222222"
)

// fakeEnvironments has one environment, demo/python, with two generations.
type fakeEnvironments struct {
	mu          sync.Mutex
	status      envcache.Status
	removed     bool
	err         error // of everything that changes something
	asked       []string
	subscribers map[chan envcache.Event]bool
	subscribed  int                                    // ever
	behave      func(ctx context.Context, what string) // in place of nothing
}

var _ Environments = (*fakeEnvironments)(nil)

func newFakeEnvironments() *fakeEnvironments {
	return &fakeEnvironments{
		status: envcache.Status{
			Pack: "demo", Runtime: "python", State: envcache.StateReady, Digest: secondDigest, Serving: secondDigest,
		},
		subscribers: map[chan envcache.Event]bool{},
	}
}

func (f *fakeEnvironments) List() []envcache.Status {
	status, _ := f.Show("demo", "python")
	return []envcache.Status{status}
}

func (f *fakeEnvironments) Show(packRef, runtime string) (envcache.Status, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if packRef != "demo" || runtime != "python" || f.removed {
		return envcache.Status{}, false
	}
	return f.status, true
}

func (f *fakeEnvironments) Log(packRef, runtime string) ([]byte, bool) {
	_, ok := f.Show(packRef, runtime)
	return []byte("installed 3 packages\n"), ok
}

// becomes changes the state without an event, as another gateway does.
func (f *fakeEnvironments) becomes(state envcache.State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.State = state
}

func (f *fakeEnvironments) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// calls lists what was asked for, and forgets it.
func (f *fakeEnvironments) calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = nil
	return asked
}

// change notes what is asked for and returns the state afterwards.
func (f *fakeEnvironments) change(packRef, runtime, what string, state envcache.State) (envcache.Status, error) {
	if _, ok := f.Show(packRef, runtime); !ok {
		return envcache.Status{}, execution.ErrNoEnvironment
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return envcache.Status{}, f.err
	}
	f.asked = append(f.asked, strings.TrimSpace(what))
	f.status.State = state
	return f.status, nil
}

func (f *fakeEnvironments) Build(packRef, runtime string) (envcache.Status, error) {
	return f.change(packRef, runtime, "build", envcache.StateBuilding)
}

func (f *fakeEnvironments) Rebuild(packRef, runtime string) (envcache.Status, error) {
	return f.change(packRef, runtime, "rebuild", envcache.StateBuilding)
}

func (f *fakeEnvironments) Rollback(packRef, runtime, digest string) (envcache.Status, error) {
	if digest != "" && digest != firstDigest {
		return envcache.Status{}, envcache.ErrNoGeneration
	}
	status, err := f.change(packRef, runtime, "rollback "+digest, envcache.StateReady)
	status.Serving, status.RolledBack = firstDigest, true
	return status, err
}

func (f *fakeEnvironments) Verify(ctx context.Context, packRef, runtime string) (envcache.Verification, error) {
	if f.behave != nil {
		f.behave(ctx, "verify")
	}
	_, err := f.change(packRef, runtime, "verify", envcache.StateReady)
	return envcache.Verification{Digest: secondDigest, OK: true, Faults: []string{}, Files: 7, Bytes: 99}, err
}

func (f *fakeEnvironments) Prune(_ context.Context, all bool) ([]envcache.Pruned, error) {
	what := map[bool]string{true: "prune all", false: "prune"}[all]
	_, err := f.change("demo", "python", what, envcache.StateReady)
	return []envcache.Pruned{{Pack: "demo", Runtime: "python", Digest: firstDigest, Bytes: 5}}, err
}

func (f *fakeEnvironments) Remove(_ context.Context, packRef, runtime string) error {
	_, err := f.change(packRef, runtime, "remove", envcache.StateAbsent)
	return err
}

func (f *fakeEnvironments) Subscribe(packRef, runtime string) (*envcache.Subscription, bool) {
	if _, ok := f.Show(packRef, runtime); !ok {
		return nil, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	events := make(chan envcache.Event, 16)
	f.subscribers[events] = true
	f.subscribed++
	return envcache.NewSubscription(events, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.subscribers, events)
	}), true
}

// tell passes an event on to everybody who listens.
func (f *fakeEnvironments) tell(e envcache.Event) {
	e.Pack, e.Runtime, e.Digest = "demo", "python", secondDigest
	f.mu.Lock()
	defer f.mu.Unlock()
	for events := range f.subscribers {
		events <- e
	}
}

func (f *fakeEnvironments) listeners() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subscribers)
}

// fakeRegistrar knows the packs of the catalog: demo is new to it.
type fakeRegistrar struct {
	catalog *pack.Catalog
	mu      sync.Mutex
	known   map[string]bool
	asked   []string
}

var _ Registrar = (*fakeRegistrar)(nil)

func (f *fakeRegistrar) Register(_ context.Context, path string, force bool) (execution.Registration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, path)
	name, inside := strings.CutPrefix(path, "/packs/")
	if !inside {
		return execution.Registration{}, execution.ErrOutsidePacks
	}
	if broken, ok := f.catalog.BrokenPack(pack.Ref(name)); ok {
		return execution.Registration{}, broken.Err
	}
	found, ok := f.catalog.Pack(pack.Ref(name))
	if !ok {
		return execution.Registration{}, &multierror.Error{Errors: []error{errors.New("can't be read")}}
	}
	if f.known[name] && !force {
		return execution.Registration{}, execution.ErrRegistered
	}
	created := !f.known[name]
	if f.known == nil {
		f.known = map[string]bool{}
	}
	f.known[name] = true
	return execution.Registration{
		Pack: found, Created: created,
		Environments: []envcache.Status{{Pack: name, Runtime: "python", State: envcache.StateQueued}},
	}, nil
}
