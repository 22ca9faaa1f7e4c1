package execution

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// Position is an execution's place in a listing: by time of creation, then by
// ID. Both stores sort by it, so that their cursors are the same.
type Position struct {
	CreatedAt int64 // nanoseconds since 1970, UTC
	ID        string
}

// maxIDBytes bounds an ID: a ULID has 26.
const maxIDBytes = 64

// cursorSumBytes of a checksum lead a cursor. It tells a damaged or made-up
// cursor from ours; it is no secret, for a cursor grants nothing.
const cursorSumBytes = 4

// Position of an execution. The error is for one that no store can keep:
// without an ID or with a time that doesn't fit.
func (e *Execution) Position() (Position, error) {
	if e.ID == "" || len(e.ID) > maxIDBytes {
		return Position{}, fmt.Errorf("execution ID of %d bytes: want 1 to %d", len(e.ID), maxIDBytes)
	}
	p := Position{CreatedAt: UnixNano(e.CreatedAt), ID: e.ID}
	if !time.Unix(0, p.CreatedAt).Equal(e.CreatedAt) {
		return Position{}, fmt.Errorf("execution %s: created_at is missing or out of range", e.ID)
	}
	return p, nil
}

// Cursor of the listing's rest behind the position.
func (p Position) Cursor() string {
	raw := make([]byte, cursorSumBytes, cursorSumBytes+8+len(p.ID))
	raw = binary.BigEndian.AppendUint64(raw, uint64(p.CreatedAt))
	raw = append(raw, p.ID...)
	sum := sha256.Sum256(raw[cursorSumBytes:])
	copy(raw, sum[:cursorSumBytes])
	return base64.RawURLEncoding.EncodeToString(raw)
}

// ParseCursor reads what Cursor wrote. ErrBadCursor.
func ParseCursor(cursor string) (Position, error) {
	// Strict, or the last character would have several spellings.
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) <= cursorSumBytes+8 || len(raw) > cursorSumBytes+8+maxIDBytes {
		return Position{}, ErrBadCursor
	}
	p := Position{
		CreatedAt: int64(binary.BigEndian.Uint64(raw[cursorSumBytes:])),
		ID:        string(raw[cursorSumBytes+8:]),
	}
	if p.Cursor() != cursor {
		return Position{}, ErrBadCursor
	}
	return p, nil
}

// PageSize is the limit that a listing keeps to: 1 to MaxLimit.
func (q Query) PageSize() int {
	return min(max(cmp.Or(q.Limit, DefaultLimit), 1), MaxLimit)
}

// NewPage makes the answer to a query from what a store found for it, at most
// one more than the page's size.
func NewPage(query Query, found []*Execution) (Page, error) {
	size := query.PageSize()
	if len(found) <= size {
		return Page{Executions: found}, nil
	}
	last, err := found[size-1].Position()
	if err != nil {
		return Page{}, err
	}
	return Page{Executions: found[:size], Next: last.Cursor()}, nil
}

// UnixNano is t.UnixNano, but the nearest possible value for a t that doesn't
// fit (before 1678 or after 2262).
func UnixNano(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}
