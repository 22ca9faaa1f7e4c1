package main

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/envcache"
)

const eraseOne = "\x1b[1A\x1b[J"

// newTestDisplay logs without times, so that output can be compared.
func newTestDisplay(width func() int) (*display, *bytes.Buffer) {
	var out bytes.Buffer
	d := newDisplay(&out, width)
	handler := newLogger(noTime{d}, LogConfig{Level: "info", Format: "human"}, width != nil, false)
	d.logTo(handler)
	return d, &out
}

// noTime cuts the time off each line.
type noTime struct{ d *display }

func (w noTime) Write(line []byte) (int, error) {
	_, err := w.d.Write(line[9:])
	return len(line), err
}

func TestDisplayOnATerminal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, out := newTestDisplay(func() int { return 50 })
		defer d.Close()
		step := func(want string) {
			t.Helper()
			synctest.Wait()
			d.mu.Lock() // the clock of the display writes, too
			defer d.mu.Unlock()
			if diff := cmp.Diff(want, out.String()); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
			out.Reset()
		}
		event := envcache.Event{Pack: "p", Runtime: "python", Phase: envcache.PhaseInstall}
		d.Show(event)
		step("  building p/python  0s  install  \n")

		// Output of the installer is cut to the screen and made harmless.
		event.Line = "Collecting \x1b[2Jsomething with a very long name"
		d.Show(event)
		step(eraseOne + "  building p/python  0s  install  Collecting [2J…\n")

		// The clock goes on although the installer is quiet.
		time.Sleep(time.Second)
		step(eraseOne + "  building p/python  1s  install  Collecting [2J…\n")

		// The log appears above the live line.
		if _, err := d.Write([]byte("log\n")); err != nil {
			t.Error(err)
		}
		step(eraseOne + "log\n  building p/python  1s  install  Collecting [2J…\n")

		d.Show(envcache.Event{Pack: "p", Runtime: "python", Phase: envcache.PhasePublished, Elapsed: 2 * time.Second})
		step(eraseOne + "INFO  environment is ready  environment=p/python elapsed=2s\n")

		time.Sleep(time.Minute)
		step("")
	})
}

// Ensure there are no escape codes and no live lines without a terminal.
func TestDisplayWithoutATerminal(t *testing.T) {
	t.Parallel()
	d, out := newTestDisplay(nil)
	defer d.Close()
	for _, event := range []envcache.Event{
		{Phase: envcache.PhaseCreate}, {Phase: envcache.PhaseInstall, Line: "Collecting"},
		{Phase: envcache.PhaseFailed, Err: errors.New("exit code 1"), Elapsed: time.Second},
	} {
		event.Pack, event.Runtime = "p", "node"
		d.Show(event)
	}
	want := "INFO  environment is being built  environment=p/node elapsed=0s phase=create\n" +
		"WARN  environment failed  environment=p/node elapsed=1s error=\"exit code 1\"\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

// Ensure nothing is torn or stuck when everybody writes at once.
func TestDisplayConcurrently(t *testing.T) {
	t.Parallel()
	d, out := newTestDisplay(func() int { return 80 })
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			event := envcache.Event{Pack: "p" + strconv.Itoa(i), Runtime: "python", Phase: envcache.PhaseInstall}
			for range 50 {
				event.Line = "line"
				d.Show(event)
				if _, err := d.Write([]byte("log\n")); err != nil {
					t.Error(err)
				}
			}
			event.Phase, event.Line = envcache.PhasePublished, ""
			d.Show(event)
		})
	}
	all.Wait()
	d.Close()
	if got := strings.Count(out.String(), "log\n"); got != 8*50 {
		t.Errorf("%d lines of log; want %d", got, 8*50)
	}
	if len(d.live) != 0 || d.drawn != 0 {
		t.Errorf("%d builds and %d lines are left", len(d.live), d.drawn)
	}
}

// Ensure a log of JSON stays one document per line, even on a terminal.
func TestConsole(t *testing.T) {
	t.Parallel()
	event := envcache.Event{Pack: "p", Runtime: "node", Phase: envcache.PhaseInstall}
	for _, test := range []struct {
		format string
		width  func() int
		want   string
	}{
		{"auto", nil, `"msg":"environment is being built","environment":"p/node"`},
		{"json", func() int { return 80 }, `"msg":"environment is being built","environment":"p/node"`},
		{"auto", func() int { return 80 }, "  building p/node  0s  install  \n"},
	} {
		var out bytes.Buffer
		d, _ := (&program{Stderr: &out, StderrWidth: test.width}).console(LogConfig{Level: "info", Format: test.format})
		d.Show(event)
		d.Close()
		live := strings.Contains(out.String(), "\x1b")
		if !strings.Contains(out.String(), test.want) || live != strings.HasPrefix(test.want, "  ") {
			t.Errorf("console with %s = %q; want %q", test.format, out.String(), test.want)
		}
	}
}
