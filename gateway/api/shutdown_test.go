package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"attune/gateway/execution"
)

// blocking makes calls wait for release, or for their context's end.
func (w *world) blocking() (started <-chan context.Context, release chan<- struct{}) {
	begun, free := make(chan context.Context, 8), make(chan struct{})
	w.invoker.do(func(ctx context.Context, r execution.Request) (*execution.Outcome, error) {
		begun <- ctx
		select {
		case <-free:
			return succeeded(r, []byte(`{"late":true}`), "application/json"), nil
		case <-ctx.Done():
			return nil, failure(execution.CodeCancelled, "gateway", "run", "the call was cancelled")
		}
	})
	return begun, free
}

// inBackground makes a call and delivers its status and body.
func (w *world) inBackground(t *testing.T) <-chan string {
	t.Helper()
	done := make(chan string, 1)
	go func() {
		response, err := w.client.Post("http://"+w.Addr().String()+"/invoke/demo.echo", "application/json", nil)
		if err != nil {
			done <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body) // a short one is seen by the test
		done <- response.Status + " " + string(body)
	}()
	return done
}

func TestShutdownDrains(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	started, release := w.blocking()
	answered := w.inBackground(t)
	<-started

	stopped := make(chan error, 1)
	go func() { stopped <- w.Shutdown(context.Background()) }()
	waitFor(t, w.gate.isShut)

	for _, target := range []string{"/readyz", "/api/v1/packs"} {
		a := w.raw(t, "GET "+target+" HTTP/1.1\r\n"+host+"\r\n")
		a.refused(t, 503, "draining", false)
		if a.header.Get("Retry-After") == "" || !a.problem.Retryable {
			t.Errorf("GET %s while draining: %+v, want a retry", target, a.problem)
		}
	}
	w.raw(t, "POST /invoke/demo.echo HTTP/1.1\r\n"+host+"\r\n").refused(t, 503, "draining", false)
	if response, _ := w.do(t, "GET", "/healthz", ""); response.StatusCode != http.StatusOK {
		t.Errorf("GET /healthz while draining = %d, want 200", response.StatusCode)
	}
	select {
	case err := <-stopped:
		t.Fatalf("Shutdown() = %v with a call running", err)
	default:
	}
	close(release)
	if got := <-answered; got != `200 OK {"late":true}` {
		t.Errorf("the running call = %s, want its result", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown() error = %v", err)
	}
	if c, err := net.Dial("tcp", w.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("the port is still open after Shutdown()")
	}
	if err := w.Shutdown(context.Background()); err != nil {
		t.Errorf("second Shutdown() error = %v", err)
	}
}

// A client that keeps its connections sends its next request before it can know
// that the gateway stops: that one is answered, too.
func TestShutdownAnswersClientsInMidConversation(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{Settle: 500 * time.Millisecond})
	const clients = 8
	refused := make(chan error, clients)
	var warm sync.WaitGroup
	warm.Add(clients)
	for range clients {
		go func() {
			c, err := net.Dial("tcp", w.Addr().String())
			if err != nil {
				refused <- err
				return
			}
			defer c.Close()
			in := bufio.NewReader(c)
			for n := 0; ; n++ {
				if _, err := io.WriteString(c, "POST /invoke/demo.echo HTTP/1.1\r\n"+host+"\r\n"); err != nil {
					refused <- fmt.Errorf("request %d: %w", n, err)
					return
				}
				response, err := http.ReadResponse(in, nil)
				if err != nil {
					refused <- fmt.Errorf("answer %d: %w", n, err)
					return
				}
				body, err := io.ReadAll(response.Body)
				response.Body.Close()
				switch {
				case err != nil:
					refused <- fmt.Errorf("answer %d: %w", n, err)
				case response.StatusCode == http.StatusOK && string(body) == "{}" && !response.Close:
					if n == 10 {
						warm.Done()
					}
					continue
				case response.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(body), "/problems/draining") && response.Header.Get("Retry-After") != "":
					refused <- nil
				case response.StatusCode == http.StatusOK && response.Close: // it says itself that no other comes
					refused <- nil
				default:
					refused <- fmt.Errorf("answer %d: %s %s", n, response.Status, body)
				}
				return
			}
		}()
	}
	warm.Wait()
	if err := w.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown() error = %v", err)
	}
	for range clients {
		if err := <-refused; err != nil {
			t.Errorf("a client that keeps its connection: %v", err)
		}
	}
}

func TestShutdownCutsOffAfterItsTime(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	started, _ := w.blocking()
	answered := w.inBackground(t)
	call := <-started
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown(50ms) error = %v, want one that says calls were cut off", err)
	}
	if got := <-answered; !strings.HasPrefix(got, "503") || !strings.Contains(got, "/problems/draining") {
		t.Errorf("the call that was cut off = %s, want a 503 draining", got)
	}
	if cause := context.Cause(call); !errors.Is(cause, errDrained) {
		t.Errorf("cause = %v, want errDrained", cause)
	}
}

// A connection on which nothing was ever sent must not hold up the end.
func TestShutdownDoesNotWaitForSilentConnections(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	silent, err := net.Dial("tcp", w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	w.works(t) // accepted after the silent one; leaves an idle connection too
	start := time.Now()
	if err := w.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown() error = %v", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("Shutdown() took %v", took)
	}
}

func TestShutdownBeforeServe(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	server, err := New(w.Options)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown() error = %v", err)
	}
	if err := server.Serve(t.Context()); err != nil {
		t.Errorf("Serve() after Shutdown() error = %v", err)
	}
}

func TestClientThatLeavesCancelsItsCall(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*net.TCPConn) error{
		"close":      func(c *net.TCPConn) error { return c.Close() },
		"reset":      func(c *net.TCPConn) error { return errors.Join(c.SetLinger(0), c.Close()) },
		"half-close": func(c *net.TCPConn) error { return c.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := serve(t, Limits{})
			c, err := net.Dial("tcp", w.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			// A call before it on the same connection has ended by itself.
			if _, err := io.WriteString(c, "POST /invoke/demo.echo HTTP/1.1\r\n"+host+"\r\n"); err != nil {
				t.Fatal(err)
			}
			if first := readAnswer(t, bufio.NewReader(c), false); first.status != 200 {
				t.Fatalf("the first call = %d %s", first.status, first.body)
			}
			started, _ := w.blocking()
			if _, err := io.WriteString(c, "POST /invoke/demo.echo HTTP/1.1\r\n"+host+"\r\n"); err != nil {
				t.Fatal(err)
			}
			call := <-started
			select {
			case <-call.Done():
				t.Fatal("the call was cancelled with its client there")
			case <-time.After(2 * disconnectPoll):
			}
			if err := leave(c.(*net.TCPConn)); err != nil {
				t.Fatal(err)
			}
			select {
			case <-call.Done():
			case <-time.After(5 * time.Second):
				t.Fatal("the call runs on without its client")
			}
			if cause := context.Cause(call); !errors.Is(cause, errClientLeft) {
				t.Errorf("cause = %v, want errClientLeft", cause)
			}
		})
	}
}

func TestConnectionsPerAddressAreCapped(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{ConnectionsPerIP: 2})
	var open []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", w.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
	}
	third, err := net.Dial("tcp", w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if err := third.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := third.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("Read() of a connection over the cap = %d, %v, want it closed", n, err)
	}
	for _, c := range open {
		_ = c.Close()
	}
	waitFor(t, func() bool {
		w.listener.mu.Lock()
		defer w.listener.mu.Unlock()
		return len(w.listener.open) == 0 && len(w.listener.counts) == 0
	})
	w.works(t)
}

// waitFor waits until a condition holds that nothing signals.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			t.Fatal("waited 5 s in vain")
		}
		time.Sleep(time.Millisecond)
	}
}
