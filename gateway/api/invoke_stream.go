package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"attune/envcache"
	"attune/gateway/execution"
	"attune/gateway/pack"
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

// startedEvent says that the action's program was started.
type startedEvent struct {
	ID     string           `json:"id"`
	Timing execution.Timing `json:"timing"`
}

// itemEvent is one line of an action that prints JSON lines.
type itemEvent struct {
	Item json.RawMessage `json:"item"`
}

// invokeStream runs an action and answers with events: what happens to the
// environment that the call waits for, what the program prints, then its result
// or its problem. A call that is refused gets the answer that it would get
// without events.
func (s *Server) invokeStream(c *fiber.Ctx, call *call, request execution.Request, media string, format pack.Format) error {
	watched, release := s.audience(c, call)
	ctx, cancel := context.WithCancelCause(watched)
	followed := s.follow(ctx, call, request)
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
		if err := followed.pass(out, format); err != nil {
			if call.claim == nil {
				cancel(errClientLeft)
			}
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

	running *execution.Running  // set when accepted is closed; nil = it can't be looked at
	stdout  *execution.Follower // of who reads the events; nil = stdout has the items
	stderr  *execution.Follower
	result  *execution.Follower // of who reads it as it is made, or items
	told    bool                // that the program was started
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
func (s *Server) follow(ctx context.Context, call *call, request execution.Request) *followed {
	f := &followed{
		accepted: make(chan struct{}), done: make(chan struct{}),
		events: make(chan envcache.Event, followedEvents),
	}
	request.Accepted = sync.OnceFunc(func() {
		f.running, _ = s.Store.Running(request.ID)
		close(f.accepted)
	})
	request.Progress = f.progress
	go func() {
		defer close(f.done)
		defer func() {
			if p := recover(); p != nil { // it would end the program
				f.outcome, f.err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		f.outcome, f.err = s.run(ctx, call, request)
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

// pass sends what happens until the call is done. An error means that the client
// has left.
func (f *followed) pass(out *eventWriter, format pack.Format) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	f.look(format)
	for {
		changed := f.changed()
		err := f.news(out)
		if err != nil {
			return err
		}
		select {
		case e := <-f.events:
			err = out.send("environment", showEvent(e))
		case <-changed:
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

// look begins to follow the streams of which there are events.
func (f *followed) look(format pack.Format) {
	if f.running == nil {
		return
	}
	f.stderr = f.running.Follow(execution.Stderr)
	if format == pack.FormatJSONL {
		f.result = f.running.FollowResult()
	}
	if f.result == nil || f.result.Name() != execution.Stdout {
		f.stdout = f.running.Follow(execution.Stdout)
	}
}

// changed is nil, and so never ready, for a call that can't be looked at.
func (f *followed) changed() <-chan struct{} {
	if f.running == nil {
		return nil
	}
	return f.running.Changed()
}

// news sends what the program has done since the last time.
func (f *followed) news(out *eventWriter) error {
	if f.running == nil || !f.running.Started() {
		return nil
	}
	if !f.told {
		if err := f.drain(out); err != nil { // in the order in which it happened
			return err
		}
		f.told = true
		x := f.running.Summary()
		if err := out.send("started", startedEvent{x.ID, x.Timing}); err != nil {
			return err
		}
	}
	if err := sendText(out, f.stderr, execution.Stderr); err != nil {
		return err
	}
	if f.stdout != nil {
		if err := sendText(out, f.stdout, execution.Stdout); err != nil {
			return err
		}
	}
	if f.result != nil {
		return sendItems(out, f.result)
	}
	return nil
}

// sendItems sends each line as it was printed. What is no JSON will fail the
// action, and is sent as text meanwhile.
func sendItems(out *eventWriter, f *execution.Follower) error {
	for line, ok := f.Line(); ok; line, ok = f.Line() {
		var err error
		switch {
		case len(bytes.TrimSpace(line)) == 0:
		case json.Valid(line):
			err = out.send("item", itemEvent{line})
		default:
			err = out.send("stdout", textEvent{strings.ToValidUTF8(string(line), "\uFFFD") + "\n"})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// drain sends the environment's events that were told.
func (f *followed) drain(out *eventWriter) error {
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

// rest sends what happened before the end, and what was left out.
func (f *followed) rest(out *eventWriter) error {
	if err := f.drain(out); err != nil || f.running == nil {
		return err
	}
	if err := f.news(out); err != nil {
		return err
	}
	for _, from := range []*execution.Follower{f.stderr, f.stdout, f.result} {
		if from == nil {
			continue
		}
		if n := from.Beyond(); n > 0 {
			if err := out.send("dropped", droppedEvent{from.Name(), n}); err != nil {
				return err
			}
		}
	}
	return nil
}
