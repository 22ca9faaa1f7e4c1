package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// eventMedia is the media type of server-sent events.
const eventMedia = "text/event-stream"

// maxSilence is the longest time without a byte on a stream of events: three
// heartbeats of the gateway. After that the connection is taken for dead.
const maxSilence = 45 * time.Second

// event is one server-sent event.
type event struct {
	name string // "message" if it says none
	data []byte
}

// eventReader reads server-sent events as the HTML standard describes them.
type eventReader struct {
	lines *bufio.Reader
	heard func() // told of each line, comments included
}

// next waits for an event. io.EOF is the end between two events, anything else
// an end in the middle of one.
func (r *eventReader) next() (event, error) {
	e, begun := event{name: "message"}, false
	for {
		line, err := r.lines.ReadBytes('\n')
		if err != nil {
			if errors.Is(err, io.EOF) && (begun || len(line) > 0) {
				err = io.ErrUnexpectedEOF
			}
			return event{}, err
		}
		r.heard()
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if len(line) == 0 {
			if begun {
				return e, nil
			}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			e.name = string(value)
		case "data":
			if begun {
				e.data = append(e.data, '\n')
			}
			e.data, begun = append(e.data, value...), true
		}
	}
}

// eventStream is an answer of the gateway that is read while it is made.
type eventStream struct {
	*eventReader
	close func()
}

// stream sends a request that asks for events. An answer that is none, a
// problem for example, comes as a reply instead. Whoever gets a stream closes it.
func (c *client) stream(ctx context.Context, method, path, accept string, body []byte) (*eventStream, reply, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	response, err := c.send(ctx, method, path, accept, body)
	if err != nil {
		cancel(nil)
		return nil, reply{}, err
	}
	if media := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || !strings.HasPrefix(media, eventMedia) {
		answer, err := c.read(response)
		cancel(nil)
		return nil, answer, err
	}
	silence := time.AfterFunc(maxSilence, func() {
		cancel(fmt.Errorf("nothing was heard of %s for %s", c.base, maxSilence))
	})
	reader := &eventReader{
		lines: bufio.NewReaderSize(io.LimitReader(response.Body, maxReply), 64<<10),
		heard: func() { silence.Reset(maxSilence) },
	}
	return &eventStream{reader, func() {
		silence.Stop()
		cancel(nil)
		response.Body.Close() // what is left of it is not wanted
	}}, reply{}, nil
}
