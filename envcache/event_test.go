package envcache

import (
	"slices"
	"testing"
)

func TestSubscriptions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	told := newEvents()
	g := newGate(t)
	c := r.gateway(t, func(o *Options) { o.Events = told.take })
	recipe := r.recipe(t, g.wait())
	stranger := c.Subscribe("other", "sh")
	defer stranger.Close()
	c.Plan([]*Recipe{recipe})
	told.await(t, waiting)
	late := c.Subscribe("demo", "sh") // sees what has happened
	g.open(t)
	var phases []Phase
	var lines []string
	for e := range late.Events {
		if e.Line != "" {
			lines = append(lines, e.Line)
		} else {
			phases = append(phases, e.Phase)
		}
		if e.Phase.Ended() {
			late.Close()
		}
	}
	late.Close() // twice is once
	if want := []Phase{PhaseCreate, PhaseInstall, PhaseVerify, PhasePublish, PhasePublished}; !slices.Equal(phases, want) {
		t.Errorf("phases = %v, want %v", phases, want)
	}
	if !slices.Contains(lines, "waiting") {
		t.Errorf("lines = %q", lines)
	}
	if len(stranger.events) > 0 {
		t.Error("a subscriber of another environment was told")
	}
	again := c.Subscribe("demo", "sh")
	if len(again.events) > 0 {
		t.Error("a build that has ended is told again")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, open := <-again.Events; open {
		t.Error("the subscription outlives the cache")
	}
}

// A slow subscriber loses lines, and no end.
func TestSlowSubscriberHearsTheEnd(t *testing.T) {
	t.Parallel()
	h := newHub()
	s := h.join("demo", "sh")
	for range 3 * backlog {
		h.tell(Event{Pack: "demo", Runtime: "sh", Phase: PhaseInstall, Line: "x"})
	}
	h.tell(Event{Pack: "demo", Runtime: "sh", Phase: PhasePublished})
	h.close()
	var last Event
	count := 0
	for e := range s.Events {
		last, count = e, count+1
	}
	if last.Phase != PhasePublished || count > backlog {
		t.Errorf("the last of %d events is %+v", count, last)
	}
}
