package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/pack"
)

// asked is one call of one action that was checked as far as it can be without
// the action.
type asked struct {
	action   *pack.Action
	request  execution.Request
	media    string // of the answer
	events   string // media type of a stream of events; empty = the caller prefers the answer
	stream   bool   // the answer as it is made
	async    bool   // by the queue
	prefer   preferences
	late     lateness
	callback string // where the result goes, too; empty = nowhere else
}

// fingerprint is what two calls under one key must have in common.
func (a *asked) fingerprint() []byte {
	if !a.async {
		return a.request.Body
	}
	return append(bytes.Clone(a.request.Body), "\x00async "+a.callback...)
}

// invoke runs an action by its ref, with the body as its parameters.
func (s *Server) invoke(c *fiber.Ctx, call *call) error {
	ref, err := pack.ParseActionRef(c.Params("ref"))
	if err != nil {
		return refuse(execution.CodeInvalidRef, actionGrammar)
	}
	asked, err := s.ask(c, call, ref)
	if err != nil {
		return err
	}
	if asked.request.Body, err = parameters(c); err != nil {
		return err
	}
	return s.perform(c, call, asked)
}

// perform runs an action, or gives it to the queue, and answers in the way that
// was asked for.
func (s *Server) perform(c *fiber.Ctx, call *call, asked *asked) error {
	answer, err := s.claim(c, call, asked)
	switch {
	case err != nil:
		return err
	case answer != nil:
		return s.replay(c, call, answer, asked.events)
	case asked.async:
		return s.invokeAsync(c, call, asked)
	case asked.events != "":
		return s.invokeStream(c, call, asked.request, asked.events, asked.action.OutputFormat)
	case asked.stream:
		return s.invokeBody(c, call, asked.request, asked.media)
	}
	ctx, release := s.audience(c, call)
	defer release()
	outcome, err := s.run(ctx, call, asked.request)
	switch {
	case outcome != nil && outcome.Execution != nil:
		return s.answerOutcome(c, call, outcome, cutOff(ctx, err))
	case err != nil:
		return cutOff(ctx, err)
	}
	return fmt.Errorf("invoke %s: neither an execution nor an error", asked.request.Action)
}

// cutOff tells a call that Shutdown cancelled from one whose client left: there
// is somebody to tell. The invoker sees a cancelled context either way.
func cutOff(ctx context.Context, err error) error {
	var failure *execution.Error
	if !errors.Is(context.Cause(ctx), errDrained) || !errors.As(err, &failure) || failure.Code != execution.CodeCancelled {
		return err
	}
	stopped := *failure
	stopped.Code, stopped.Component, stopped.Reason = execution.CodeDraining, "gateway", "the gateway stopped before the call had ended"
	stopped.Retryable, stopped.RetryAfter = !failure.Started, time.Second
	return &stopped
}

// ask checks everything about a call of an action but its parameters.
func (s *Server) ask(c *fiber.Ctx, call *call, ref pack.ActionRef) (*asked, error) {
	header, name := &c.Request().Header, ref.String()
	if err := s.allow(call, key.Invoke, name); err != nil {
		return nil, err
	}
	callback, err := s.callbackURL(c)
	if err != nil {
		return nil, err
	}
	if _, err := s.idempotencyKey(c); err != nil {
		return nil, err
	}
	timeout, err := callerTimeout(call.query)
	if err != nil {
		return nil, err
	}
	action, err := s.callable(ref)
	if err != nil {
		return nil, err
	}
	call.action, call.called = action, name
	if err := s.spend(c.Context(), "action", name, action.Rate); err != nil {
		return nil, err
	}
	if action.Runtime.HasEnvironment() {
		call.environment = environmentPath(string(ref.Pack), action.Runtime.Name)
	}
	asked := &asked{action: action, media: execution.MediaType(action.OutputFormat), callback: callback}
	if asked.prefer, err = readPreferences(header); err != nil {
		return nil, err
	}
	if err := asked.negotiate(c, call); err != nil {
		return nil, err
	}
	asked.request = execution.Request{
		ID: s.NewID(), Action: name, Timeout: timeout, Arrived: call.arrived, Trace: call.trace.Parent, TraceState: call.trace.State,
	}
	return asked, nil
}

// negotiate finds the form of the answer.
func (a *asked) negotiate(c *fiber.Ctx, call *call) error {
	stream, err := flag(call.query, "stream")
	if err != nil {
		return err
	}
	a.stream = stream
	var events string
	if c.Method() != fiber.MethodHead { // which has no room for them
		events, _ = wantsEvents(c, a.media)
	}
	switch {
	case a.callback != "" && (stream || events != ""):
		return refuse(codeInvalidHeader, headerCallback+" is for a call that nobody waits for: it has no events and no stream")
	case a.callback != "":
		a.async, a.media = true, fiber.MIMEApplicationJSON
		a.prefer.wait = 0 // the result goes elsewhere
	case events == "" && !stream:
		a.async = a.prefer.any() // what comes as it happens is waited for
	}
	if a.late, err = readLateness(call.query, a.async); err != nil {
		return err
	}
	if events != "" {
		a.events = events
		return streamable(c)
	}
	if !(call.envelope && !a.async) && !accepts(&c.Request().Header, a.media) { // an envelope has any media type
		return refuse(codeNotAcceptable, "the action's answer is "+a.media+", its events are "+mediaEvents+" or "+mediaLines)
	}
	if !stream {
		return nil
	}
	if format := a.action.OutputFormat; format != pack.FormatText && format != pack.FormatJSONL {
		return refuse(codeInvalidQuery, "only the output of text and jsonl actions can be streamed; of others there are events")
	}
	return streamable(c)
}

// parameters reads the body of a call, or the data of an event.
func parameters(c *fiber.Ctx) ([]byte, error) {
	body := c.Request().Body() // as sent: fiber's Body would unpack it
	data, isEvent, err := eventData(&c.Request().Header, body)
	if err != nil {
		return nil, err
	}
	if isEvent {
		return bytes.Clone(data), nil
	}
	if err := checkBodyHeaders(&c.Request().Header, len(body)); err != nil {
		return nil, err
	}
	return bytes.Clone(body), nil
}

// callable finds an action that may run.
func (s *Server) callable(ref pack.ActionRef) (*pack.Action, error) {
	catalog := s.Catalog()
	if _, broken := catalog.BrokenPack(ref.Pack); broken {
		return nil, refuse(execution.CodeNotFound, "the pack has faults, which /api/v1/packs/"+string(ref.Pack)+" lists")
	}
	action, ok := catalog.Action(ref)
	if !ok {
		return nil, refuse(execution.CodeNotFound, noAction)
	}
	if !action.Enabled {
		return nil, refuse(execution.CodeNotFound, "the action is disabled")
	}
	if p, ok := catalog.Pack(ref.Pack); !ok || !p.Enabled {
		return nil, refuse(execution.CodeNotFound, "the action's pack is disabled")
	}
	return action, nil
}

// serverTiming says in a browser's words where the time went.
func serverTiming(auth time.Duration, t execution.Timing) string {
	var buffer [160]byte
	text := buffer[:0]
	for _, part := range [...]struct {
		name string
		ms   float64
	}{{"auth;dur=", float64(auth) / float64(time.Millisecond)}, {", validate;dur=", t.Validate}, {", queue;dur=", t.Queue}, {", environment;dur=", t.Environment}, {", start;dur=", t.Start}, {", run;dur=", t.Run}} {
		us := max(0, int64(math.Round(part.ms*1000)))
		text = strconv.AppendInt(append(text, part.name...), us/1000, 10)
		text = append(text, '.', byte('0'+us/100%10), byte('0'+us/10%10), byte('0'+us%10))
	}
	return string(text)
}
