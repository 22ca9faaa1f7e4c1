package delivery

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"regexp"
	"strings"
	"time"

	"attune/gateway/execution"
	"attune/gateway/hook"
	"attune/gateway/pack"
)

// begin is the entry of a request that is worth no trust yet.
func (r *Receiver) begin(h *pack.Hook, q Request) hook.Entry {
	return hook.Entry{ID: r.NewID(), Hook: h.Ref.String(), At: q.Arrived.UTC(), Size: len(q.Body)}
}

// keep takes into the entry what may be seen of a proven request, and what a
// replay needs: nothing, where a part of it is a secret of the action.
func (r *Receiver) keep(entry *hook.Entry, h *pack.Hook, q Request) {
	if action, ok := r.Catalog().Action(h.Action); !ok || h.TakesSecrets(action) {
		return
	}
	query := maps.Clone(q.Query)
	maps.DeleteFunc(query, func(name string, _ []string) bool { return private.MatchString(name) })
	entry.Headers, entry.Query = visible(h.Verify.Scheme, q.Header), query.Encode()
	if len(q.Body) <= r.Retention.Body {
		entry.Body, entry.Replayable = q.Body, true
	}
}

// private are names of headers and of parameters of a query that hold credentials, or may.
var private = regexp.MustCompile(`(?i)auth|cookie|token|secret|signature|hmac|password|api-?key|credential`)

// visible are the headers without credentials.
func visible(scheme hook.Scheme, header http.Header) map[string]string {
	shown := payload(header, nil, nil).Headers
	maps.DeleteFunc(shown, func(name, _ string) bool {
		return private.MatchString(name) || strings.EqualFold(name, scheme.Header)
	})
	return shown
}

// log completes an entry and stores it. A log that can't be written holds up no
// delivery.
func (r *Receiver) log(ctx context.Context, entry hook.Entry, answer Answer, err error) {
	entry.Outcome, entry.Delivery, entry.Execution = answer.Outcome, answer.Delivery, answer.Execution
	entry.DurationMS = math.Round(float64(r.Now().Sub(entry.At).Microseconds())) / 1000
	entry.Status = status(answer)
	if err != nil {
		entry.Outcome, entry.Code = hook.Failed, execution.CodeInternal
		var failure *execution.Error
		if errors.As(err, &failure) {
			entry.Code = failure.Code
			if atFault(failure) {
				entry.Outcome = hook.Refused
			}
		}
		entry.Status = r.Status(entry.Code)
	}
	if entry.Outcome == hook.Handshake || entry.Code == CodeInvalidSignature {
		entry.Body, entry.Replayable = nil, false
	}
	if entry.Code == CodeInvalidSignature && !r.mayLogRefusal(entry.Hook) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := r.Store.Append(ctx, entry); err != nil {
		r.Logger.Warn("hooks: a delivery is not in the log", slog.String("hook", entry.Hook), slog.Any("error", err))
	}
}

func status(answer Answer) int {
	if answer.Waits || answer.Outcome == hook.Handshake {
		return http.StatusOK
	}
	return http.StatusAccepted
}

// atFault tells whether a sender has to change something.
func atFault(failure *execution.Error) bool {
	switch failure.Code {
	case CodeInvalidSignature, CodeIDReuse, CodeInProgress, codeInvalidHeader, codeInvalidQuery, codeMediaType,
		execution.CodeInvalidJSON, execution.CodeInvalidParameters:
		return true
	}
	return false
}

// refusals counts unproven requests of a minute.
type refusals struct {
	minute time.Time
	count  int
}

// maxRefusals is how many unproven requests of one hook are logged in a minute,
// by each gateway: whoever knows the URL could otherwise push all others out.
const maxRefusals = 20

func (r *Receiver) mayLogRefusal(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	minute, before := r.Now().Truncate(time.Minute), r.refusals[name]
	if !before.minute.Equal(minute) {
		before = refusals{minute: minute}
	}
	before.count++
	r.refusals[name] = before
	return before.count <= maxRefusals
}

// pruneEvery is how often the log is pruned.
const pruneEvery = 10 * time.Minute

// Run gives hooks their addresses, and prunes the log until ctx ends.
func (r *Receiver) Run(ctx context.Context) error {
	r.Look(ctx)
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		if err := r.prune(ctx); err != nil && ctx.Err() == nil {
			r.Logger.Warn("hooks: the log of deliveries could not be pruned", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (r *Receiver) prune(ctx context.Context) error {
	now := r.Now()
	return r.Store.Prune(ctx, now, now.Add(-r.Retention.MaxAge), r.Retention.Keep)
}
