package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/envcache"
)

func TestChecklist(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		list := newChecklist(&out, func() int { return 40 }, false)
		erased := 0
		step := func(want string) {
			t.Helper()
			synctest.Wait()
			list.mu.Lock()
			defer list.mu.Unlock()
			if erased > 0 {
				want = "\x1b[" + string(rune('0'+erased)) + "A\x1b[J" + want
			}
			if diff := cmp.Diff(want, out.String()); diff != "" {
				t.Errorf("screen (-want +got):\n%s", diff)
			}
			out.Reset()
			erased = strings.Count(want, "\n")
		}
		list.event(buildEvent{Phase: envcache.PhaseQueued})
		step("  › queued   0s\n  · create\n  · install\n  · verify\n  · publish\n")
		list.event(buildEvent{Phase: envcache.PhaseCreate, ElapsedMS: 1500})
		step("  ✓ queued   1.5 s\n  › create   0s\n  · install\n  · verify\n  · publish\n")
		list.event(buildEvent{Phase: envcache.PhaseInstall, ElapsedMS: 1700})
		step("  ✓ queued   1.5 s\n  ✓ create   0.2 s\n  › install  0s\n  · verify\n  · publish\n")
		list.event(buildEvent{Phase: envcache.PhaseInstall, Line: "Collecting \x1b[2Jsomething with a very long name", ElapsedMS: 1800})
		step("  ✓ queued   1.5 s\n  ✓ create   0.2 s\n  › install  0s\n      Collecting [2Jsomething with a v…\n  · verify\n  · publish\n")
		// The clock goes on although the installer is quiet.
		time.Sleep(time.Second)
		step("  ✓ queued   1.5 s\n  ✓ create   0.2 s\n  › install  1s\n      Collecting [2Jsomething with a v…\n  · verify\n  · publish\n")
		list.event(buildEvent{Phase: envcache.PhaseVerify, ElapsedMS: 3000})
		step("  ✓ queued   1.5 s\n  ✓ create   0.2 s\n  ✓ install  1.3 s\n  › verify   0s\n  · publish\n")
		list.event(buildEvent{Phase: envcache.PhaseFailed, ElapsedMS: 3100})
		step("  ✓ queued   1.5 s\n  ✓ create   0.2 s\n  ✓ install  1.3 s\n  › verify   0s\n  · publish\n")
		list.end(false)
		step("  ✓ queued   1.5 s\n  ✓ create   0.2 s\n  ✓ install  1.3 s\n  ✗ verify   0.1 s\n")
		time.Sleep(time.Minute)
		if out.Len() > 0 || list.screen.drawn != 0 {
			t.Errorf("after the end: %q, %d lines to erase", out.String(), list.screen.drawn)
		}
	})
}

// Ensure the whole of a build shows on a terminal, and what is left at its end.
func TestEnvBuildOnATerminal(t *testing.T) {
	t.Parallel()
	gateway := newFakeGateway(t, map[string][]canned{
		"POST " + envA + "/build": {{status: 202, body: stateBuilding}},
		"GET " + envA + "/events": {sse("state", stateBuilding, "phase", phaseInstall, "log", lineInstall, "phase", phasePublished, "state", stateReady)},
	})
	got := runProgram(t, onTerminal(), "env", "build", "a", "python", "--url", gateway.URL)
	if got.Code != exitOK || got.Stdout != "ready in 3.1 s, 2 packages, 34.0 MiB\n" {
		t.Errorf("env build = %+v", got)
	}
	screens := strings.Split(got.Stderr, "\x1b[J")
	if last := screens[len(screens)-1]; last != "  ✓ create\n  ✓ install  3.0 s\n" {
		t.Errorf("what is left of the checklist = %q", last)
	}
	if !strings.Contains(got.Stderr, "      Collecting [31midna\n") {
		t.Errorf("the installer's output is not shown:\n%q", got.Stderr)
	}
	var copied bytes.Buffer
	list := newChecklist(&copied, func() int { return 40 }, false)
	list.event(buildEvent{Phase: envcache.PhaseCopy})
	list.event(buildEvent{Phase: envcache.PhasePublish, ElapsedMS: 200})
	list.end(true)
	if got := copied.String(); strings.Contains(got[strings.LastIndex(got, "\x1b[J"):], "install") || !strings.Contains(got, "✓ copy     0.2 s") {
		t.Errorf("a copy on the checklist = %q", got)
	}
	var out bytes.Buffer
	coloured := newChecklist(&out, func() int { return 40 }, true)
	coloured.event(buildEvent{Phase: envcache.PhaseCreate})
	coloured.end(true)
	if !strings.HasSuffix(out.String(), "\x1b[32m  ✓ create   0.0 s\x1b[0m\n") {
		t.Errorf("with colours = %q", out.String())
	}
}
