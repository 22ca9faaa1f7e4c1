package api

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/valyala/fasthttp"

	"attune/gateway/execution"
	"attune/gateway/limit"
)

// spend takes a request from the bucket that something has under a policy, and
// tells the client how that stands, in the fields of
// draft-ietf-httpapi-ratelimit-headers.
func (s *Server) spend(ctx *fasthttp.RequestCtx, policy, of string, rate limit.Rate) error {
	if rate.IsZero() {
		return nil
	}
	state, err := s.Limiter.Take(s.base, policy+":"+of, rate)
	if err != nil { // better too many than none
		s.Logger.Warn("limit a rate", slog.Any("error", err))
		return nil
	}
	header := &ctx.Response.Header
	header.Add("RateLimit-Policy", fmt.Sprintf("%q;q=%d;w=%d", policy, rate.Limit, wholeSeconds(rate.Per)))
	header.Add("RateLimit", fmt.Sprintf("%q;r=%d;t=%d", policy, state.Remaining, wholeSeconds(state.Reset)))
	if state.Allowed {
		return nil
	}
	return refuseForNow(codeRateLimited, overRate[policy], state.RetryAfter)
}

// overRate says which bucket is empty.
var overRate = map[string]string{
	"key":    "the API key has asked more often than its rate allows",
	"quota":  "the API key's quota is used up for now",
	"action": "the action is called more often than its rate allows",
}

func wholeSeconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }

// invokeWithin invokes while the action and the key have a place for another call
// on this gateway.
func (s *Server) invokeWithin(ctx context.Context, call *call, request execution.Request) (*execution.Outcome, error) {
	if a := call.action; a != nil && a.MaxConcurrency > 0 {
		leave, after, ok := s.slots.Enter("action:"+request.Action, a.MaxConcurrency)
		if !ok {
			return nil, refuseForNow(codeRateLimited, "as many calls of the action run as may at once", after)
		}
		defer leave()
	}
	if k := call.key; k != nil && k.MaxConcurrent > 0 {
		leave, after, ok := s.slots.Enter("key:"+k.ID, k.MaxConcurrent)
		if !ok {
			return nil, refuseForNow(codeRateLimited, "as many calls of the API key run as may at once", after)
		}
		defer leave()
	}
	return s.Invoker.Invoke(ctx, request)
}
