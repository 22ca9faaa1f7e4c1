package execution

import (
	"encoding/base64"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestCursorRoundTrip(t *testing.T) {
	t.Parallel()
	for _, want := range []Position{
		{CreatedAt: 0, ID: "a"},
		{CreatedAt: math.MinInt64, ID: "01ARZ3NDEKTSV4RRFFQ69G5FAV"},
		{CreatedAt: math.MaxInt64, ID: strings.Repeat("x", maxIDBytes)},
	} {
		got, err := ParseCursor(want.Cursor())
		if err != nil || got != want {
			t.Errorf("ParseCursor(%v.Cursor()) = %v, %v", want, got, err)
		}
	}
}

func TestParseCursorRefusesWhatCursorDidNotWrite(t *testing.T) {
	t.Parallel()
	good := Position{CreatedAt: 1, ID: "01ARZ3NDEKTSV4RRFFQ69G5FAV"}.Cursor()
	for i := range good {
		damaged := []byte(good)
		damaged[i] ^= 1
		if p, err := ParseCursor(string(damaged)); !errors.Is(err, ErrBadCursor) {
			t.Errorf("ParseCursor(%q) = %v, %v, want ErrBadCursor", damaged, p, err)
		}
		if p, err := ParseCursor(good[:i]); !errors.Is(err, ErrBadCursor) {
			t.Errorf("ParseCursor(%q) = %v, %v, want ErrBadCursor", good[:i], p, err)
		}
	}
	for _, cursor := range []string{good + "A", good + "=", good + "\n", base64.RawURLEncoding.EncodeToString(make([]byte, 20))} {
		if p, err := ParseCursor(cursor); !errors.Is(err, ErrBadCursor) {
			t.Errorf("ParseCursor(%q) = %v, %v, want ErrBadCursor", cursor, p, err)
		}
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add(Position{CreatedAt: 1, ID: "a"}.Cursor())
	f.Fuzz(func(t *testing.T, cursor string) {
		p, err := ParseCursor(cursor)
		if err == nil && p.Cursor() != cursor {
			t.Errorf("ParseCursor(%q) = %v, whose cursor is %q", cursor, p, p.Cursor())
		}
	})
}

func TestPositionRefusesWhatNoStoreCanKeep(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, e := range map[string]*Execution{
		"no ID":    {CreatedAt: now},
		"long ID":  {CreatedAt: now, ID: strings.Repeat("x", maxIDBytes+1)},
		"no time":  {ID: "a"},
		"far time": {ID: "a", CreatedAt: time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if p, err := e.Position(); err == nil {
			t.Errorf("%s: Position() = %v, want an error", name, p)
		}
	}
}

func TestPageSize(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int]int{-1: 1, 0: DefaultLimit, 1: 1, MaxLimit: MaxLimit, MaxLimit + 1: MaxLimit} {
		if got := (Query{Limit: limit}).PageSize(); got != want {
			t.Errorf("Query{Limit: %d}.PageSize() = %d, want %d", limit, got, want)
		}
	}
}
