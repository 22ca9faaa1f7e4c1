package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"github.com/gofiber/fiber/v2"
)

// Media types of a stream of events.
const (
	mediaEvents = "text/event-stream"
	mediaLines  = "application/x-ndjson"
)

// heartbeat is the longest silence on a stream: shorter than what proxies take
// for the end, and than the timeout for writing.
const heartbeat = 15 * time.Second

// stream answers with events, which write sends until it returns. That happens
// after the handler has returned, in a goroutine of its own: write must not
// touch the request, and should end with the context of watch, which the stream
// takes over. Everything has been checked: the status is 200.
func (s *Server) stream(c *fiber.Ctx, call *call, media string, release func(), write func(*eventWriter)) error {
	c.Set(fiber.HeaderContentType, media)
	if c.Method() == fiber.MethodHead {
		release()
		return nil
	}
	conn, method := c.Context().Conn(), loggedMethod(c.Context())
	call.streams = true
	c.Context().Response.ImmediateHeaderFlush = true
	c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		out := &eventWriter{out: w, conn: conn, timeout: s.Limits.WriteTimeout, lines: media == mediaLines}
		defer call.leave()
		defer release()
		defer func() {
			if p := recover(); p != nil { // it would end the program
				s.Logger.Error("stream broke off", slog.String("request", call.id),
					slog.String("error", fmt.Sprintf("panic: %v\n%s", p, debug.Stack())))
			}
			s.answered(call, method, fiber.StatusOK, out.size)
		}()
		write(out)
	})
	return nil
}

// streamable refuses what has no chunked answers.
func streamable(c *fiber.Ctx) error {
	if !c.Request().Header.IsHTTP11() {
		return refuse(codeUnsupportedProtocol, "events take HTTP/1.1")
	}
	return nil
}

// eventWriter sends events to one client. After an error nobody listens.
type eventWriter struct {
	out     *bufio.Writer
	conn    net.Conn
	timeout time.Duration // for one event to be taken by the client
	lines   bool          // JSON lines instead of server-sent events
	count   int
	size    int // bytes sent
}

// send sends one event; data must encode as a JSON object.
func (w *eventWriter) send(event string, data any) error {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false) // a result is passed on as it is
	if err := encoder.Encode(data); err != nil {
		return fmt.Errorf("encode %T: %w", data, err)
	}
	body := buffer.Bytes()[:buffer.Len()-1]
	w.count++
	if w.lines {
		separator := ","
		if string(body) == "{}" {
			separator = ""
		}
		return w.write(fmt.Sprintf(`{"event":%q%s%s`+"\n", event, separator, body[1:]))
	}
	return w.write(fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", w.count, event, body))
}

// beat says that the connection lives.
func (w *eventWriter) beat() error {
	if w.lines {
		return w.write(`{"event":"heartbeat"}` + "\n")
	}
	return w.write(": heartbeat\n\n")
}

func (w *eventWriter) write(text string) error {
	// fasthttp has set one deadline for the whole answer; ours moves on.
	if err := w.conn.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
		return err
	}
	n, err := w.out.WriteString(text)
	w.size += n
	if err != nil {
		return err
	}
	return w.out.Flush()
}

// eventMedia chooses between the two forms of a stream.
func eventMedia(c *fiber.Ctx) (string, error) {
	header := &c.Request().Header
	events, lines := preference(header, mediaEvents), preference(header, mediaLines)
	switch {
	case lines.quality > events.quality, lines.quality == events.quality && lines.named && !events.named:
		return mediaLines, nil
	case events.quality > 0:
		return mediaEvents, nil
	}
	return "", refuse(codeNotAcceptable, "events are "+mediaEvents+" or "+mediaLines)
}

// wantsEvents tells whether the caller of an action prefers events to its
// result, and in which form. They must be asked for by name. An action whose
// result has the media type of a form keeps it.
func wantsEvents(c *fiber.Ctx, result string) (media string, ok bool) {
	plain := preference(&c.Request().Header, result)
	best := plain
	for _, form := range []string{mediaEvents, mediaLines} {
		p := preference(&c.Request().Header, form)
		if form == result || !p.named || p.quality == 0 {
			continue
		}
		if p.quality > best.quality || (p.quality == best.quality && !best.named) {
			media, best = form, p
		}
	}
	return media, media != ""
}
