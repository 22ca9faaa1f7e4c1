package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"attune/envcache"
	"attune/gateway/execution"
)

// resultEvent is the end of a call that succeeded.
type resultEvent struct {
	ID        string           `json:"id"`
	Status    execution.Status `json:"status"`
	MediaType string           `json:"media_type"`
	Result    any              `json:"result"`             // JSON as it is, anything else as a string
	Encoding  string           `json:"encoding,omitempty"` // "base64" for bytes that are no text
	Timing    execution.Timing `json:"timing"`
}

// invokeStream runs an action and answers with events: what happens to the
// environment that the call waits for, then its result or its problem. A call
// that is refused gets the answer that it would get without events.
func (s *Server) invokeStream(c *fiber.Ctx, call *call, request execution.Request, media string) error {
	watched, release := s.watch(c.Context().Conn())
	ctx, cancel := context.WithCancelCause(watched)
	followed := s.follow(ctx, request)
	if !followed.begun() && followed.outcome == nil {
		err := cutOff(ctx, followed.failure())
		cancel(nil)
		release()
		return err
	}
	call.execution = request.ID
	c.Set("Attune-Execution-Id", request.ID)
	return s.stream(c, call, media, release, func(out *eventWriter) {
		defer cancel(nil)
		if err := followed.pass(out); err != nil {
			cancel(errClientLeft)
			<-followed.done
			return
		}
		_ = s.conclude(ctx, call, followed, out) // the last word; nobody is left to hear of its failure
	})
}

// conclude sends the event that a call ends with.
func (s *Server) conclude(ctx context.Context, call *call, f *followed, out *eventWriter) error {
	if err := f.failure(); err != nil {
		return out.send("problem", s.problem(call, cutOff(ctx, err)))
	}
	return out.send("result", showResult(f.outcome))
}

func showResult(outcome *execution.Outcome) resultEvent {
	event := resultEvent{
		ID: outcome.Execution.ID, Status: outcome.Execution.Status,
		MediaType: outcome.MediaType, Timing: outcome.Execution.Timing,
	}
	switch {
	case outcome.MediaType == "application/json" && json.Valid(outcome.Output):
		event.Result = json.RawMessage(outcome.Output)
	case utf8.Valid(outcome.Output):
		event.Result = string(outcome.Output)
	default:
		event.Result, event.Encoding = base64.StdEncoding.EncodeToString(outcome.Output), "base64"
	}
	return event
}

// followed is a call that runs beside the one who waits for it.
type followed struct {
	accepted chan struct{} // closed when nothing is left to refuse
	events   chan envcache.Event
	done     chan struct{} // closed when outcome and err are set
	outcome  *execution.Outcome
	err      error
}

// begun waits until the call is accepted, or done without that.
func (f *followed) begun() bool {
	select {
	case <-f.accepted:
		return true
	case <-f.done:
	}
	select { // both may be closed by now, and a select takes either
	case <-f.accepted:
		return true
	default:
		return false
	}
}

// followedEvents is how many events a client may be behind before it loses
// lines of the installer's output.
const followedEvents = 256

// follow starts a call. Whoever starts it waits for done.
func (s *Server) follow(ctx context.Context, request execution.Request) *followed {
	f := &followed{
		accepted: make(chan struct{}), done: make(chan struct{}),
		events: make(chan envcache.Event, followedEvents),
	}
	request.Accepted = sync.OnceFunc(func() { close(f.accepted) })
	request.Progress = f.progress
	go func() {
		defer close(f.done)
		defer func() {
			if p := recover(); p != nil { // it would end the program
				f.outcome, f.err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		f.outcome, f.err = s.Invoker.Invoke(ctx, request)
	}()
	return f
}

// progress never blocks: what is too much for a slow client is lost, lines first.
func (f *followed) progress(e envcache.Event) {
	for {
		select {
		case f.events <- e:
			return
		default:
		}
		if e.Line != "" {
			return
		}
		select {
		case <-f.events:
		default:
		}
	}
}

// failure is why there is no result, once the call is done.
func (f *followed) failure() error {
	if f.err == nil && (f.outcome == nil || f.outcome.Execution == nil) {
		return fmt.Errorf("invoke: neither an execution nor an error")
	}
	return f.err
}

// pass sends the environment's events until the call is done. An error means
// that the client has left.
func (f *followed) pass(out *eventWriter) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		var err error
		select {
		case e := <-f.events:
			err = out.send("environment", showEvent(e))
		case <-beat.C:
			err = out.beat()
		case <-f.done:
			return f.rest(out)
		}
		if err != nil {
			return err
		}
	}
}

// rest sends what was told before the end.
func (f *followed) rest(out *eventWriter) error {
	for {
		select {
		case e := <-f.events:
			if err := out.send("environment", showEvent(e)); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}
