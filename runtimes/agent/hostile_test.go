package agent_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"attune/runtimes/agent"
	"attune/runtimes/agent/wire"
)

// impostor dials like an agent and then does what a test wants.
func impostor(t testing.TB, hello []byte) (*agent.Conn, net.Conn, error) {
	t.Helper()
	dir := t.TempDir()
	listener, err := agent.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.Dial("unix", filepath.Join(dir, agent.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	if _, err := socket.Write(hello); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := listener.Accept(ctx, agent.Setup{})
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, socket, err
}

func frame(t wire.Type, stream uint32, payload string) []byte {
	head := wire.Header(t, stream, len(payload))
	return append(head[:], payload...)
}

var goodHello = frame(wire.TypeHello, 0, `{"version":2}`)

func TestHelloOfAnImpostor(t *testing.T) {
	t.Parallel()
	for name, hello := range map[string][]byte{
		"other version": frame(wire.TypeHello, 0, `{"version":1}`),
		"no JSON":       frame(wire.TypeHello, 0, `{"version":`),
		"other frame":   frame(wire.TypeExit, 0, `{}`),
		"HTTP":          []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
	} {
		if _, _, err := impostor(t, hello); !errors.Is(err, agent.ErrProtocol) {
			t.Errorf("%s: Accept() = %v, want ErrProtocol", name, err)
		}
	}
	if _, _, err := impostor(t, nil); err == nil {
		t.Error("silence: Accept() = nil error")
	}
}

// What an agent must not say kills the connection, with the right verdict on
// whether the request may be run elsewhere.
func TestHostileAgent(t *testing.T) {
	t.Parallel()
	started := string(frame(wire.TypeStarted, 1, ""))
	huge := wire.Header(wire.TypeStdout, 1, 1<<31-1)
	unknown := wire.Header(99, 1, 0)
	for _, test := range []struct {
		name, says string
		want       error
		violation  bool
	}{
		{"goes away", "", agent.ErrNotStarted, false},
		{"goes away after started", started, agent.ErrLost, false},
		{"goes away in a frame", started + "\x00\x00", agent.ErrLost, false},
		{"output before started", string(frame(wire.TypeStdout, 1, "x")), agent.ErrNotStarted, true},
		{"exit before started", string(frame(wire.TypeExit, 1, "{}")), agent.ErrNotStarted, true},
		{"started twice", started + started, agent.ErrLost, true},
		{"another stream", started + string(frame(wire.TypeStdout, 2, "x")), agent.ErrLost, true},
		{"hello again", started + string(goodHello), agent.ErrLost, true},
		{"more than allowed", started + string(frame(wire.TypeStdout, 1, "12345678901")), agent.ErrLost, true},
		{"empty output", started + string(frame(wire.TypeStdout, 1, "")), agent.ErrLost, true},
		{"a huge frame", started + string(huge[:]), agent.ErrLost, true},
		{"an unknown frame", started + string(unknown[:]), agent.ErrLost, true},
		{"a request", started + string(frame(wire.TypeStart, 1, "x")), agent.ErrLost, true},
		{"exit is no JSON", started + string(frame(wire.TypeExit, 1, "no")), agent.ErrLost, true},
		{"exit code out of range", started + string(frame(wire.TypeExit, 1, `{"code":-1}`)), agent.ErrLost, true},
		{"negative count", started + string(frame(wire.TypeExit, 1, `{"stdout_dropped":-1}`)), agent.ErrLost, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, socket, err := impostor(t, goodHello)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				in := wire.NewReader(socket, wire.ToAgent)
				in.Next()
				in.Next() // the request
				socket.Write([]byte(test.says))
				if test.violation {
					io.Copy(io.Discard, socket) // until the gateway has had enough
				}
				socket.Close()
			}()
			r := request("true")
			r.StdoutLimit = 10
			_, err = c.Execute(t.Context(), r, agent.Output{})
			wantErr(t, err, test.want)
			if got := errors.Is(err, agent.ErrProtocol); got != test.violation {
				t.Errorf("Execute() error = %v, is ErrProtocol: %v, want %v", err, got, test.violation)
			}
			<-c.Done()
		})
	}
}

func TestSilentAgent(t *testing.T) {
	t.Parallel()
	c, socket, err := impostor(t, goodHello)
	if err != nil {
		t.Fatal(err)
	}
	in := wire.NewReader(socket, wire.ToAgent)
	in.Next()
	go func() {
		in.Next()
		socket.Write(frame(wire.TypeStarted, 1, ""))
	}()
	r := request("true")
	r.Timeout, r.Grace, r.Patience = 50*time.Millisecond, 10*time.Millisecond, 50*time.Millisecond
	begin := time.Now()
	_, err = c.Execute(t.Context(), r, agent.Output{})
	wantErr(t, err, agent.ErrLost)
	if took := time.Since(begin); took < 100*time.Millisecond || took > 5*time.Second {
		t.Errorf("Execute() took %v, want 110ms", took)
	}
}

// An agent that ignores a kill costs Grace and Patience.
func TestAgentThatIgnoresKill(t *testing.T) {
	t.Parallel()
	c, socket, err := impostor(t, goodHello)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		in := wire.NewReader(socket, wire.ToAgent)
		in.Next()
		in.Next()
		socket.Write(frame(wire.TypeStarted, 1, ""))
		cancel()
		if f, err := in.Next(); err != nil || f.Type != wire.TypeKill {
			t.Errorf("agent read %+v, %v; want a kill", f, err)
		}
	}()
	r := request("true")
	r.Timeout, r.Patience = time.Hour, 50*time.Millisecond
	_, err = c.Execute(ctx, r, agent.Output{})
	wantErr(t, err, agent.ErrLost)
}

func TestAcceptIsCancelled(t *testing.T) {
	t.Parallel()
	listener, err := agent.Listen(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := listener.Accept(ctx, agent.Setup{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Accept() = %v, want context.Canceled", err)
	}
	if err := listener.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
}

func FuzzAgentOutput(f *testing.F) {
	started := frame(wire.TypeStarted, 1, "")
	f.Add(started)
	f.Add(append(started, frame(wire.TypeStdout, 1, "hello")...))
	f.Add(append(started, frame(wire.TypeExit, 1, `{"code":1,"reusable":true}`)...))
	f.Add(binary.BigEndian.AppendUint32(nil, 1<<31))
	f.Fuzz(func(t *testing.T, says []byte) {
		c, socket, err := impostor(t, goodHello)
		if err != nil {
			t.Fatal(err)
		}
		in := wire.NewReader(socket, wire.ToAgent)
		in.Next()
		go func() {
			in.Next()
			socket.Write(says)
			socket.Close()
		}()
		r := request("true")
		r.StdoutLimit, r.StderrLimit = 100, 100
		var out limited
		exit, err := c.Execute(context.Background(), r, agent.Output{Stdout: &out, Stderr: &out})
		if out > 200 {
			t.Errorf("%d bytes of output, at most 200 allowed", out)
		}
		if err == nil && (exit.Code < 0 || exit.Code > 255 || exit.StdoutDropped < 0) {
			t.Errorf("Execute() = %+v", exit)
		}
		var fault *agent.StartError
		if err != nil && !errors.Is(err, agent.ErrLost) && !errors.Is(err, agent.ErrNotStarted) && !errors.As(err, &fault) {
			t.Errorf("Execute() error = %v", err)
		}
	})
}

// limited counts bytes.
type limited int

func (l *limited) Write(p []byte) (int, error) {
	*l += limited(len(p))
	return len(p), nil
}

// A setup that no agent takes is refused before one is waited for.
func TestImpossibleSetups(t *testing.T) {
	t.Parallel()
	good := program("/bin/true")
	for name, setup := range map[string]agent.Setup{
		"slots": {Slots: agent.MaxSlots + 1}, "stock": {Stock: good, StockCount: agent.MaxStock + 1}, "no program": {Parent: program("")},
		"a parent and a stock": {Parent: good, Stock: good},
	} {
		dir := t.TempDir()
		listener, err := agent.Listen(dir)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if _, err := listener.Accept(ctx, setup); err == nil || ctx.Err() != nil {
			t.Errorf("%s: Accept() = %v, want it refused", name, err)
		}
		cancel()
		listener.Close()
	}
}

// TestLostProgram: how a program ended whose parent died, nobody knows. The
// instance isn't used again, whatever the agent says.
func TestLostProgram(t *testing.T) {
	t.Parallel()
	says := append(frame(wire.TypeStarted, 1, ""), frame(wire.TypeExit, 1, `{"code":0,"lost":true,"reusable":true,"reason":"the parent died"}`)...)
	c, socket, err := impostor(t, goodHello)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		in := wire.NewReader(socket, wire.ToAgent)
		in.Next()
		in.Next() // the request
		socket.Write(says)
	}()
	exit, err := c.Execute(t.Context(), request("true"), agent.Output{})
	if !errors.Is(err, agent.ErrLost) || exit.Reusable || !strings.Contains(err.Error(), "the parent died") {
		t.Errorf("Execute() = %+v, %v; want ErrLost and not reusable", exit, err)
	}
}
