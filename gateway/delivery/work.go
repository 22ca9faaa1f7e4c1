package delivery

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"attune/gateway/execution"
	"attune/gateway/hook"
	"attune/gateway/pack"
	"attune/gateway/queue"
)

// work is a proven delivery with the parameters that it has become.
type work struct {
	hook       *pack.Hook
	id         string // the sender's; empty: nothing tells a repetition
	body       []byte
	parameters []byte
	arrived    time.Time
}

// claim marks the work as ours, or finds whose it is.
func (r *Receiver) claim(ctx context.Context, w work, execution string, pending time.Duration) (hook.Mark, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	digest, now := sha256.Sum256(w.body), r.Now()
	mark, err := r.Store.Claim(ctx, hook.Mark{
		Hook: w.hook.Ref.String(), ID: w.id, Digest: hex.EncodeToString(digest[:]), Execution: execution, Pending: now.Add(pending),
	}, now)
	if err != nil {
		return mark, r.away("mark a delivery", err)
	}
	if mark.Digest != hex.EncodeToString(digest[:]) {
		return mark, refuse(CodeIDReuse, "request", "a delivery of this ID was here, with another body")
	}
	return mark, nil
}

// settle completes a mark, or removes it, whatever the sender does meanwhile.
func (r *Receiver) settle(ctx context.Context, w work, execution string, change func(ctx context.Context, hook, id, execution string) error) {
	if w.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := change(ctx, w.hook.Ref.String(), w.id, execution); err != nil {
		// A repetition asks the queue again, which knows the execution's ID.
		r.Logger.Warn("hooks: the mark of a delivery stays open", slog.String("hook", w.hook.Ref.String()), slog.Any("error", err))
	}
}

// submitting is how long a gateway may take from a mark to a stored job.
const submitting = time.Minute

// submit has the work stored. The mark comes first, and names the execution; it
// is complete when the job is stored. A repetition of what isn't is stored as the
// same execution, so that neither two come of it nor none.
func (r *Receiver) submit(ctx context.Context, w work) (Answer, error) {
	id := r.NewID()
	if w.id != "" {
		mark, err := r.claim(ctx, w, id, submitting)
		if err != nil {
			return Answer{}, err
		}
		if mark.Done {
			return Answer{Outcome: hook.Duplicate, Execution: mark.Execution}, nil
		}
		id = mark.Execution
	}
	if _, err := r.store(ctx, w, id); err != nil {
		if hopeless(err) {
			r.settle(ctx, w, id, r.Store.Release)
		}
		return Answer{}, err
	}
	r.settle(ctx, w, id, r.Store.Done)
	return Answer{Outcome: hook.Accepted, Execution: id}, nil
}

func (r *Receiver) store(ctx context.Context, w work, id string) (*execution.Execution, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return r.Queue.Submit(ctx, queue.Job{
		ID: id, Action: w.hook.Action.String(), Parameters: w.parameters, Source: "hook:" + w.hook.Ref.String(),
	})
}

// hopeless tells a refusal, after which nothing is stored, from a failure, after
// which that isn't known.
func hopeless(err error) bool {
	var failure *execution.Error
	if !errors.As(err, &failure) {
		return false
	}
	switch failure.Code {
	case execution.CodeInvalidParameters, execution.CodeInvalidJSON, execution.CodeNotFound, execution.CodeForbidden, execution.CodeLimitExceeded:
		return true
	}
	return false
}

// invoke runs the work while its sender waits. A repetition meanwhile is told to
// come back; one of what has succeeded gets no second run; what has not can be
// had again.
func (r *Receiver) invoke(ctx context.Context, w work) (Answer, error) {
	id := r.NewID()
	if w.id != "" {
		mark, err := r.claim(ctx, w, id, r.longest(w.hook)+submitting)
		switch {
		case err != nil:
			return Answer{}, err
		case mark.Done:
			return Answer{Outcome: hook.Duplicate, Execution: mark.Execution, Waits: true}, nil
		case mark.Owner != id:
			return Answer{}, later(CodeInProgress, "request", "this delivery is being worked on", time.Second)
		}
		id = mark.Execution
	}
	outcome, err := r.Invoker.Invoke(ctx, execution.Request{ID: id, Action: w.hook.Action.String(), Body: w.parameters, Arrived: w.arrived})
	answer := Answer{Outcome: hook.Accepted, Result: outcome, Waits: true}
	if outcome != nil && outcome.Execution != nil {
		answer.Execution = id
	}
	if err != nil {
		r.settle(ctx, w, id, r.Store.Release)
		return answer, err
	}
	if answer.Execution == "" {
		return answer, fmt.Errorf("invoke %s: neither an execution nor an error", w.hook.Action)
	}
	r.settle(ctx, w, id, r.Store.Done)
	return answer, nil
}

// longest is how long an action may run.
func (r *Receiver) longest(h *pack.Hook) time.Duration {
	if action, ok := r.Catalog().Action(h.Action); ok {
		return action.Timeout
	}
	return pack.DefaultTimeout
}
