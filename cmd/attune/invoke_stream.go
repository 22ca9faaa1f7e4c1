package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"attune/envcache"
)

// buildEvent is what the gateway tells of a build.
type buildEvent struct {
	Pack      string         `json:"pack"`
	Runtime   string         `json:"runtime"`
	Digest    string         `json:"digest"`
	Phase     envcache.Phase `json:"phase"`
	Line      string         `json:"line"` // of the installer's output; empty on a change of phase
	ElapsedMS int64          `json:"elapsed_ms"`
	Reason    string         `json:"reason"` // of the phase failed
}

func (e buildEvent) elapsed() time.Duration { return time.Duration(e.ElapsedMS) * time.Millisecond }

// watched is do for a call of an action that shows the build it waits for, and
// what the action prints on stderr. The answer is the same as without.
func (c *client) watched(ctx context.Context, method, path string, body []byte, display *display) (reply, error) {
	stream, answer, err := c.stream(ctx, method, path, eventMedia+", */*;q=0.1", body)
	if err != nil || stream == nil {
		return answer, err
	}
	defer stream.close()
	stderr, logged := &plainLines{out: display}, false
	for {
		e, err := stream.next()
		if err != nil {
			if err := stderr.flush(); err != nil {
				return reply{}, err
			}
			if ctx.Err() != nil {
				return reply{}, c.unreachable(ctx, ctx.Err())
			}
			return reply{}, exitError{exitGateway, fmt.Errorf("the answer of %s broke off: %w", c.base, err)}
		}
		switch e.name {
		case "environment":
			var build buildEvent
			if json.Unmarshal(e.data, &build) == nil { // one that can't be shown is not missed
				display.Show(envcache.Event{
					Pack: build.Pack, Runtime: build.Runtime, Digest: build.Digest,
					Phase: build.Phase, Line: build.Line, Elapsed: build.elapsed(), // why it failed comes with the problem
				})
			}
		case "stderr":
			var piece struct{ Text string }
			if json.Unmarshal(e.data, &piece) == nil {
				logged = true
				if _, err := stderr.Write([]byte(piece.Text)); err != nil {
					return reply{}, err
				}
			}
		case "result", "problem":
			if err := stderr.flush(); err != nil {
				return reply{}, err
			}
			display.Close()
			answer, err := unwrap(e)
			answer.logged = logged
			if err != nil {
				return reply{}, exitError{exitGateway, fmt.Errorf("the answer of %s: %w", c.base, err)}
			}
			return answer, nil
		}
	}
}

// unwrap makes the plain answer of the event that a call ends with.
func unwrap(e event) (reply, error) {
	if e.name == "problem" {
		var p struct {
			Status     int `json:"status"`
			RetryAfter int `json:"retry_after"`
		}
		if err := json.Unmarshal(e.data, &p); err != nil {
			return reply{}, err
		}
		return reply{Status: p.Status, Header: http.Header{"Retry-After": {strconv.Itoa(p.RetryAfter)}}, Body: e.data}, nil
	}
	var result struct {
		MediaType string          `json:"media_type"`
		Encoding  string          `json:"encoding"`
		Result    json.RawMessage `json:"result"`
	}
	if err := json.Unmarshal(e.data, &result); err != nil {
		return reply{}, err
	}
	answer := reply{Status: http.StatusOK, Header: http.Header{"Content-Type": {result.MediaType}}}
	if result.MediaType == "application/json" {
		answer.Body = append(result.Result, '\n') // as the gateway ends it
		return answer, nil
	}
	var text string
	if err := json.Unmarshal(result.Result, &text); err != nil {
		return reply{}, errors.New("a result that is no JSON must come as a string")
	}
	answer.Body = []byte(text)
	if result.Encoding == "base64" {
		var err error
		answer.Body, err = base64.StdEncoding.DecodeString(text)
		return answer, err
	}
	return answer, nil
}
