package docker_test

import (
	"bytes"
	"testing"

	"attune/runtimes/container/containertest"
)

// TestFloodOfOutput writes far more than is kept, so that the oldest is lost
// while it is being read; the newest must arrive.
func TestFloodOfOutput(t *testing.T) {
	t.Parallel()
	engine, spec := rig(t)
	c := containertest.Start(t, engine, spec("seq 1 600000"))
	var output bytes.Buffer
	if err := c.Logs(t.Context(), &output); err != nil {
		t.Fatalf("Logs(): %v", err)
	}
	if tail := output.Bytes()[max(0, output.Len()-14):]; string(tail) != "599999\n600000\n" {
		t.Errorf("%d bytes end with %q", output.Len(), tail)
	}
	t.Logf("%d of %d bytes", output.Len(), 4088894)
}
