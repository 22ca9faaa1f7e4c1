package schedule

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"attune/gateway/pack"
)

var (
	// ErrNone says that there is no schedule of that ref.
	ErrNone = errors.New("no such schedule")
	// ErrExists says that there is one already.
	ErrExists = errors.New("there is a schedule of that ref")
	// ErrInPack says that a schedule is a file of its pack, and goes with it.
	ErrInPack = errors.New("schedule is a file of its pack")
	// ErrTooMany says that MaxStored schedules are stored.
	ErrTooMany = errors.New("too many schedules are stored")
)

// Stored is a schedule that came by the API.
type Stored struct {
	Spec      pack.ScheduleSpec `json:"spec"`
	CreatedAt time.Time         `json:"created_at"`
}

// State is how far a schedule has come. There is one for all gateways.
type State struct {
	Ref     string `json:"ref"`
	Version int64  `json:"version"` // counts the writes; 0 = never written
	// Timing is what the calendar was made of. A schedule that was changed starts
	// anew: slots that it didn't have when they passed were not missed.
	Timing string    `json:"timing"`
	Cursor time.Time `json:"cursor"` // what is to happen to every slot up to here is decided
	Paused bool      `json:"paused,omitempty"`
	// Claim is a slot that has to run and is not known to. No later one is
	// claimed meanwhile. Nil = there is none.
	Claim *Claim `json:"claim,omitempty"`
	Run   string `json:"run,omitempty"`  // ID of the latest execution, which may go on
	Last  *Slot  `json:"last,omitempty"` // the latest that was decided; nil = none yet
}

// Claim says who makes a slot's execution. After Until anybody may, who takes
// the claim over first.
type Claim struct {
	Slot     time.Time `json:"slot"`
	ID       string    `json:"id"` // of the execution: the same, whoever makes it
	By       string    `json:"by"` // ID of the gateway
	Until    time.Time `json:"until"`
	Attempts int       `json:"attempts,omitempty"` // to make it, that failed for now
	Code     string    `json:"code,omitempty"`     // why the last one did
	Reason   string    `json:"reason,omitempty"`
}

// Outcome is what became of a slot.
type Outcome string

const (
	Started Outcome = "started" // its execution exists
	Skipped Outcome = "skipped" // the run before had not ended (overlap: skip)
	Missed  Outcome = "missed"  // no gateway was there in time (misfire: skip)
	Refused Outcome = "refused" // its execution can't be made, as the code says
)

// Slot is the end of a slot.
type Slot struct {
	Slot      time.Time `json:"slot"` // when it was due, without jitter
	At        time.Time `json:"at"`   // when that was decided
	Outcome   Outcome   `json:"outcome"`
	Execution string    `json:"execution,omitempty"`
	Code      string    `json:"code,omitempty"`   // a problem's slug
	Reason    string    `json:"reason,omitempty"` // for people
}

// Store keeps what gateways must agree on. Both adapters (embedded database,
// Redis) pass scheduletest.Exercise. All methods may be called concurrently.
type Store interface {
	// Load returns all stored schedules, sorted by ref, and all states by ref.
	Load(ctx context.Context) ([]Stored, map[string]State, error)
	// Create stores a schedule. ErrExists.
	Create(ctx context.Context, s Stored) error
	// Delete forgets a stored schedule, and the state of that ref. ErrNone.
	Delete(ctx context.Context, ref string) error
	// Swap writes a state if the stored one has the version before, or if there
	// is none and before is 0; it reports whether it did. It is atomic: of several
	// with the same before one does. The same state again is no second write.
	Swap(ctx context.Context, before int64, s State) (bool, error)
}

// timing is what State.Timing has of a schedule.
func timing(s *pack.Schedule) string {
	state := "on"
	if !s.Enabled {
		state = "off"
	}
	return strings.Join([]string{s.Spec.Cron, s.Spec.Every, s.Spec.Timezone, state}, "\n")
}

// executionID makes a slot's ID, which is the same for every gateway: that is
// what keeps a slot that is submitted twice from running twice.
func executionID(ref string, slot time.Time) string {
	var id ulid.ULID
	ms := uint64(slot.UnixMilli())
	id[0], id[1], id[2], id[3], id[4], id[5] = byte(ms>>40), byte(ms>>32), byte(ms>>24), byte(ms>>16), byte(ms>>8), byte(ms)
	sum := digest("execution", ref, slot)
	copy(id[6:], sum[:])
	return id.String()
}

// jitter is how much later than its slot a run is: as good as random, and the
// same for every gateway.
func jitter(s *pack.Schedule, slot time.Time) time.Duration {
	if s.Jitter <= 0 {
		return 0
	}
	sum := digest("jitter", s.Ref.String(), slot)
	return time.Duration(binary.BigEndian.Uint64(sum[:]) % uint64(s.Jitter))
}

func digest(what, ref string, slot time.Time) [sha256.Size]byte {
	return sha256.Sum256([]byte(what + "\n" + ref + "\n" + slot.UTC().Format(time.RFC3339)))
}
