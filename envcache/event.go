package envcache

import (
	"slices"
	"sync"
	"time"
)

// Event is a step of a build, or a line that the builder printed.
type Event struct {
	Pack    string
	Runtime string
	Digest  string
	Phase   Phase
	Line    string // of the installer's output; empty on a change of phase
	Elapsed time.Duration
	Err     error // with PhaseFailed
}

// Phase is a stage of a build.
type Phase string

const (
	PhaseQueued    Phase = "queued"    // waits for a slot, or for another gateway
	PhaseCreate    Phase = "create"    // the builder container is being made
	PhaseInstall   Phase = "install"   // the builder runs
	PhaseAdopt     Phase = "adopt"     // a builder that runs already is followed
	PhaseCopy      Phase = "copy"      // another pack's environment of equal inputs is being copied
	PhaseVerify    Phase = "verify"    // the result is checked
	PhasePublish   Phase = "publish"   // it is made visible
	PhasePublished Phase = "published" // done
	PhaseFailed    Phase = "failed"    // done, without success
)

// Ended tells whether nothing follows.
func (p Phase) Ended() bool { return p == PhasePublished || p == PhaseFailed }

// backlog is how many events a subscriber may be behind before it loses some.
const backlog = 256

// Subscription is a view on the builds of one environment.
type Subscription struct {
	// Events begins with what is known of a running build: its phase and its
	// last lines. A subscriber that reads too slowly loses lines, never a phase
	// that ends a build. It is closed with the cache.
	Events <-chan Event

	end    func()
	events chan Event // the same as Events, for the hub
	name   [2]string
}

// NewSubscription passes on events of another source than a Cache. end is what
// Close does, and must be idempotent.
func NewSubscription(events <-chan Event, end func()) *Subscription {
	return &Subscription{Events: events, end: end}
}

// Close ends the subscription. Idempotent.
func (s *Subscription) Close() { s.end() }

// hub passes events on to subscribers, and remembers the last ones of builds
// that run, for those who come late.
type hub struct {
	mu          sync.Mutex
	closed      bool
	subscribers map[*Subscription]bool
	running     map[[2]string][]Event
}

func newHub() *hub {
	return &hub{subscribers: make(map[*Subscription]bool), running: make(map[[2]string][]Event)}
}

// tell never blocks.
func (h *hub) tell(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	name := [2]string{e.Pack, e.Runtime}
	if e.Phase.Ended() {
		delete(h.running, name)
	} else {
		h.running[name] = remembered(h.running[name], e)
	}
	for s := range h.subscribers {
		if s.name == name {
			s.push(e)
		}
	}
}

// remembered keeps all phases of a build and its last lines.
func remembered(past []Event, e Event) []Event {
	if len(past) >= backlog/2 {
		oldest := slices.IndexFunc(past, func(e Event) bool { return e.Line != "" })
		past = slices.Delete(past, max(oldest, 0), max(oldest, 0)+1)
	}
	return append(past, e)
}

// push makes room by dropping the oldest event where a new one must not be lost.
func (s *Subscription) push(e Event) {
	for {
		select {
		case s.events <- e:
			return
		default:
		}
		if e.Line != "" {
			return
		}
		select {
		case <-s.events:
		default:
		}
	}
}

func (h *hub) join(pack, runtime string) *Subscription {
	events := make(chan Event, backlog)
	s := &Subscription{Events: events, events: events, name: [2]string{pack, runtime}}
	s.end = func() { h.leave(s) }
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.running[s.name] {
		s.push(e)
	}
	if h.closed {
		close(events)
		return s
	}
	h.subscribers[s] = true
	return s
}

func (h *hub) leave(s *Subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subscribers[s] {
		delete(h.subscribers, s)
		close(s.events)
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.subscribers {
		delete(h.subscribers, s)
		close(s.events)
	}
}
