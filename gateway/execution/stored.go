package execution

import (
	"encoding/json"
	"fmt"
	"time"
)

// Stored is an execution as both stores keep it: the part that a listing shows,
// and apart from it what can be long, byte by byte as it was.
type Stored struct {
	Position Position
	Record   []byte // JSON without the three below; times in UTC
	Stdout   string
	Stderr   string
	Result   []byte // nil: none
}

// Stored makes an execution ready to be stored, and leaves it as it is.
func (e *Execution) Stored() (Stored, error) {
	position, err := e.Position()
	if err != nil {
		return Stored{}, err
	}
	listed := *e
	listed.Stdout, listed.Stderr, listed.Result = "", "", nil
	listed.CreatedAt = e.CreatedAt.UTC()
	listed.StartedAt, listed.EndedAt = utc(e.StartedAt), utc(e.EndedAt)
	record, err := json.Marshal(listed)
	if err != nil {
		return Stored{}, fmt.Errorf("encode execution %s: %w", e.ID, err)
	}
	s := Stored{Position: position, Record: record, Stdout: e.Stdout, Stderr: e.Stderr}
	if len(e.Result) > 0 { // empty is no JSON, so it means none
		s.Result = e.Result
	}
	return s, nil
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// Execution is the reverse of Execution.Stored; without Stdout, Stderr and Result it gives the
// execution as a listing shows it.
func (s Stored) Execution() (*Execution, error) {
	var e Execution
	if err := json.Unmarshal(s.Record, &e); err != nil {
		return nil, fmt.Errorf("decode stored execution: %w", err)
	}
	e.Stdout, e.Stderr, e.Result = s.Stdout, s.Stderr, s.Result
	return &e, nil
}
