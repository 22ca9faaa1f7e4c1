package agent_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"attune/runtimes/agent"
	"attune/runtimes/agent/wire"
)

func workerFrame(kind wire.WorkerType, payload string) []byte {
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(payload))), byte(kind)), payload...)
}

// socketPair is a gateway's and a worker's end.
func socketPair(t testing.TB) (ours, theirs *net.UnixConn) {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for n, fd := range pair {
		file := os.NewFile(uintptr(fd), "worker")
		conn, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[n] = conn.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

// FuzzWorkerOutput gives a call whatever a worker might say.
func FuzzWorkerOutput(f *testing.F) {
	result := workerFrame(wire.WorkerResult, `{"a":1}`)
	f.Add(result)
	f.Add(append(workerFrame(wire.WorkerStdout, "out"), append(workerFrame(wire.WorkerStderr, "err"), result...)...))
	f.Add(append(workerFrame(wire.WorkerItem, "[1,\n2]"), workerFrame(wire.WorkerText, "text")...))
	f.Add(workerFrame(wire.WorkerFailure, `{"type":"T","message":"m","traceback":"t"}`))
	f.Add(append(result, result...))
	f.Add([]byte{255, 255, 255, 255, byte(wire.WorkerResult)})
	f.Add([]byte{0, 1, 0, 0, byte(wire.WorkerStdout), 'x'})
	f.Add(workerFrame(wire.WorkerText, "\xff"))
	f.Fuzz(func(t *testing.T, says []byte) {
		ours, theirs := socketPair(t)
		defer ours.Close()
		w := agent.NewWorkerOver(ours)
		go func() {
			theirs.Read(make([]byte, 512)) // the call
			theirs.Write(says)
			theirs.Close()
		}()
		var out limited
		c := agent.Call{ResultLimit: 100, StdoutLimit: 50, StderrLimit: 50, Deadline: time.Now().Add(5 * time.Second)}
		for range 2 { // what is said beyond the reply must not be the next one's
			reply, err := w.Call(context.Background(), c, agent.Output{Stdout: &out, Stderr: &out})
			if out > 200 {
				t.Fatalf("%d bytes of output, at most 200 allowed", out)
			}
			if err == nil {
				checkReply(t, reply)
				continue
			}
			if !errors.Is(err, agent.ErrLost) && !errors.Is(err, agent.ErrTooLarge) && !errors.Is(err, agent.ErrNotStarted) || len(reply.Result) > 0 {
				t.Errorf("Call() = %+v, %v", reply, err)
			}
		}
	})
}

func checkReply(t *testing.T, r agent.Reply) {
	t.Helper()
	switch {
	case len(r.Result) > 100, r.StdoutDropped < 0, r.StderrDropped < 0, r.Failure != nil && r.Result != nil:
		t.Errorf("Call() = %+v", r)
	case r.Failure == nil && !r.Text && !json.Valid(r.Result):
		t.Errorf("Call() = %q, no JSON", r.Result)
	case r.Failure != nil && (len(r.Failure.Type) > 3*256 || len(r.Failure.Message) > 3*4<<10 || len(r.Failure.Traceback) > 3*32<<10):
		t.Errorf("Call() = a failure of %d, %d, %d bytes", len(r.Failure.Type), len(r.Failure.Message), len(r.Failure.Traceback))
	}
}
