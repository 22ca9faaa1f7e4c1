package api

import (
	"context"
	"errors"
	"time"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/queue"
)

// This file follows and cancels executions of this gateway while they run.

// textEvent is a piece of what a program prints. What is no UTF-8 is U+FFFD; a
// result has it as it is.
type textEvent struct {
	Text string `json:"text"`
}

// droppedEvent says that a follower does not get everything.
type droppedEvent struct {
	Stream execution.Stream `json:"stream"`
	Bytes  int64            `json:"bytes"`
}

// endedEvent is the end of a followed log.
type endedEvent struct {
	ID     string           `json:"id"`
	Status execution.Status `json:"status"`
}

func (s *Server) showStdout(c *fiber.Ctx, call *call) error {
	return s.showLog(c, call, execution.Stdout)
}

func (s *Server) showStderr(c *fiber.Ctx, call *call) error {
	return s.showLog(c, call, execution.Stderr)
}

// showLog answers with a log: all that there is by now, or with follow=true until
// its end.
func (s *Server) showLog(c *fiber.Ctx, call *call, name execution.Stream) error {
	follow, err := flag(call.query, "follow")
	if err != nil {
		return err
	}
	media, events := wantsEvents(c, "text/plain")
	if !follow {
		events = false
	}
	id, err := idOf(c)
	if err != nil {
		return err
	}
	if follow {
		if err := streamable(c); err != nil {
			return err
		}
		if running, ok := s.Store.Running(id); ok {
			if err := s.allowExecution(call, key.Read, running.Summary()); err != nil {
				return err
			}
			return s.followLog(c, call, running, name, media)
		}
	}
	found, err := s.execution(c, call, key.Read)
	if err != nil {
		return err
	}
	if follow && !found.Status.Ended() {
		return elsewhere(found)
	}
	text := found.Stdout
	if name == execution.Stderr {
		text = found.Stderr
	}
	if !events {
		return writeLog(c, []byte(text))
	}
	return s.stream(c, call, media, func() {}, func(out *eventWriter) {
		if text == "" || out.send(string(name), textEvent{text}) == nil {
			_ = out.send("ended", endedEvent{found.ID, found.Status}) // the last word
		}
	})
}

// elsewhere refuses what only the gateway can do that runs the execution.
func elsewhere(x *execution.Execution) error {
	return refuse(codeElsewhere, "the execution runs on gateway "+x.Gateway+", which alone can do this: ask there, or wait for its end")
}

// followLog answers with a log while it is written; media is empty for the text
// itself.
func (s *Server) followLog(c *fiber.Ctx, call *call, running *execution.Running, name execution.Stream, media string) error {
	call.execution = running.Summary().ID
	follower := running.FollowLog(name)
	if media == "" {
		ctx, release := s.watch(c.Context().Conn())
		body := &liveBody{ctx: ctx, running: running, next: func() []byte { return []byte(follower.Text()) }}
		return s.streamBody(c, call, "text/plain; charset=utf-8", release, body)
	}
	ctx, release := s.watch(c.Context().Conn())
	return s.stream(c, call, media, release, func(out *eventWriter) {
		text := func() error { return sendText(out, follower, name) }
		if untilEnded(ctx, running, text, out) == nil {
			end := running.Summary()
			_ = out.send("ended", endedEvent{end.ID, end.Status}) // the last word
		}
	})
}

// untilEnded calls news after each change of an execution, and after its end for
// the last time. An error means that the client has left, or the gateway stops.
func untilEnded(ctx context.Context, running *execution.Running, news func() error, out *eventWriter) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		changed, ended := running.Changed(), running.HasEnded()
		if err := news(); err != nil || ended {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-beat.C:
			if err := out.beat(); err != nil {
				return err
			}
		}
	}
}

// sendText sends all that is there of a stream.
func sendText(out *eventWriter, f *execution.Follower, name execution.Stream) error {
	for text := f.Text(); text != ""; text = f.Text() {
		if err := out.send(string(name), textEvent{text}); err != nil {
			return err
		}
	}
	return nil
}

// cancelTimeout is how long a cancelled execution may take to be gone before the
// answer says that it is going.
const cancelTimeout = 15 * time.Second

// cancelExecution kills an execution and answers with its record. An execution
// that is cancelled already is what was asked for.
func (s *Server) cancelExecution(c *fiber.Ctx, call *call) error {
	id, err := idOf(c)
	if err != nil {
		return err
	}
	if err := readMembers(c, nil); err != nil {
		return err
	}
	if _, err := s.execution(c, call, key.Operate); err != nil { // whether the caller may
		return err
	}
	// The queue first: it would try again what only its attempt is told to end.
	err = s.Queue.Cancel(s.base, id)
	if err != nil && !errors.Is(err, queue.ErrNoJob) {
		return err
	}
	queued := err == nil
	ctx, release := s.watch(c.Context().Conn())
	defer release()
	if running, ok := s.Store.Running(id); ok {
		call.execution = id
		running.Cancel()
		late := time.NewTimer(cancelTimeout)
		defer late.Stop()
		select {
		case <-running.Ended():
		case <-late.C:
			c.Status(fiber.StatusAccepted)
			return writeJSON(c, running.Execution())
		case <-ctx.Done():
			return cutOff(ctx, refuse(execution.CodeCancelled, "the client left before the execution had ended"))
		}
	}
	if queued {
		return s.awaitCancelled(ctx, c, call)
	}
	found, err := s.execution(c, call, key.Operate)
	if err != nil {
		return err
	}
	if !found.Status.Ended() {
		return elsewhere(found)
	}
	return cancelledAnswer(c, found)
}
