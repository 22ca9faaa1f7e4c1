package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"attune/runtimes/agent"
)

// call is a call of a handler in testdata/warm, where warmDir is.
func call(file, parameters string) agent.Call {
	return agent.Call{
		ID: "01TEST", Action: "pack.action", Pack: "pack", File: warmDir + "/" + file, Parameters: []byte(parameters),
		Deadline: time.Now().Add(20 * time.Second), ResultLimit: 1 << 20, StdoutLimit: 1 << 20, StderrLimit: 1 << 20, ItemsLimit: 1 << 20,
	}
}

// reply is all that a call gave.
type reply struct {
	agent.Reply
	stdout, stderr, items string
}

func callOf(t *testing.T, w *agent.Worker, c agent.Call) (reply, error) {
	t.Helper()
	stdout, stderr := watched{seen: make(chan struct{}, 1)}, watched{seen: make(chan struct{}, 1)}
	var items strings.Builder
	got, err := w.Call(t.Context(), c, agent.Output{Stdout: &stdout, Stderr: &stderr, Items: &items})
	return reply{got, stdout.String(), stderr.String(), items.String()}, err
}

// It counts the descriptors of this process, so nothing may run beside it.
func TestWorkers(t *testing.T) {
	b := newBench(t)
	t.Run("python", func(t *testing.T) {
		c := b.startWith(t, setting{image: "attune/python"})
		t.Run("calls", c.calls)
		t.Run("ends", c.workerEnds)
		t.Run("no leaks by calls", func(t *testing.T) {
			w := c.worker(t, pythonWorker())
			c.leaks(t, 500, func() {
				if got, err := callOf(t, w, call("handler.py", `{"do":"text"}`)); err != nil || string(got.Result) != "täxt" {
					t.Fatalf("Call() = %+v, %v", got, err)
				}
			})
			c.closed(t, w)
		})
		t.Run("no leaks by workers", func(t *testing.T) {
			c.leaks(t, 200, func() { c.closed(t, c.worker(t, program("python3", "-ISu", warmDir+"/fakeworker.py", "ready"))) })
		})
		t.Run("small", c.small)
	})
	t.Run("node", func(t *testing.T) {
		c := b.startWith(t, setting{image: "attune/node", memory: 300 << 20})
		w := c.worker(t, program("node", warmDir+"/worker.js"))
		for range 3 {
			if got, err := callOf(t, w, call("handler.js", `{"n":2}`)); err != nil || string(got.Result) != `{"double":4}` || got.stdout != "called\n" {
				t.Errorf("Call() = %+v, %v", got, err)
			}
		}
		c.closed(t, w)
	})
}

// TestWorkersLeaveNoDescriptors counts those of this process, so nothing else may
// run: it isn't parallel.
func TestWorkersLeaveNoDescriptors(t *testing.T) {
	fake := program(hostPython(t), "-ISu", warmPrograms(t)+"/fakeworker.py", "ready")
	i := startAgent(t)
	once := func() {
		w, err := i.StartWorker(t.Context(), *fake)
		if err != nil {
			t.Fatalf("StartWorker() = %v", err)
		}
		if exit, err := w.Close(t.Context()); err != nil || !exit.Reusable {
			t.Fatalf("Close() = %+v, %v", exit, err)
		}
		<-w.Done()
	}
	once()
	before := open(t)
	for range 20 {
		once()
	}
	if after := open(t); after > before {
		t.Errorf("the gateway has %d descriptors, had %d", after, before)
	}
}

func open(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// worker starts one.
func (c *contained) worker(t testing.TB, p *agent.Program) *agent.Worker {
	t.Helper()
	w, err := c.StartWorker(t.Context(), *p)
	if err != nil {
		t.Fatalf("StartWorker() = %v", err)
	}
	return w
}

// closed closes one, whose slot must be clean.
func (c *contained) closed(t testing.TB, w *agent.Worker) agent.Exit {
	t.Helper()
	exit, err := w.Close(context.Background())
	if err != nil || !exit.Reusable {
		t.Fatalf("Close() = %+v, %v; want reusable", exit, err)
	}
	<-w.Done()
	return exit
}

func (c *contained) calls(t *testing.T) {
	w := c.worker(t, pythonWorker())
	_, err := c.Execute(t.Context(), inside("true"), agent.Output{})
	wantErr(t, err, agent.ErrBusy)
	for n := 1; n <= 2; n++ {
		looks := call("handler.py", `{"do":"look","key":"value"}`)
		looks.Secrets = []string{"key", "none"}
		got, err := callOf(t, w, looks)
		var saw struct {
			UID, Seen int
			Secrets   map[string]string
			Remaining bool
			Scratch   []string
		}
		if err != nil || json.Unmarshal(got.Result, &saw) != nil || got.Text || got.Duration <= 0 {
			t.Fatalf("Call() = %+v, %v", got, err)
		}
		if saw.UID != agent.SlotUID || saw.Seen != n || len(saw.Secrets) != 1 || saw.Secrets["key"] != "value" || !saw.Remaining || len(saw.Scratch) > 0 {
			t.Errorf("the handler saw %+v", saw)
		}
		if !strings.Contains(got.stdout, "out\n") || got.stderr != "err\n" { // what is on descriptor 1 comes when it comes
			t.Errorf("output %q, %q", got.stdout, got.stderr)
		}
	}
	got, err := callOf(t, w, call("handler.py", `{"do":"raise"}`))
	if err != nil || got.Failure == nil || got.Result != nil {
		t.Fatalf("Call() = %+v, %v; want a failure", got, err)
	}
	if f := got.Failure; f.Type != "ValueError" || f.Message != "no good" || !strings.Contains(f.Traceback, "handler.py") {
		t.Errorf("Failure = %+v", f)
	}
	if got, err := callOf(t, w, call("handler.py", `{"do":"text"}`)); err != nil || !got.Text || string(got.Result) != "täxt" {
		t.Errorf("Call() = %+v, %v; want text", got, err)
	}
	if got, err := callOf(t, w, call("handler.py", `{"do":"items"}`)); err != nil || got.items != "0\n1\n2\n" || got.stdout != "" || string(got.Result) != "null" {
		t.Errorf("Call() = %+v, %v; want three items", got, err)
	}
	_, err = callOf(t, w, call("handler.py", `{"do":"large","size":1048577}`))
	wantErr(t, err, agent.ErrTooLarge)
	large := call("handler.py", `{"do":"text"}`)
	large.Parameters = []byte(`{"do":"` + strings.Repeat("x", 16<<20) + `"}`)
	_, err = callOf(t, w, large)
	wantErr(t, err, agent.ErrTooLarge)
	got, err = callOf(t, w, call("handler.py", `{"do":"flood","size":104857600}`))
	if err != nil || len(got.stdout) != 1<<20 || got.StdoutDropped != 99<<20 || string(got.Result) != "done" {
		t.Errorf("Call() = %d bytes, %d dropped, %s, %v", len(got.stdout), got.StdoutDropped, got.Result, err)
	}
	if got, err := callOf(t, w, call("handler.py", `{"do":"leave"}`)); err != nil || string(got.Result) != "left" {
		t.Errorf("Call() = %+v, %v", got, err)
	}
	exit := c.closed(t, w)
	if again, err := w.Close(t.Context()); err != nil || again != exit {
		t.Errorf("Close() again = %+v, %v, want %+v", again, err, exit)
	}
	_, err = callOf(t, w, call("handler.py", `{"do":"text"}`))
	wantErr(t, err, agent.ErrNotStarted)
	c.checkEmpty(t)
}

func (c *contained) workerEnds(t *testing.T) {
	t.Run("dies in a call", func(t *testing.T) {
		w := c.worker(t, pythonWorker())
		_, err := callOf(t, w, call("handler.py", `{"do":"die"}`))
		wantErr(t, err, agent.ErrLost)
		<-w.Done()
		if exit := c.closed(t, w); exit.Code != 3 {
			t.Errorf("Close() = %+v, want code 3", exit)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		w := c.worker(t, pythonWorker())
		sleeps := call("handler.py", `{"do":"sleep"}`)
		sleeps.Deadline = time.Now().Add(150 * time.Millisecond)
		got, err := callOf(t, w, sleeps)
		wantErr(t, err, context.DeadlineExceeded)
		if got.stdout != "sleeping\n" {
			t.Errorf("stdout = %q", got.stdout)
		}
		_, err = callOf(t, w, call("handler.py", `{"do":"text"}`))
		wantErr(t, err, agent.ErrNotStarted)
		if exit := c.closed(t, w); exit.Signal == 0 {
			t.Errorf("Close() = %+v, want it killed", exit)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		w := c.worker(t, pythonWorker())
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		out := newStarted()
		go func() {
			<-out.seen
			cancel(why)
		}()
		_, err := w.Call(ctx, call("handler.py", `{"do":"sleep"}`), agent.Output{Stdout: out})
		wantErr(t, err, why)
		c.closed(t, w)
	})
	t.Run("closed in a call", func(t *testing.T) {
		w := c.worker(t, pythonWorker())
		out, ended := newStarted(), make(chan error, 1)
		go func() {
			_, err := w.Call(t.Context(), call("handler.py", `{"do":"sleep"}`), agent.Output{Stdout: out})
			ended <- err
		}()
		<-out.seen
		_, err := callOf(t, w, call("handler.py", `{"do":"text"}`))
		wantErr(t, err, agent.ErrBusy)
		c.closed(t, w)
		wantErr(t, <-ended, agent.ErrLost)
	})
	t.Run("another in its place", func(t *testing.T) {
		w := c.worker(t, pythonWorker())
		if got, err := callOf(t, w, call("handler.py", `{"do":"look"}`)); err != nil || !strings.Contains(string(got.Result), `"seen":1`) {
			t.Errorf("Call() = %s, %v; want a new worker", got.Result, err)
		}
		c.closed(t, w)
	})
	t.Run("threads that go on between calls", func(t *testing.T) {
		w := c.worker(t, pythonWorker())
		for range 20 {
			if _, err := callOf(t, w, call("handler.py", `{"do":"text"}`)); err != nil {
				t.Fatalf("Call() = %v", err)
			}
			if _, err := callOf(t, w, call("handler.py", `{"do":"thread"}`)); err != nil {
				t.Fatalf("Call() = %v", err)
			}
		}
		c.closed(t, w)
	})
	t.Run("the gateway is gone", func(t *testing.T) {
		c := newBench(t).startWith(t, setting{image: "attune/python"})
		w := c.worker(t, pythonWorker())
		out, ended := newStarted(), make(chan error, 1)
		go func() {
			_, err := w.Call(t.Context(), call("handler.py", `{"do":"sleep"}`), agent.Output{Stdout: out})
			ended <- err
		}()
		<-out.seen
		c.Conn.Close()
		wantErr(t, <-ended, agent.ErrLost)
		<-w.Done()
		_, err := w.Close(t.Context())
		wantErr(t, err, agent.ErrLost)
	})
}

// Workers that break the rules, each in a slot that others have after it.
func TestHostileWorker(t *testing.T) {
	t.Parallel()
	dir := warmPrograms(t)
	i := startAgent(t)
	start := func(words ...string) (*agent.Worker, error) {
		return i.StartWorker(t.Context(), *program(append([]string{hostPython(t), "-ISu", dir + "/fakeworker.py"}, words...)...))
	}
	for name, test := range map[string]struct {
		words     []string
		violation bool
	}{
		"ends before ready":    {[]string{"exit"}, false},
		"closes before ready":  {[]string{"close"}, false},
		"a result for ready":   {[]string{"4:1"}, true},
		"ready with a payload": {[]string{"7:x"}, true},
		"an unknown frame":     {[]string{"99:"}, true},
	} {
		_, err := start(test.words...)
		wantErr(t, err, agent.ErrLost)
		if errors.Is(err, agent.ErrProtocol) != test.violation {
			t.Errorf("%s: StartWorker() = %v, want a violation: %v", name, err, test.violation)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := i.StartWorker(ctx, *program("/bin/sleep", "1000"))
	wantErr(t, err, context.DeadlineExceeded)
	var fault *agent.StartError
	if _, err := i.StartWorker(t.Context(), *program("/no/such/program")); !errors.As(err, &fault) {
		t.Errorf("StartWorker() = %v, want a StartError", err)
	}
	for name, test := range map[string]struct {
		words  []string
		want   error // of the first call; nil = it succeeds
		second error // of the second, made when the worker is through
	}{
		"good":                      {[]string{"call", "4:1", "call", "4:1"}, nil, nil},
		"dies in a call":            {[]string{"call", "exit"}, agent.ErrLost, nil},
		"closes in a call":          {[]string{"call", "close"}, agent.ErrLost, nil},
		"closes in a frame":         {[]string{"call", "4!5", "close"}, agent.ErrLost, nil},
		"closes in a large frame":   {[]string{"call", "4!100000", "close"}, agent.ErrLost, nil},
		"closes in output":          {[]string{"call", "2!5", "close"}, agent.ErrLost, nil},
		"is silent":                 {[]string{"call"}, context.DeadlineExceeded, nil},
		"is silent in a frame":      {[]string{"call", "4!5"}, context.DeadlineExceeded, nil},
		"floods":                    {[]string{"call", "many"}, context.DeadlineExceeded, nil},
		"an unknown frame":          {[]string{"call", "9:x"}, agent.ErrProtocol, nil},
		"a call":                    {[]string{"call", "1:{}"}, agent.ErrProtocol, nil},
		"type 0":                    {[]string{"call", "0:"}, agent.ErrProtocol, nil},
		"ready again":               {[]string{"call", "7:"}, agent.ErrProtocol, nil},
		"too much output at once":   {[]string{"call", "2!65537"}, agent.ErrProtocol, nil},
		"no output":                 {[]string{"call", "3:"}, agent.ErrProtocol, nil},
		"a result that is no JSON":  {[]string{"call", "4:{"}, agent.ErrProtocol, nil},
		"an empty result":           {[]string{"call", "4:"}, agent.ErrProtocol, nil},
		"a huge result":             {[]string{"call", "4!4294967295"}, agent.ErrProtocol, nil},
		"a huge failure":            {[]string{"call", "6!65537"}, agent.ErrProtocol, nil},
		"a failure that is no JSON": {[]string{"call", "6:x"}, agent.ErrProtocol, nil},
		"a huge item":               {[]string{"call", "8!4294967295"}, agent.ErrProtocol, nil},
		"an empty item":             {[]string{"call", "8:"}, agent.ErrProtocol, nil},
		"too large":                 {[]string{"call", "4*100000", "call", "4:1"}, agent.ErrTooLarge, nil},
		"a result before the call":  {[]string{"4:1"}, agent.ErrNotStarted, agent.ErrNotStarted},
		"two results":               {[]string{"call", "4:1", "4:1"}, nil, agent.ErrNotStarted},
		"output between calls":      {[]string{"call", "4:1", "2:x"}, nil, agent.ErrNotStarted},
		"dies between calls":        {[]string{"call", "4:1", "exit"}, nil, agent.ErrNotStarted},
		"ready twice":               {[]string{"ready"}, agent.ErrNotStarted, nil},
	} {
		w, err := start(append(append([]string{"ready"}, test.words...), "raw:through\n")...)
		if err != nil {
			t.Fatalf("%s: StartWorker() = %v", name, err)
		}
		if test.want == agent.ErrNotStarted {
			settle(w, name)
		}
		for n, want := range []error{test.want, test.second} {
			if n == 1 && test.second == nil && name != "good" && name != "too large" {
				break
			}
			if n == 1 && want != nil {
				settle(w, name)
			}
			c := call("", "")
			c.ResultLimit, c.Deadline = 1000, time.Now().Add(10*time.Second)
			if want == context.DeadlineExceeded {
				c.Deadline = time.Now().Add(50 * time.Millisecond)
			}
			got, err := callOf(t, w, c)
			if !errors.Is(err, want) || err == nil && string(got.Result) != "1" {
				t.Errorf("%s: Call() %d = %+v, %v; want %v", name, n, got.Reply, err, want)
			}
		}
		if exit, err := w.Close(t.Context()); err != nil || !exit.Reusable {
			t.Errorf("%s: Close() = %+v, %v", name, exit, err)
		}
	}
	run(t, i, request("true"))
}

// settle waits until a worker has said all that it says unasked, or has ended.
func settle(w *agent.Worker, name string) {
	if strings.Contains(name, "dies") {
		<-w.Done()
	}
	time.Sleep(150 * time.Millisecond) // it is through when it starts to sleep, which nobody can see
}
