package agent

import (
	"encoding/binary"
	"strings"
	"testing"

	"attune/runtimes/agent/wire"
)

// TestItemsAreApartFromOutput calls a worker that prints between the values that
// it gives, and gives more than there is room for.
func TestItemsAreApartFromOutput(t *testing.T) {
	t.Parallel()
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	w := newWorker(&Conn{}, ours)
	defer ours.Close()
	answered := make(chan error, 1)
	go func() {
		_, err := theirs.Read(make([]byte, 4<<10)) // the call
		var b []byte
		for _, f := range []struct {
			kind wire.WorkerType
			data string
		}{
			{wire.WorkerItem, "[1,\n2]"}, {wire.WorkerStdout, "{}\n"}, {wire.WorkerItem, `"` + strings.Repeat("x", 10<<10) + `"`},
			{wire.WorkerStderr, "why\n"}, {wire.WorkerResult, "null"},
		} {
			b = append(append(binary.BigEndian.AppendUint32(b, uint32(len(f.data))), byte(f.kind)), f.data...)
		}
		if err == nil {
			_, err = theirs.Write(b)
		}
		answered <- err
	}()
	var stdout, stderr, items strings.Builder
	reply, err := w.Call(t.Context(),
		Call{ResultLimit: 10, StdoutLimit: 10, StderrLimit: 10, ItemsLimit: 10},
		Output{Stdout: &stdout, Stderr: &stderr, Items: &items})
	if err != nil || string(reply.Result) != "null" {
		t.Fatalf("Call() = %+v, %v", reply, err)
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if stdout.String() != "{}\n" || stderr.String() != "why\n" || items.String() != "[1, 2]\n\"xx" {
		t.Errorf("stdout %q, stderr %q, items %q", stdout.String(), stderr.String(), items.String())
	}
	if want := int64(10 << 10); reply.ItemsDropped != want || reply.StdoutDropped+reply.StderrDropped != 0 {
		t.Errorf("%d bytes of items dropped, %d and %d of output; want %d", reply.ItemsDropped, reply.StdoutDropped, reply.StderrDropped, want)
	}
}
