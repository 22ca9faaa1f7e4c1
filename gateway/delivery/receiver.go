// Package delivery takes what a webhook's sender delivers from its proof to an
// execution: it verifies the bytes that came, knows repetitions, maps the request
// into parameters, has them stored or run, and keeps a log that can be replayed.
//
// The order is what matters: nothing is parsed that isn't proven, and nothing is
// acknowledged that isn't stored.
package delivery

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-multierror"

	"attune/gateway/execution"
	"attune/gateway/hook"
	"attune/gateway/pack"
	"attune/gateway/queue"
)

// Secrets opens the stored secrets of packs. A secret.Vault is one.
type Secrets interface {
	// Values opens those that are named; names that aren't stored are left out.
	Values(ctx context.Context, pack string, names []string) (map[string]string, error)
}

// Invoker runs the actions of hooks whose senders wait. Errors are
// *execution.Error.
type Invoker interface {
	Invoke(ctx context.Context, request execution.Request) (*execution.Outcome, error)
}

// Options are what a Receiver needs; the first six are required.
type Options struct {
	Catalog   func() *pack.Catalog // the present snapshot
	Store     hook.Store
	Secrets   Secrets
	Queue     queue.Submitter
	Invoker   Invoker
	NewID     func() string         // of executions and of entries; ULIDs
	Now       func() time.Time      // time.Now outside of tests
	Status    func(code string) int // of the answer to a failure, for the log; nil = it is told as 0
	Logger    *slog.Logger          // defaults to discarding
	Retention Retention
}

// Retention bounds the log of deliveries.
type Retention struct {
	Keep   int           // entries of each hook. Defaults to 500.
	MaxAge time.Duration // defaults to a week
	Body   int           // bytes of a body; of longer ones nothing is kept. Defaults to 64 KiB; negative = none are kept
}

// Receiver takes deliveries. It is safe for concurrent use, and any number of
// them may share a store.
type Receiver struct {
	Options

	mu       sync.Mutex
	refusals map[string]refusals // by hook
}

// New returns a Receiver.
func New(options Options) (*Receiver, error) {
	var faults *multierror.Error
	for _, required := range []struct {
		name    string
		missing bool
	}{
		{"Catalog", options.Catalog == nil},
		{"Store", options.Store == nil},
		{"Secrets", options.Secrets == nil},
		{"Queue", options.Queue == nil},
		{"Invoker", options.Invoker == nil},
		{"NewID", options.NewID == nil},
	} {
		if required.missing {
			faults = multierror.Append(faults, errors.New("option "+required.name+" is required"))
		}
	}
	if err := faults.ErrorOrNil(); err != nil {
		return nil, err
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Status == nil {
		options.Status = func(string) int { return 0 }
	}
	options.Logger = cmp.Or(options.Logger, slog.New(slog.DiscardHandler))
	options.Retention = Retention{
		Keep:   cmp.Or(options.Retention.Keep, 500),
		MaxAge: cmp.Or(options.Retention.MaxAge, 7*24*time.Hour),
		Body:   cmp.Or(options.Retention.Body, 64<<10),
	}
	return &Receiver{Options: options, refusals: map[string]refusals{}}, nil
}

// storeTimeout bounds one question to the store, and one to the queue.
const storeTimeout = 5 * time.Second

// Request is what came to a hook.
type Request struct {
	Header  http.Header // canonical names
	Query   url.Values
	Body    []byte // as it came; owned by the callee
	Arrived time.Time
}

// Answer is what became of it.
type Answer struct {
	Outcome   hook.Outcome
	Delivery  string             // the sender's ID; empty = it has none
	Execution string             // empty in a handshake
	Result    *execution.Outcome // of the action, where the sender waits; nil in a repetition
	Challenge string             // to repeat, in a handshake
	Waits     bool               // the hook's senders wait for the action's end
}

// Receive takes a delivery to the hook of a key. Its error is an
// *execution.Error; of a delivery whose sender waits, an Answer comes with it
// where there is an execution.
func (r *Receiver) Receive(ctx context.Context, key string, q Request) (Answer, error) {
	h, err := r.find(ctx, key)
	if err != nil {
		return Answer{}, err
	}
	return r.take(ctx, h, q)
}

// Challenge answers a sender's GET that asks whether the URL is meant: the text
// to repeat, if the sender knows the hook's token.
func (r *Receiver) Challenge(ctx context.Context, key string, q Request) (Answer, error) {
	h, err := r.find(ctx, key)
	if err != nil {
		return Answer{}, err
	}
	if h.Verify.Challenge == nil {
		return Answer{}, noHook()
	}
	entry := r.begin(h, q)
	answer, err := r.challenge(ctx, h, q.Query)
	entry.Query = "" // it has the token
	r.log(ctx, entry, answer, err)
	return answer, err
}

// noHook is one answer to all that can't be had, so that nobody learns more.
func noHook() error { return refuse(execution.CodeNotFound, "request", "there is no such hook") }

// find returns the hook of a key, if it may be called.
func (r *Receiver) find(ctx context.Context, key string) (*pack.Hook, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	name, err := r.Store.Find(ctx, key, r.Now())
	if errors.Is(err, hook.ErrNone) {
		return nil, noHook()
	}
	if err != nil {
		return nil, r.away("find a hook", err)
	}
	ref, err := pack.ParseActionRef(name)
	if err != nil {
		return nil, noHook()
	}
	h, there := r.Catalog().Hook(ref)
	if !there || !h.Enabled {
		return nil, noHook()
	}
	return h, nil
}

// take passes a delivery through all steps, and logs what became of it.
func (r *Receiver) take(ctx context.Context, h *pack.Hook, q Request) (Answer, error) {
	entry := r.begin(h, q)
	proven, err := r.prove(ctx, h, q)
	if err != nil {
		r.log(ctx, entry, Answer{}, err)
		return Answer{}, err
	}
	r.keep(&entry, h, q)
	answer, err := r.run(ctx, h, q, proven)
	answer.Delivery = proven.ID
	r.log(ctx, entry, answer, err)
	return answer, err
}

// run does what a proven delivery asks for.
func (r *Receiver) run(ctx context.Context, h *pack.Hook, q Request, proven hook.Delivery) (Answer, error) {
	if challenge, ok := slackChallenge(h, q.Body); ok {
		return Answer{Outcome: hook.Handshake, Challenge: challenge}, nil
	}
	parameters, err := r.parameters(h, payload(q.Header, q.Query, q.Body))
	if err != nil {
		return Answer{}, err
	}
	if len(proven.ID) > maxID {
		return Answer{}, refuse(codeInvalidHeader, "request", "the delivery's ID is too long")
	}
	work := work{hook: h, id: proven.ID, body: q.Body, parameters: parameters, arrived: q.Arrived}
	if h.Sync {
		return r.invoke(ctx, work)
	}
	return r.submit(ctx, work)
}

// maxID bounds a delivery's ID, in bytes.
const maxID = 255

// parameters makes the action's parameters of a request.
func (r *Receiver) parameters(h *pack.Hook, p pack.Payload) ([]byte, error) {
	parameters, err := h.Parameters(p)
	switch {
	case err == nil:
		return parameters, nil
	case errors.Is(err, pack.ErrMedia):
		return nil, refuse(codeMediaType, "request", "a hook takes JSON, forms and text, in UTF-8")
	case errors.Is(err, pack.ErrInvalidJSON):
		return nil, refuse(execution.CodeInvalidJSON, "request", "the body is not one JSON document")
	}
	return nil, refuse(execution.CodeInvalidJSON, "request", "the body can't be read as its media type says")
}

// payload is a request as hooks map it.
func payload(header http.Header, query url.Values, body []byte) pack.Payload {
	p := pack.Payload{Headers: map[string]string{}, Query: query, Media: header.Get("Content-Type"), Body: body}
	for name, values := range header {
		p.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return p
}
