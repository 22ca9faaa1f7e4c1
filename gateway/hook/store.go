package hook

import (
	"context"
	"crypto/rand"
	"errors"
	"regexp"
	"time"

	"github.com/oklog/ulid/v2"
)

// ErrNone says that there is no such address, mark or entry.
var ErrNone = errors.New("nothing of that name")

// MarkTTL is for how long a delivery's ID is remembered.
const MarkTTL = 72 * time.Hour

// Store keeps what hooks must remember. Both adapters (embedded database, Redis)
// pass hooktest.Exercise. All methods may be called concurrently, by several
// gateways.
type Store interface {
	Addresses
	Marks
	Log
}

// Addresses are the random keys by which hooks are reached.
type Addresses interface {
	// Address returns a hook's address. The first who asks gives it the key.
	Address(ctx context.Context, hook, key string, now time.Time) (Address, error)
	// Rotate gives a hook another key. The one before stays valid until then;
	// one that was still valid beside it is not any more.
	Rotate(ctx context.Context, hook, key string, now, until time.Time) (Address, error)
	// Find names the hook of a key that is valid. ErrNone.
	Find(ctx context.Context, key string, now time.Time) (hook string, err error)
}

// Address is where a hook is reached.
type Address struct {
	Hook      string // "pack.name"
	Key       string
	CreatedAt time.Time // of Key; to the millisecond
	Previous  string    // the key before; empty = none
	// PreviousUntil is how long that is valid.
	PreviousUntil time.Time
}

// NewKey makes a key: 26 letters and digits, of at least 128 random bits.
func NewKey() string { return rand.Text() }

// keyGrammar is what NewKey makes.
var keyGrammar = regexp.MustCompile(`^[A-Z2-7]{26}$`)

// IsKey tells whether a text could be a key.
func IsKey(text string) bool { return keyGrammar.MatchString(text) }

// Marks remember which execution a delivery has become, so that its repetition
// becomes no other.
type Marks interface {
	// Claim stores a mark, unless one of the same hook and ID is there. It
	// returns the one that is there now; whose Owner is the mark's Execution, it
	// is the caller's. One that is not done, and pending no more, is somebody's
	// who died: it becomes the caller's, with the new digest and time, and keeps
	// its execution, which may have been stored. Marks live for MarkTTL.
	Claim(ctx context.Context, mark Mark, now time.Time) (Mark, error)
	// Done says that the execution is somebody else's to keep. A mark that isn't
	// there, or has another execution, is left alone.
	Done(ctx context.Context, hook, id, execution string) error
	// Release removes a mark that isn't done, for nothing has come of it.
	// Likewise.
	Release(ctx context.Context, hook, id, execution string) error
}

// Mark says that a delivery was here.
type Mark struct {
	Hook, ID  string
	Digest    string // of the body
	Execution string
	Owner     string    // the Execution of who works on it; Claim sets it
	Pending   time.Time // until when it does; to the millisecond
	Done      bool      // the execution is stored, or has ended
}

// Log is what came to hooks, the newest first.
type Log interface {
	Append(ctx context.Context, entry Entry) error
	// Entries is a page of a hook's entries, without their bodies: those before
	// an ID, or the newest. Empty next = there are no more.
	Entries(ctx context.Context, hook, before string, limit int) (entries []Entry, next string, err error)
	// Entry is one of them, whole. ErrNone.
	Entry(ctx context.Context, hook, id string) (Entry, error)
	// Prune removes entries that are older than before, and of each hook all but
	// the newest keep; and, in stores that don't forget by themselves, marks and
	// keys whose time is over.
	Prune(ctx context.Context, now, before time.Time, keep int) error
}

// Entry is one request that came to a hook.
type Entry struct {
	ID         string    `json:"id"` // ULID
	Hook       string    `json:"hook"`
	At         time.Time `json:"at"`
	Delivery   string    `json:"delivery,omitempty"` // the sender's ID of it
	Outcome    Outcome   `json:"outcome"`
	Status     int       `json:"status"`         // that the sender was answered
	Code       string    `json:"code,omitempty"` // of the problem that it was
	Execution  string    `json:"execution,omitempty"`
	DurationMS float64   `json:"duration_ms"`
	Size       int       `json:"size"` // bytes of the body
	// ReplayOf is the entry that was replayed; empty = it came from outside.
	ReplayOf string `json:"replay_of,omitempty"`
	// Headers, Query and Body are kept of proven requests, as far as they may be
	// seen: credentials are not among them.
	Headers map[string]string `json:"headers,omitempty"`
	Query   string            `json:"query,omitempty"`
	Body    []byte            `json:"-"`
	// Replayable says that all of Body is there.
	Replayable bool `json:"replayable"`
}

// Outcome is what became of a request.
type Outcome string

// Outcomes.
const (
	Accepted  Outcome = "accepted"  // it is an execution now
	Duplicate Outcome = "duplicate" // it was one already
	Handshake Outcome = "handshake" // the sender has asked whether the hook is there
	Refused   Outcome = "refused"   // it wasn't proven, or not usable; the sender is at fault
	Failed    Outcome = "failed"    // the gateway or the action is
)

// IsEntryID tells whether a text could be an entry's ID.
func IsEntryID(text string) bool {
	_, err := ulid.ParseStrict(text)
	return err == nil && len(text) == ulid.EncodedSize
}

// FirstID is the least ID that an entry of a time can have: IDs sort by time.
func FirstID(at time.Time) string {
	var id ulid.ULID
	if err := id.SetTime(ulid.Timestamp(at)); err != nil || at.Before(time.Unix(0, 0)) {
		return ""
	}
	return id.String()
}
