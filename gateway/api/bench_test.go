package api

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
)

// clientVar makes the test program a client: its CPU time is not the server's.
const clientVar = "ATTUNE_BENCH_CLIENT"

// answerAll is the client: "address path calls callers".
func answerAll(order string) error {
	var address, path string
	var calls, callers int
	if _, err := fmt.Sscan(order, &address, &path, &calls, &callers); err != nil {
		return err
	}
	const body = `{"a":1,"b":2}`
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, address, len(body), body)
	errs := make(chan error, callers)
	for i := range callers {
		go func() {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				errs <- err
				return
			}
			in := bufio.NewReader(conn)
			for range (calls + i) / callers {
				if err = roundTrip(conn, in, request); err != nil {
					break
				}
			}
			errs <- err
			conn.Close()
		}()
	}
	for range callers {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

func roundTrip(conn net.Conn, in *bufio.Reader, request []byte) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	length := 0
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			return fmt.Errorf("answered %s", line)
		}
		if text, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(text)))
		}
		if len(line) == 2 {
			_, err := in.Discard(length)
			return err
		}
	}
}

// called lets a client make b.N calls, and reports the server's CPU time.
func called(b *testing.B, address net.Addr, path string) {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	run := func(calls int) {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), clientVar+"="+fmt.Sprintf("%s %s %d %d", address, path, calls, 16))
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("client: %v\n%s", err, out)
		}
	}
	run(64)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	run(b.N)
	b.ReportMetric(float64(cpuTime(b)-before)/float64(time.Microsecond)/float64(b.N), "cpu-µs/op")
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// echoInvoker answers with the body.
type echoInvoker struct{}

func (echoInvoker) Invoke(_ context.Context, request execution.Request) (*execution.Outcome, error) {
	return succeeded(request, request.Body, "application/json"), nil
}

// BenchmarkInvoke is all that HTTP costs a call: the gateway's access log goes to
// a file, the action to nowhere.
func BenchmarkInvoke(b *testing.B) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	w := serve(b, Limits{}, func(o *Options) {
		o.Invoker = echoInvoker{}
		o.Logger = slog.New(slog.NewJSONHandler(null, nil))
	})
	b.Cleanup(func() { null.Close() })
	called(b, w.Addr(), "/invoke/demo.echo")
}

// BenchmarkPlainFiber is the baseline.
func BenchmarkPlainFiber(b *testing.B) {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Post("/invoke/:ref", func(c *fiber.Ctx) error {
		c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
		return c.Send(c.Body())
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		if err := app.Listener(l); err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(func() {
		if err := app.Shutdown(); err != nil {
			b.Error(err)
		}
		served.Wait()
	})
	called(b, l.Addr(), "/invoke/demo.echo")
}
