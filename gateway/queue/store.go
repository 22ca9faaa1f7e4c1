package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"attune/gateway/execution"
)

// ErrFull says that as many jobs wait as may.
var ErrFull = errors.New("the queue is full")

// ErrNoJob says that there is no such job, or none that this could be done to.
var ErrNoJob = errors.New("no such job")

// ErrLost says that a claim is not its owner's any more: it was not renewed in
// time, and the job is another's by now.
var ErrLost = errors.New("the claim was lost")

// Store keeps jobs, together with the records of their executions: each method
// that is given a record saves it in the same step as what it does to the job, or
// does neither. Both adapters (embedded database, Redis) pass queuetest.Exercise.
// All methods may be called concurrently, and by several gateways.
//
// A job waits, is claimed, and is removed or put back by who has the claim. A
// claim that isn't renewed ends by itself, and the job waits again: so whatever a
// store has once taken ends, by the hand of some gateway, and exactly one says
// how.
type Store interface {
	// Add stores a job. False: it was stored before, under this ID, and nothing
	// is changed. ErrFull; ErrNoJob if Instead isn't there.
	Add(ctx context.Context, a Addition) (bool, error)
	// Claim takes jobs that are due, up to Ask.Most. One pack after the other has
	// its turn; among the jobs of a pack it is the rank that counts, which is when
	// they were due, less Priority.headStart.
	Claim(ctx context.Context, ask Ask) ([]Claim, error)
	// Renew prolongs claims of one owner, and tells about each of them.
	Renew(ctx context.Context, lease time.Duration, claims ...Claim) ([]Standing, error)
	// Note saves the record of a claimed job. One that has ended stays so: the
	// job is left to be removed, whoever claims it. ErrLost.
	Note(ctx context.Context, c Claim, x *execution.Execution) error
	// Done removes a job; that of a dead execution becomes a dead letter. ErrLost.
	Done(ctx context.Context, c Claim, x *execution.Execution) error
	// Again puts a job back, to be claimed after a while. Uncounted, the claim
	// was no attempt. ErrLost.
	Again(ctx context.Context, c Claim, x *execution.Execution, after time.Duration, uncounted bool) error
	// Cancel ends a job that waits, for which x is the record, and reports true; of
	// one that is claimed it tells the owner by Renew. With keep the ended job is
	// left to be removed by who claims it next. ErrNoJob.
	Cancel(ctx context.Context, x *execution.Execution, keep bool) (ended bool, err error)

	// Find returns a job that waits, is claimed or dead, or that has ended
	// without success. ErrNoJob.
	Find(ctx context.Context, id string) (Entry, error)
	// Dead returns a page of dead letters, the youngest execution first, and the
	// ID after which the next page begins; empty = it was the last.
	Dead(ctx context.Context, after string, limit int) (letters []Letter, next string, err error)
	// Letter returns one dead letter. ErrNoJob.
	Letter(ctx context.Context, id string) (Letter, error)
	// Discard removes a dead letter. ErrNoJob.
	Discard(ctx context.Context, id string) error
	// Stats counts jobs.
	Stats(ctx context.Context) (Stats, error)
}

// Addition is a job to be stored.
type Addition struct {
	Entry
	Execution *execution.Execution
	Most      int    // jobs that there may be before it; 0 = any number
	Instead   string // ID of a dead letter that it replaces; empty = none
}

// Ask says what a worker can take.
type Ask struct {
	Owner   string
	Most    int            // jobs
	Lease   time.Duration  // of each claim
	PerKey  int            // claims of one API key's jobs at once, by all gateways; 0 = no bound
	Actions map[string]int // likewise of an action; absent = no bound, 0 = none for now
}

// Claim is a job that is somebody's to run.
type Claim struct {
	Entry
	Owner     string
	Turn      int64 // the how manieth claim of this job it is: an older one has lost it
	Attempt   int   // the how manieth run it would be
	Ended     bool  // its record says how: it is only to be removed
	Cancelled bool  // it was cancelled while it was claimed
}

// Standing is what has become of a claim.
type Standing int

// Standings.
const (
	Held      Standing = iota
	Lost               // another's by now
	Cancelled          // still held, and the job should be ended
)

// Letter is a dead letter: a job whose attempts are spent.
type Letter struct {
	Entry
	Execution *execution.Execution // without stdout, stderr and result
}

// Stats counts jobs.
type Stats struct {
	Waiting int // for their time, or for a gateway
	Claimed int
	Dead    int
}

// Entry is a job as stores keep it.
type Entry struct {
	Job
	Created time.Time
	Key     string // ID of the key that has sealed Box; empty = the parameters are in clear
	Box     []byte // sealed parameters, in place of Parameters
}

// Encode is the entry as bytes, of which stores need to know nothing.
func (e Entry) Encode() ([]byte, error) {
	encoded, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode job %s: %w", e.ID, err)
	}
	return encoded, nil
}

// DecodeEntry is the reverse of Entry.Encode.
func DecodeEntry(encoded []byte) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(encoded, &e); err != nil {
		return Entry{}, fmt.Errorf("decode stored job: %w", err)
	}
	return e, nil
}

// headStart is how much earlier than it was a job of a priority counts as due.
// So nothing starves: a low one that has waited for as long is as good as a
// normal one that just came.
const headStart = time.Minute

// HeadStart is how much earlier than it was a job counts as due for its priority;
// negative = later.
func (p Priority) HeadStart() time.Duration { return time.Duration(p) * headStart }

// Lane is what the job shares with those that are bound by the same limits.
func (j Job) Lane() string { return j.Action + "|" + j.Caller }
