package trace

import (
	"encoding/hex"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// Names of the process variables with which a program learns of its trace: those
// that OpenTelemetry has given them.
const (
	VarParent = "TRACEPARENT"
	VarState  = "TRACESTATE"
)

// Context is a place in a trace, in the words of W3C Trace Context. The zero
// Context is none.
type Context struct {
	Parent string // traceparent
	State  string // tracestate; empty = none
}

// Parse reads what a caller has sent. What isn't valid is none: the standard has
// a trace begin anew then, not the request fail.
func Parse(parent, state string) Context {
	if !valid(parent) {
		return Context{}
	}
	if state == "" {
		return Context{Parent: parent}
	}
	parsed, err := trace.ParseTraceState(state)
	if err != nil {
		return Context{Parent: parent}
	}
	return Context{Parent: parent, State: parsed.String()}
}

// Lengths of the parts of a traceparent of version 00: version, trace, span and
// flags, with a - between each two.
const (
	traceEnd  = 2 + 1 + 32
	spanEnd   = traceEnd + 1 + 16
	parentLen = spanEnd + 1 + 2
)

// valid tells whether a traceparent is one. Of a later version only the parts are
// read that this one has, and more may follow.
func valid(parent string) bool {
	if len(parent) < parentLen || len(parent) > 256 || parent[2] != '-' || parent[traceEnd] != '-' || parent[spanEnd] != '-' {
		return false
	}
	version := parent[:2]
	if version == "ff" || version == "00" && len(parent) != parentLen || len(parent) > parentLen && parent[parentLen] != '-' {
		return false
	}
	for _, part := range []string{version, parent[3:traceEnd], parent[traceEnd+1 : spanEnd], parent[spanEnd+1 : parentLen]} {
		if strings.Trim(part, "0123456789abcdef") != "" {
			return false
		}
	}
	if strings.ContainsFunc(parent, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return false
	}
	return strings.Trim(parent[3:traceEnd], "0") != "" && strings.Trim(parent[traceEnd+1:spanEnd], "0") != ""
}

// TraceID is the trace's, in hexadecimal; empty if there is none.
func (c Context) TraceID() string {
	if c.Parent == "" {
		return ""
	}
	return c.Parent[3:traceEnd]
}

// Variables tell a program its place: NAME=value.
func (c Context) Variables() []string {
	switch {
	case c.Parent == "":
		return nil
	case c.State == "":
		return []string{VarParent + "=" + c.Parent}
	}
	return []string{VarParent + "=" + c.Parent, VarState + "=" + c.State}
}

// span is the context as OpenTelemetry has it. The context has come from Parse.
func (c Context) span() trace.SpanContext {
	if c.Parent == "" {
		return trace.SpanContext{}
	}
	config := trace.SpanContextConfig{Remote: true}
	ids := func(to []byte, text string) { _, _ = hex.Decode(to, []byte(text)) } // of valid text
	ids(config.TraceID[:], c.Parent[3:traceEnd])
	ids(config.SpanID[:], c.Parent[traceEnd+1:spanEnd])
	var flags [1]byte
	ids(flags[:], c.Parent[spanEnd+1:parentLen])
	config.TraceFlags = trace.TraceFlags(flags[0]) & trace.FlagsSampled
	if state, err := trace.ParseTraceState(c.State); err == nil {
		config.TraceState = state
	}
	return trace.NewSpanContext(config)
}

// contextOf is the reverse of span.
func contextOf(s trace.SpanContext) Context {
	return Context{
		Parent: "00-" + s.TraceID().String() + "-" + s.SpanID().String() + "-" + (s.TraceFlags() & trace.FlagsSampled).String(),
		State:  s.TraceState().String(),
	}
}
