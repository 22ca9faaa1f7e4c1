package delivery

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"attune/gateway/execution"
	"attune/gateway/hook"
	"attune/gateway/pack"
)

// Look gives an address to every hook that has none yet. A store that is away
// gives it later: when the hook is shown.
func (r *Receiver) Look(ctx context.Context) {
	for _, h := range r.Catalog().Hooks() {
		if _, err := r.Address(ctx, h); err != nil {
			r.Logger.Warn("hooks: no addresses now", slog.Any("error", err))
			return
		}
	}
}

// Address is where a hook is reached.
func (r *Receiver) Address(ctx context.Context, h *pack.Hook) (hook.Address, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	address, err := r.Store.Address(ctx, h.Ref.String(), hook.NewKey(), r.Now())
	if err != nil {
		return address, r.away("read an address", err)
	}
	return address, nil
}

// Rotate gives a hook another address; the one before works on for grace.
func (r *Receiver) Rotate(ctx context.Context, h *pack.Hook, grace time.Duration) (hook.Address, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	now := r.Now()
	address, err := r.Store.Rotate(ctx, h.Ref.String(), hook.NewKey(), now, now.Add(grace))
	if err != nil {
		return address, r.away("rotate an address", err)
	}
	return address, nil
}

// Unready says why a hook can't take anything at present; nil = it can.
func (r *Receiver) Unready(ctx context.Context, h *pack.Hook) error {
	if !h.Verify.Proves() {
		return nil
	}
	secrets, err := r.secrets(ctx, h, h.Verify.Secrets)
	if err != nil {
		return err
	}
	_, err = hook.NewVerifier(h.Verify.Scheme, secrets, r.Now)
	return err
}

// Deliveries is a page of a hook's log.
func (r *Receiver) Deliveries(ctx context.Context, h *pack.Hook, before string, limit int) ([]hook.Entry, string, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	entries, next, err := r.Store.Entries(ctx, h.Ref.String(), before, limit)
	if err != nil {
		return nil, "", r.away("list deliveries", err)
	}
	return entries, next, nil
}

// Replay has a delivery of the log stored once more, as a new execution: as the
// hook maps it now, without proof and whatever its ID.
func (r *Receiver) Replay(ctx context.Context, h *pack.Hook, id string) (Answer, error) {
	before, err := r.Delivery(ctx, h, id)
	if err != nil {
		return Answer{}, err
	}
	if !before.Replayable {
		return Answer{}, refuse(CodeNotReplayable, "request", "the delivery was not proven, or its body is not in the log")
	}
	query, err := url.ParseQuery(before.Query)
	if err != nil {
		return Answer{}, err // written by us
	}
	q := Request{Header: http.Header{}, Query: query, Body: before.Body, Arrived: r.Now()}
	for name, value := range before.Headers {
		q.Header.Set(name, value)
	}
	entry := r.begin(h, q)
	r.keep(&entry, h, q)
	entry.ReplayOf = before.ID
	answer, err := r.replay(ctx, h, q)
	answer.Delivery = before.Delivery
	r.log(ctx, entry, answer, err)
	return answer, err
}

func (r *Receiver) replay(ctx context.Context, h *pack.Hook, q Request) (Answer, error) {
	if !h.Enabled {
		return Answer{}, refuse(execution.CodeNotFound, "request", "the hook is disabled")
	}
	parameters, err := r.parameters(h, payload(q.Header, q.Query, q.Body))
	if err != nil {
		return Answer{}, err
	}
	return r.submit(ctx, work{hook: h, parameters: parameters, arrived: q.Arrived})
}

// Delivery is one of a hook's log, whole.
func (r *Receiver) Delivery(ctx context.Context, h *pack.Hook, id string) (hook.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	entry, err := r.Store.Entry(ctx, h.Ref.String(), id)
	if errors.Is(err, hook.ErrNone) {
		return entry, refuse(execution.CodeNotFound, "request", "the hook's log has no such delivery")
	}
	if err != nil {
		return entry, r.away("read a delivery", err)
	}
	return entry, nil
}

// Test has a sample of the hook's sender, signed with the hook's first secret,
// take the way of a delivery.
func (r *Receiver) Test(ctx context.Context, h *pack.Hook) (Answer, error) {
	if !h.Enabled {
		return Answer{}, refuse(execution.CodeNotFound, "request", "the hook is disabled")
	}
	id, now := "test-"+r.NewID(), r.Now()
	sample, err := hook.NewSample(h.Verify.Preset, id)
	if err != nil {
		return Answer{}, err
	}
	q := Request{Header: http.Header{"Content-Type": {"application/json"}}, Body: sample.Body, Arrived: now}
	for name, value := range sample.Headers {
		q.Header.Set(name, value)
	}
	if header := h.Verify.Scheme.IDHeader; header != "" {
		q.Header.Set(header, id)
	}
	if h.Verify.Proves() {
		secrets, err := r.secrets(ctx, h, h.Verify.Secrets)
		if err != nil {
			return Answer{}, err
		}
		signed, err := h.Verify.Scheme.Sign(secrets[0], id, now, sample.Body)
		if err != nil {
			return Answer{}, noSecret("a secret of the hook can't be used; the gateway's log says why")
		}
		for name, value := range signed {
			q.Header.Set(name, value)
		}
	}
	return r.take(ctx, h, q)
}
