package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Ensure a line is one line whatever is logged, groups are prefixes, and
// nothing reaches the terminal as an escape code.
func TestHumanLog(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		log  func(*slog.Logger)
		want string
	}{
		"message":         {func(l *slog.Logger) { l.Info("ready") }, "INFO  ready\n"},
		"attributes":      {func(l *slog.Logger) { l.Warn("slow", "took", time.Second, "n", 3) }, "WARN  slow  took=1s n=3\n"},
		"odd values":      {func(l *slog.Logger) { l.Error("x", "a", "b c", "e", "", "q", `"`, "k", "a=b") }, `ERROR x  a="b c" e="" q="\"" k="a=b"` + "\n"},
		"hostile value":   {func(l *slog.Logger) { l.Info("x", "v", "\x1b[2J\nINFO forged") }, `INFO  x  v="\x1b[2J\nINFO forged"` + "\n"},
		"hostile message": {func(l *slog.Logger) { l.Info("a\nb") }, `INFO  "a\nb"` + "\n"},
		"error":           {func(l *slog.Logger) { l.Info("x", "error", errors.New("no")) }, "INFO  x  error=no\n"},
		"with":            {func(l *slog.Logger) { l.With("a", 1).Info("x", "b", 2) }, "INFO  x  a=1 b=2\n"},
		"group":           {func(l *slog.Logger) { l.With("a", 1).WithGroup("g").With("b", 2).Info("x", "c", 3) }, "INFO  x  a=1 g.b=2 g.c=3\n"},
		"group value":     {func(l *slog.Logger) { l.Info("x", slog.Group("g", "a", 1), slog.Attr{}) }, "INFO  x  g.a=1\n"},
		"below the level": {func(l *slog.Logger) { l.Debug("x") }, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			test.log(newLogger(&out, LogConfig{Level: "info", Format: "human"}, false, false))
			got := out.String()
			if got != "" {
				if _, err := time.Parse(time.TimeOnly, got[:8]); err != nil {
					t.Errorf("the line begins with no time: %q", got)
				}
				got = got[9:]
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("line (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLogFormat(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		format             string
		terminal, coloured bool
		want               string // part of the line
	}{
		{"auto", false, false, `"msg":"x"`},
		{"auto", true, true, "\x1b[32mINFO \x1b[0m x"},
		{"auto", true, false, "INFO  x"},
		{"json", true, true, `"msg":"x"`},
		{"human", false, false, "INFO  x"},
	} {
		var out strings.Builder
		newLogger(&out, LogConfig{Level: "info", Format: test.format}, test.terminal, test.coloured).Info("x")
		if !strings.Contains(out.String(), test.want) {
			t.Errorf("%+v: %q", test, out.String())
		}
	}
}
