package api

import (
	"context"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"attune/envcache"
	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/mcp"
	"attune/gateway/pack"
)

// toolCaller is the sender of one message: it sees the actions that it may call.
type toolCaller struct {
	server *Server
	call   *call

	mu sync.Mutex
	id string // of the last execution
}

var _ mcp.Caller = (*toolCaller)(nil)

// Actions implements mcp.Caller.
func (t *toolCaller) Actions() []*pack.Action {
	var mine []*pack.Action
	for _, action := range t.server.Catalog().Actions() {
		if action.Enabled && t.call.may(key.Invoke, action.Ref.String()) {
			mine = append(mine, action)
		}
	}
	return mine
}

// Action implements mcp.Caller. What the caller may not call is not there.
func (t *toolCaller) Action(name string) (*pack.Action, bool) {
	ref, err := pack.ParseActionRef(name)
	if err != nil || !t.call.may(key.Invoke, ref.String()) {
		return nil, false
	}
	action, err := t.server.callable(ref)
	return action, err == nil
}

// Call implements mcp.Caller.
func (t *toolCaller) Call(ctx context.Context, action *pack.Action, arguments []byte, tell func(string)) (*execution.Outcome, *mcp.Failure) {
	own := *t.call // what follows is of this tool
	own.action, own.resource = action, action.Ref.String()
	if action.Runtime.HasEnvironment() {
		own.environment = environmentPath(string(action.Ref.Pack), action.Runtime.Name)
	}
	failed := func(err error) (*execution.Outcome, *mcp.Failure) {
		problem := t.server.problem(&own, cutOff(ctx, err))
		return nil, &mcp.Failure{Problem: problem, Text: problemText(problem)}
	}
	if err := t.server.spend(nil, "action", own.resource, action.Rate); err != nil {
		return failed(err)
	}
	request := execution.Request{ID: t.server.NewID(), Action: own.resource, Body: arguments, Arrived: time.Now()}
	followed := t.server.follow(ctx, &own, request)
	if followed.begun() {
		own.execution = request.ID
		t.note(request.ID)
		if tell != nil {
			followed.narrate(tell)
		}
	}
	<-followed.done
	if err := followed.failure(); err != nil {
		return failed(err)
	}
	return followed.outcome, nil
}

func (t *toolCaller) note(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.id = id
}

// execution is the ID of what was run; empty = nothing.
func (t *toolCaller) execution() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.id
}

// problemText says a problem in words: what is wrong, where, and whether to try
// again.
func problemText(p *Problem) string {
	var text strings.Builder
	text.WriteString(p.Title)
	if p.Detail != "" {
		text.WriteString(": " + p.Detail)
	}
	for _, one := range p.Errors {
		text.WriteString("\n- ")
		if one.Pointer != nil && *one.Pointer != "" {
			text.WriteString(*one.Pointer + " ")
		}
		text.WriteString(one.Detail)
	}
	switch {
	case p.Retryable && !p.Started:
		text.WriteString("\nNothing has run: the same call may be sent again.")
	case p.Retryable:
		text.WriteString("\nThe same call may be sent again.")
	}
	return text.String()
}

// narrate tells what happens until the call is done: the steps of the
// environment's build, the start, and what the program prints on stderr.
func (f *followed) narrate(tell func(string)) {
	told := false
	var stderr *execution.Follower
	if f.running != nil {
		stderr = f.running.Follow(execution.Stderr)
	}
	news := func() {
		if f.running == nil || !f.running.Started() {
			return
		}
		if !told {
			told = true
			for len(f.events) > 0 { // in the order in which it happened
				tell(buildText(<-f.events))
			}
			tell("started")
		}
		for text := stderr.Text(); text != ""; text = stderr.Text() {
			tell(strings.TrimRight(text, "\r\n"))
		}
	}
	for {
		changed := f.changed()
		news()
		select {
		case e := <-f.events:
			tell(buildText(e))
		case <-changed:
		case <-f.done:
			for len(f.events) > 0 {
				tell(buildText(<-f.events))
			}
			news()
			return
		}
	}
}

// buildText says a step of a build in a few words.
func buildText(e envcache.Event) string {
	text := "environment " + e.Pack + "/" + e.Runtime + ": "
	if e.Line == "" {
		return text + string(e.Phase)
	}
	return text + strings.ToValidUTF8(e.Line, string(utf8.RuneError))
}
