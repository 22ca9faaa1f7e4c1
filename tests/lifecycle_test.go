package tests

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"attune/runtimes/container/containertest"
)

// TestStopLeavesTheBuilderToTheNext: a build outlives an orderly stop, which
// does not wait for it, and is adopted.
func TestStopLeavesTheBuilderToTheNext(t *testing.T) {
	h := newHome(t)
	h.slowPack(t, "handed_over")
	containertest.RequireDocker(t)
	first := h.launch(t, "ATTUNE__BUILD__WAITER=100ms")
	if a := first.invoke(t, "handed_over.run", "{}"); a.status != 503 {
		t.Fatalf("POST /invoke/handed_over.run = %d %s, want a build that goes on", a.status, a.body)
	}
	var builder []string
	eventually(t, 20*time.Second, "the builder runs", func() bool {
		builder = first.containers(t, "label=attune.role=builder", "status=running")
		return len(builder) == 1
	})
	first.stop(t)
	if still := first.containers(t, "label=attune.role=builder"); !slices.Equal(still, builder) {
		t.Errorf("builder %v at the stop, %v after it", builder, still)
	}
	second := h.start(t)
	second.mustInvoke(t, "handed_over.run", "{}")
	if log := second.text(); strings.Contains(log, `"phase":"create"`) {
		t.Errorf("the second gateway began a build of its own:\n%s", log)
	}
	if left := second.containers(t, "label=attune.role=builder"); len(left) > 0 {
		t.Errorf("builders are left: %v", left)
	}
}

// TestKilledGatewayTakesItsExecutionsAlong: an instance whose gateway is gone
// ends by itself, whatever its action does, before any other gateway starts.
func TestKilledGatewayTakesItsExecutionsAlong(t *testing.T) {
	h := newHome(t)
	trouble(t, h)
	containertest.RequireDocker(t)
	g := h.launch(t)
	cutOff := make(chan struct{})
	go func() {
		defer close(cutOff)
		if response, err := http.Post(g.url+"/invoke/trouble.slow", "application/json", strings.NewReader("{}")); err == nil {
			response.Body.Close()
		}
	}()
	eventually(t, 10*time.Second, "the action runs", func() bool { return strings.Contains(top(t, g), "sleep 50") })
	g.kill(t)
	<-cutOff
	eventually(t, 10*time.Second, "the instance ends", func() bool { return len(g.containers(t, "status=running")) == 0 })
	next := h.start(t)
	if left := g.containers(t); len(left) > 0 {
		t.Errorf("the next life left %v of the former", left)
	}
	next.mustInvoke(t, "trouble.fine", "{}")
}

// TestLostInstanceIsReplaced: somebody removes an idle instance, and the next
// call does not notice.
func TestLostInstanceIsReplaced(t *testing.T) {
	h := newHome(t, "shell_example")
	g := h.start(t)
	g.mustInvoke(t, "shell_example.hello", "{}")
	dockerLines(t, append([]string{"rm", "-f"}, g.containers(t)...)...)
	g.mustInvoke(t, "shell_example.hello", "{}")
	if n := len(g.containers(t)); n != 1 {
		t.Errorf("%d instances, want the new one", n)
	}
}
