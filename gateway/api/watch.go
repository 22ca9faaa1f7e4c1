package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/gofiber/fiber/v2"

	"attune/envcache"
	"attune/gateway/execution"
	"attune/gateway/key"
)

// buildEvent is an envcache.Event as clients see it.
type buildEvent struct {
	Pack      string         `json:"pack"`
	Runtime   string         `json:"runtime"`
	Digest    string         `json:"digest"`
	Phase     envcache.Phase `json:"phase"`
	Line      string         `json:"line,omitempty"` // of the installer's output; empty on a change of phase
	ElapsedMS int64          `json:"elapsed_ms"`
	Reason    string         `json:"reason,omitempty"` // of the phase failed
}

func showEvent(e envcache.Event) buildEvent {
	return buildEvent{
		Pack: e.Pack, Runtime: e.Runtime, Digest: e.Digest, Phase: e.Phase, Line: e.Line,
		ElapsedMS: e.Elapsed.Milliseconds(), Reason: reasonOf(e.Err),
	}
}

// reasonOf says why a build has failed, without what only the log may hold.
func reasonOf(err error) string {
	var failed *envcache.FailedError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &failed):
		return failed.Reason
	case errors.Is(err, envcache.ErrStorageFull):
		return noSpace
	case errors.Is(err, envcache.ErrBusy):
		return tooManyBuilds
	}
	return "the gateway's log says why"
}

// How often the state is read again: events tell of builds of this gateway, and
// not of what others do or of what an operator chooses.
const (
	recheckIdle  = 3 * time.Second
	recheckBuild = time.Second
	recheckEnded = 20 * time.Millisecond // after the last event of a build, until its state has followed
)

// watchEnvironment streams where an environment stands and what its builds do.
// It ends when the client leaves or the gateway drains.
func (s *Server) watchEnvironment(c *fiber.Ctx, call *call) error {
	packRef, runtime, err := s.environmentOf(c, call, key.Read)
	if err != nil {
		return err
	}
	media, err := eventMedia(c)
	if err != nil {
		return err
	}
	if err := streamable(c); err != nil {
		return err
	}
	if _, ok := s.Environments.Show(packRef, runtime); !ok {
		return refuse(execution.CodeNotFound, noEnvironment)
	}
	ctx, release := s.watch(c.Context().Conn())
	return s.stream(c, call, media, release, func(out *eventWriter) {
		subscription, ok := s.Environments.Subscribe(packRef, runtime)
		if !ok {
			return // it was removed in this moment
		}
		defer subscription.Close()
		w := watcher{out: out, show: func() (envcache.Status, bool) { return s.Environments.Show(packRef, runtime) }}
		w.watch(ctx, subscription.Events, s.gate.shutting)
	})
}

// watcher passes the events of one environment on to one client.
type watcher struct {
	out  *eventWriter
	show func() (envcache.Status, bool)
	sent []byte // the last state, encoded
}

// watch returns when the client has left, the environment is gone, or a channel
// is closed.
func (w *watcher) watch(ctx context.Context, events <-chan envcache.Event, stop <-chan struct{}) {
	busy, ok := w.state()
	if !ok {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	recheck := time.NewTimer(pause(busy))
	defer recheck.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-stop:
			return
		case e, open := <-events:
			if !open {
				return
			}
			err = w.event(e)
			if e.Phase.Ended() {
				w.sent = nil // where that has led is told even if it is nowhere
				recheck.Reset(recheckEnded)
			}
		case <-recheck.C:
			if busy, ok = w.state(); !ok {
				return
			}
			recheck.Reset(pause(busy))
		case <-beat.C:
			err = w.out.beat()
		}
		if err != nil {
			return
		}
	}
}

func pause(busy bool) time.Duration {
	if busy {
		return recheckBuild
	}
	return recheckIdle
}

func (w *watcher) event(e envcache.Event) error {
	if e.Line != "" {
		return w.out.send("log", showEvent(e))
	}
	return w.out.send("phase", showEvent(e))
}

// state sends where the environment stands, if that is news. busy: a build may be
// under way. ok is false when nobody is left to tell, or nothing to tell of.
func (w *watcher) state() (busy, ok bool) {
	status, found := w.show()
	if !found {
		return false, false
	}
	switch status.State {
	case envcache.StateReady, envcache.StateDegraded, envcache.StateFailed:
	default:
		busy = true // or about to be: what others begin no event tells of
	}
	encoded, err := json.Marshal(status)
	if err != nil || bytes.Equal(encoded, w.sent) {
		return busy, err == nil
	}
	w.sent = encoded
	return busy, w.out.send("state", status) == nil
}
