package runtimes

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/runtimes/agent/wire"
)

// workerRig is a running worker and the gateway's end of its socket.
type workerRig struct {
	conn net.Conn
	dir  string // of handlers
	ends bool   // by itself, in whatever way
	raw  *os.File
}

// answer is all that comes of a call.
type answer struct {
	Kind           wire.WorkerType
	Data           string // of a result or text
	Failure        string // "type: message"
	Stdout, Stderr string
	Items          []string

	trace string
}

func startWorker(t *testing.T, env []string, argv ...string) *workerRig {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	raw, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r := &workerRig{conn: conn, dir: t.TempDir(), raw: raw}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.ExtraFiles = r.dir, append(env, "PATH=/usr/bin:/bin"), []*os.File{theirs}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	w.Close()
	t.Cleanup(func() {
		conn.Close()
		if err := cmd.Wait(); err != nil && !t.Failed() && !r.ends {
			t.Errorf("the worker's end: %v", err)
		}
		raw.Close()
	})
	if kind, data := r.frame(t); kind != wire.WorkerReady || len(data) != 0 {
		t.Fatalf("the worker says %d %q, want ready", kind, data)
	}
	return r
}

// frame reads one; kind 0 is the worker's end.
func (r *workerRig) frame(t *testing.T) (wire.WorkerType, string) {
	t.Helper()
	r.conn.SetReadDeadline(time.Now().Add(20 * time.Second)) // a worker that hangs fails the test
	var head [wire.WorkerHeaderSize]byte
	if _, err := io.ReadFull(r.conn, head[:]); err == io.EOF {
		return 0, ""
	} else if err != nil {
		t.Fatalf("read from the worker: %v", err)
	}
	data := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(r.conn, data); err != nil {
		t.Fatalf("read from the worker: %v", err)
	}
	return wire.WorkerType(head[4]), string(data)
}

func (r *workerRig) call(t *testing.T, file, params string) answer {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"id": "x1", "action": "p.a", "pack": "p", "file": filepath.Join(r.dir, file), "secrets": []string{"token", "absent"},
		"deadline": float64(time.Now().Add(time.Hour).UnixMicro()) / 1e6, "parameters": json.RawMessage(params),
	})
	if err != nil {
		t.Fatal(err)
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(len(text)))
	if _, err := r.conn.Write(append(append(b, byte(wire.WorkerCall)), text...)); err != nil {
		t.Fatal(err)
	}
	var a answer
	for {
		kind, data := r.frame(t)
		switch a.Kind = kind; kind {
		case wire.WorkerStdout:
			a.Stdout += data
		case wire.WorkerStderr:
			a.Stderr += data
		case wire.WorkerItem:
			a.Items = append(a.Items, data)
		case wire.WorkerFailure:
			var f struct{ Type, Message, Traceback string }
			if err := json.Unmarshal([]byte(data), &f); err != nil || len(data) > wire.MaxFailure {
				t.Fatalf("failure of %d bytes: %v", len(data), err)
			}
			a.Failure, a.trace = f.Type+": "+f.Message, f.Traceback
			return a
		default:
			a.Data = data
			return a
		}
		if (kind == wire.WorkerStdout || kind == wire.WorkerStderr) && (len(data) == 0 || len(data) > wire.MaxChunk) {
			t.Fatalf("output of %d bytes", len(data))
		}
	}
}

// silent checks that nothing comes between calls.
func (r *workerRig) silent(t *testing.T) {
	t.Helper()
	r.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := r.conn.Read(make([]byte, 1)); n > 0 || err == io.EOF {
		t.Fatalf("between calls the worker says something, or ends: %v", err)
	}
}

// handlerTest is a handler, and what comes of it twice in a row.
type handlerTest struct {
	file, text string // no text = no such file
	params     string // empty = {}
	want       answer
	trace      string // must be in the traceback
	ends       bool   // the worker, that is
}

// handlers runs each in a worker that all of them share, so that one that
// leaves it in a bad way makes the others fail.
func handlers(t *testing.T, start func() *workerRig, good, goodText string, tests map[string]handlerTest) {
	shared := start()
	writeFile(t, filepath.Join(shared.dir, good), goodText, 0o644)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := shared
			if test.ends {
				r = start()
				r.ends = true
			}
			if test.text != "" {
				if err := os.MkdirAll(filepath.Join(r.dir, filepath.Dir(test.file)), 0o755); err != nil {
					t.Fatal(err)
				}
				writeFile(t, filepath.Join(r.dir, test.file), test.text, 0o644)
			}
			if test.params == "" {
				test.params = "{}"
			}
			for range 2 {
				got := r.call(t, test.file, test.params)
				if !strings.Contains(got.trace, test.trace) || strings.Contains(got.trace, "worker.") {
					t.Errorf("the traceback is\n%s\nwant %q in it, and nothing of the worker", got.trace, test.trace)
				}
				got.trace = ""
				if strings.HasSuffix(test.want.Failure, "...") && strings.HasPrefix(got.Failure, strings.TrimSuffix(test.want.Failure, "...")) {
					got.Failure = test.want.Failure
				}
				if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(answer{})); diff != "" {
					t.Fatalf("a call (-want +got):\n%s", diff)
				}
				if test.ends {
					if kind, data := r.frame(t); kind != 0 {
						t.Errorf("the worker says %d %q, want its end", kind, data)
					}
					return
				}
				want := answer{Kind: wire.WorkerResult, Data: `{"twice":42}`}
				if diff := cmp.Diff(want, r.call(t, good, `{"n":21}`), cmp.AllowUnexported(answer{})); diff != "" {
					t.Fatalf("the call afterwards (-want +got):\n%s", diff)
				}
			}
			if !test.ends {
				r.silent(t)
			}
		})
	}
}

func result(text string) answer  { return answer{Kind: wire.WorkerResult, Data: text} }
func failed(text string) answer  { return answer{Kind: wire.WorkerFailure, Failure: text} }
func textual(text string) answer { return answer{Kind: wire.WorkerText, Data: text} }
