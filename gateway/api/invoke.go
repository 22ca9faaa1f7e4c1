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
	"github.com/valyala/fasthttp"

	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/pack"
)

// invoke runs an action and answers with its result, or with what happens on the
// way there, where the caller prefers events.
func (s *Server) invoke(c *fiber.Ctx, call *call) error {
	request, action, err := s.request(c, call)
	if err != nil {
		return err
	}
	stream, err := flag(call.query, "stream")
	if err != nil {
		return err
	}
	prefer, err := readPreferences(&c.Request().Header)
	if err != nil {
		return err
	}
	media := execution.MediaType(action.OutputFormat)
	form, events := wantsEvents(c, media)
	async := prefer.any() && !events && !stream // what comes as it happens is waited for
	late, err := readLateness(call.query, async)
	if err != nil {
		return err
	}
	if events {
		if err := streamable(c); err != nil {
			return err
		}
		return s.invokeStream(c, call, request, form, action.OutputFormat)
	}
	if stream {
		if action.OutputFormat != pack.FormatText && action.OutputFormat != pack.FormatJSONL {
			return refuse(codeInvalidQuery, "only the output of text and jsonl actions can be streamed; of others there are events")
		}
		if err := streamable(c); err != nil {
			return err
		}
		return s.invokeBody(c, call, request, media)
	}
	if async {
		return s.invokeAsync(c, call, late.job(request, call.caller), prefer)
	}
	ctx, release := s.watch(c.Context().Conn())
	defer release()
	outcome, err := s.invokeWithin(ctx, call, request)
	switch {
	case outcome != nil && outcome.Execution != nil:
		return s.answerOutcome(c, call, outcome, cutOff(ctx, err))
	case err != nil:
		return cutOff(ctx, err)
	}
	return fmt.Errorf("invoke %s: neither an execution nor an error", request.Action)
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

// request checks everything about a call that does not need the action to run.
func (s *Server) request(c *fiber.Ctx, call *call) (execution.Request, *pack.Action, error) {
	var none execution.Request
	header := &c.Request().Header
	ref, err := pack.ParseActionRef(c.Params("ref"))
	if err != nil {
		return none, nil, refuse(execution.CodeInvalidRef, actionGrammar)
	}
	name := ref.String()
	if err := s.allow(call, key.Invoke, name); err != nil {
		return none, nil, err
	}
	if err := refuseUnsupported(header); err != nil {
		return none, nil, err
	}
	timeout, err := callerTimeout(call.query)
	if err != nil {
		return none, nil, err
	}
	action, err := s.callable(ref)
	if err != nil {
		return none, nil, err
	}
	call.action = action
	if err := s.spend(c.Context(), "action", name, action.Rate); err != nil {
		return none, nil, err
	}
	if action.Runtime.HasEnvironment() {
		call.environment = environmentPath(string(ref.Pack), action.Runtime.Name)
	}
	media := execution.MediaType(action.OutputFormat)
	if _, events := wantsEvents(c, media); !events && !accepts(header, media) {
		return none, nil, refuse(codeNotAcceptable, "the action's result is "+media+", its events are "+mediaEvents+" or "+mediaLines)
	}
	if err := checkBodyHeaders(header, len(c.Request().Body())); err != nil {
		return none, nil, err
	}
	return execution.Request{
		ID:      s.NewID(),
		Action:  name,
		Body:    bytes.Clone(c.Request().Body()), // as sent: fiber's Body would unpack it
		Timeout: timeout,
		Arrived: call.arrived,
	}, action, nil
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

// refuseUnsupported refuses what a caller relies on and would not get. What
// Prefer asks for may be left undone, these may not.
func refuseUnsupported(header *fasthttp.RequestHeader) error {
	for _, name := range [...]string{"Idempotency-Key", "Callback-Url", "Ce-Specversion"} {
		if len(header.PeekAll(name)) > 0 {
			return refuse(codeInvalidHeader, name+" is not supported yet")
		}
	}
	return nil
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
