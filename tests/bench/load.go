package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// load is how often something is called: by so many at once, each after a pause.
type load struct {
	name           string // of the row
	callers, calls int    // calls of all callers together
	pause          time.Duration
	flood          string // a subject that so many more call all the while; empty = none
	flooders       int
}

// sample is what the calls of one load took.
type sample struct {
	took []time.Duration // of each call, sorted
	wall time.Duration   // of all, pauses included
}

// figure is one number of a sample, in the unit of its series.
type figure string

const (
	p50  figure = "p50"
	p99  figure = "p99"
	rate figure = "calls per second"
)

func (f figure) unit() string {
	if f == rate {
		return "/s"
	}
	return "ms"
}

// of is the figure of a sample.
func (f figure) of(s sample) float64 {
	switch f {
	case p50:
		return s.percentile(50)
	case p99:
		return s.percentile(99)
	}
	return float64(len(s.took)) / s.wall.Seconds()
}

// percentile is the smallest time, in milliseconds, within which so many per
// cent of the calls have ended; of fewer than a hundred the 99th is the longest.
func (s sample) percentile(p float64) float64 {
	if len(s.took) == 0 {
		return math.NaN()
	}
	i := int(math.Ceil(p/100*float64(len(s.took)))) - 1
	return float64(s.took[max(i, 0)]) / float64(time.Millisecond)
}

// caller makes calls one after the other. It is used by one goroutine.
type caller interface {
	call() error
	io.Closer
}

// run makes the calls of a load, as many of them as begin within a time, and at
// least one of each caller. Callers come from dial.
func (l load) run(ctx context.Context, within time.Duration, dial func() (caller, error)) (s sample, err error) {
	var group errgroup.Group
	var ready, begun sync.WaitGroup
	took := make([][]time.Duration, l.callers)
	begun.Add(1)
	ready.Add(l.callers)
	var start time.Time
	for i := range l.callers {
		group.Go(func() (err error) {
			took[i] = make([]time.Duration, 0, min(l.calls/l.callers, 1000))
			c, err := dial()
			ready.Done()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, c.Close()) }()
			begun.Wait()
			for len(took[i]) == 0 || len(took[i]) < l.calls/l.callers && time.Since(start) < within {
				if l.pause > 0 {
					if err := pauseFor(ctx, l.pause); err != nil {
						return err
					}
				}
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				before := time.Now()
				if err := c.call(); err != nil {
					return err
				}
				took[i] = append(took[i], time.Since(before))
			}
			return nil
		})
	}
	ready.Wait()
	start = time.Now()
	begun.Done()
	err = group.Wait()
	s.wall = time.Since(start)
	s.took = slices.Concat(took...)
	slices.Sort(s.took)
	return s, err
}

// connection sends one request over and over, on one connection that is kept.
// It does as little as a client can: it shares the cores with what it measures.
type connection struct {
	conn    net.Conn
	in      *bufio.Reader
	request []byte
	body    []byte        // of the last answer
	header  []byte        // of the last answer
	timeout time.Duration // for one answer
}

// dialHTTP connects to where a URL points, to POST a JSON body there. Further
// header lines may be given.
func dialHTTP(target string, body []byte, header ...string) (*connection, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		return nil, err
	}
	var request bytes.Buffer
	fmt.Fprintf(&request, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s",
		u.RequestURI(), u.Host, len(body), strings.Join(append(header, ""), "\r\n"), body)
	return &connection{conn: conn, in: bufio.NewReader(conn), request: request.Bytes(), timeout: time.Minute}, nil
}

func (c *connection) Close() error { return c.conn.Close() }

// call sends the request and wants a 2xx.
func (c *connection) call() error {
	if err := c.conn.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	status, length, err := c.readHeader()
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	c.body = slices.Grow(c.body[:0], length)[:length]
	if _, err := io.ReadFull(c.in, c.body); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if status/100 != 2 {
		return refusal(status, c.body)
	}
	return nil
}

// refusal is an answer that isn't a result: a problem, in its own words.
func refusal(status int, body []byte) error {
	var problem struct{ Type, Detail string }
	if err := json.Unmarshal(body, &problem); err != nil || problem.Type == "" {
		return fmt.Errorf("answered %d: %s", status, bytes.TrimSpace(body))
	}
	return fmt.Errorf("answered %d %s: %s", status, strings.TrimPrefix(problem.Type, "/problems/"), problem.Detail)
}

// readHeader reads an answer up to its body.
func (c *connection) readHeader() (status, length int, err error) {
	c.header = c.header[:0]
	for length = -1; ; {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, 0, err
		}
		if len(c.header) == 0 {
			if len(line) < 12 {
				return 0, 0, fmt.Errorf("no HTTP: %q", line)
			}
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, 0, err
			}
		}
		c.header = append(c.header, line...)
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			if length < 0 {
				return 0, 0, fmt.Errorf("an answer without a length")
			}
			return status, length, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("content-length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, 0, err
			}
		}
	}
}
