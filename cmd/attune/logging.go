package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

// newLogger makes the gateway's log: human on a terminal, JSON otherwise,
// unless the configuration says which.
func newLogger(w io.Writer, config LogConfig, terminal, coloured bool) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(config.Level)); err != nil {
		level = slog.LevelInfo // a checked configuration never gets here
	}
	if config.Format == "human" || (config.Format == "auto" && terminal) {
		return slog.New(&humanHandler{out: w, lock: new(sync.Mutex), level: level, coloured: coloured})
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: legibleDuration}))
}

// legibleDuration writes durations with their unit: a bare number of
// nanoseconds is read as anything.
func legibleDuration(_ []string, attr slog.Attr) slog.Attr {
	if attr.Value.Kind() == slog.KindDuration {
		attr.Value = slog.StringValue(attr.Value.Duration().String())
	}
	return attr
}

// humanHandler writes one line per record for eyes:
//
//	15:04:05 INFO  environment is ready  environment=python_example/python elapsed=3.2s
type humanHandler struct {
	out      io.Writer
	lock     *sync.Mutex // shared by all handlers made of one: a record is one write
	level    slog.Level
	coloured bool
	attrs    string // of With, written out
	group    string // prefix of further keys, "request."
}

var _ slog.Handler = (*humanHandler)(nil)

// Enabled implements slog.Handler.
func (h *humanHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

// Handle implements slog.Handler.
func (h *humanHandler) Handle(_ context.Context, record slog.Record) error {
	var b bytes.Buffer
	if !record.Time.IsZero() {
		b.WriteString(h.paint(dim, record.Time.Format(time.TimeOnly)) + " ")
	}
	b.WriteString(h.paint(levelColour(record.Level), fmt.Sprintf("%-5s", record.Level)) + " ")
	b.WriteString(legible(record.Message, false))
	attrs := h.attrs
	record.Attrs(func(attr slog.Attr) bool {
		attrs += h.attr(h.group, attr)
		return true
	})
	if attrs != "" {
		b.WriteString(" " + attrs)
	}
	b.WriteByte('\n')
	h.lock.Lock()
	defer h.lock.Unlock()
	_, err := h.out.Write(b.Bytes())
	return err
}

// WithAttrs implements slog.Handler.
func (h *humanHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	for _, attr := range attrs {
		next.attrs += h.attr(h.group, attr)
	}
	return &next
}

// WithGroup implements slog.Handler.
func (h *humanHandler) WithGroup(name string) slog.Handler {
	next := *h
	if name != "" {
		next.group += name + "."
	}
	return &next
}

// attr writes " key=value"; a group becomes its members, an empty attribute
// nothing.
func (h *humanHandler) attr(prefix string, attr slog.Attr) string {
	value := attr.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if attr.Key != "" {
			prefix += attr.Key + "."
		}
		var b strings.Builder
		for _, member := range value.Group() {
			b.WriteString(h.attr(prefix, member))
		}
		return b.String()
	}
	if attr.Equal(slog.Attr{}) {
		return ""
	}
	return " " + h.paint(dim, legible(prefix+attr.Key, true)+"=") + legible(value.String(), true)
}

func (h *humanHandler) paint(c colour, text string) string {
	if !h.coloured || c == uncoloured {
		return text
	}
	return string(c) + text + resetColour
}

func levelColour(level slog.Level) colour {
	switch {
	case level >= slog.LevelError:
		return red
	case level >= slog.LevelWarn:
		return yellow
	case level >= slog.LevelInfo:
		return green
	}
	return dim
}

// legible quotes what would make a line ambiguous, or a terminal obey.
func legible(text string, spaces bool) string {
	strange := func(r rune) bool {
		return unicode.IsControl(r) || r == unicode.ReplacementChar || (spaces && (r == ' ' || r == '"' || r == '='))
	}
	if (spaces && text == "") || strings.ContainsFunc(text, strange) {
		return strconv.Quote(text)
	}
	return text
}
