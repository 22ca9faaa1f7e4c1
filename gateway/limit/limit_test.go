package limit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"attune/gateway/limit"
	"attune/gateway/limit/limittest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	limittest.Exercise(t, func(*testing.T) limit.Limiter { return limit.NewMemory() })
}

func TestParseRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]limit.Rate{
		"100/s":      {Limit: 100, Per: time.Second},
		"100/s,20":   {Limit: 100, Per: time.Second, Burst: 20},
		"10/30s":     {Limit: 10, Per: 30 * time.Second},
		"60/min":     {Limit: 60, Per: time.Minute},
		"5000/h":     {Limit: 5000, Per: time.Hour},
		"100000/day": {Limit: 100_000, Per: 24 * time.Hour},
	} {
		got, err := limit.ParseRate(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("ParseRate(%q) = %+v, %v, which is %q; want %+v", text, got, err, got, want)
		}
	}
	for _, text := range []string{
		"", "100", "/s", "x/s", "0/s", "-1/s", "1/", "1/x", "1/500ms", "1/0s", "1/-1s", "1/1000h", "1/s,", "1/s,0", "1/s,-1", "1/s,2",
		"99999999999999999999/s", "100000000/s", " 1/s", "1/s ", "1/s/s",
	} {
		if got, err := limit.ParseRate(text); err == nil {
			t.Errorf("ParseRate(%q) = %+v, want an error", text, got)
		}
	}
	var both struct {
		A limit.Rate `json:"a"`
		B limit.Rate `json:"b,omitzero"`
	}
	if err := json.Unmarshal([]byte(`{"a":"5/min","b":""}`), &both); err != nil || both.A.Limit != 5 || !both.B.IsZero() {
		t.Errorf("Unmarshal = %+v, %v", both, err)
	}
	if encoded, err := json.Marshal(both); err != nil || string(encoded) != `{"a":"5/min"}` {
		t.Errorf("Marshal = %s, %v", encoded, err)
	}
}

// A limiter doesn't grow with names that have come once.
func TestMemoryForgets(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.Now()
	m := limit.NewMemoryAt(func() time.Time { mu.Lock(); defer mu.Unlock(); return now })
	for i := range 100_000 {
		if state, err := m.Take(t.Context(), fmt.Sprint(i), limit.Rate{Limit: 1, Per: time.Second}); err != nil || !state.Allowed {
			t.Fatalf("Take() = %+v, %v", state, err)
		}
		mu.Lock()
		now = now.Add(10 * time.Millisecond)
		mu.Unlock()
		if m.Len() > 2100 {
			t.Fatalf("%d buckets are kept, of which 100 are not full", m.Len())
		}
	}
}

// away is a limiter that hangs.
type away struct{}

func (away) Take(ctx context.Context, _ string, _ limit.Rate) (limit.State, error) {
	<-ctx.Done()
	return limit.State{}, context.Cause(ctx)
}

// One that hangs is given up on, and not asked by everybody.
func TestSharedWithOneThatHangs(t *testing.T) {
	t.Parallel()
	s := limit.NewShared(away{}, slog.New(slog.DiscardHandler))
	allowed := 0
	for range 500 { // far more than could wait for it one by one
		state, err := s.Take(t.Context(), "a", limit.Rate{Limit: 3, Per: time.Hour})
		if err != nil {
			t.Fatalf("Take() error = %v", err)
		}
		if state.Allowed {
			allowed++
		}
	}
	if allowed != 3 {
		t.Errorf("%d were allowed, want 3", allowed)
	}
}

func TestSharedWithACallerWhoLeft(t *testing.T) {
	t.Parallel()
	s := limit.NewShared(leaver{limit.NewMemory()}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	rate := limit.Rate{Limit: 1, Per: time.Hour}
	if _, err := s.Take(ctx, "a", rate); err != nil {
		t.Errorf("Take() error = %v", err)
	}
	// The primary is still asked: its bucket is full.
	if state, err := s.Take(t.Context(), "a", rate); err != nil || !state.Allowed {
		t.Errorf("Take() = %+v, %v, want the primary's word", state, err)
	}
}

type leaver struct{ limit.Limiter }

func (l leaver) Take(ctx context.Context, name string, rate limit.Rate) (limit.State, error) {
	if ctx.Err() != nil {
		return limit.State{}, errors.New("cut off")
	}
	return l.Limiter.Take(ctx, name, rate)
}

func TestSlots(t *testing.T) {
	t.Parallel()
	var s limit.Slots
	first, _, ok := s.Enter("a", 2)
	second, _, ok2 := s.Enter("a", 2)
	if !ok || !ok2 {
		t.Fatal("two of two places are not free")
	}
	if _, after, ok := s.Enter("a", 2); ok || after <= 0 {
		t.Errorf("Enter() of a third = %t, %v, want a refusal with a time", ok, after)
	}
	if leave, _, ok := s.Enter("b", 1); !ok {
		t.Error("another name has no place")
	} else {
		leave()
	}
	first()
	first() // once is enough
	third, _, ok := s.Enter("a", 2)
	if _, _, fourth := s.Enter("a", 2); !ok || fourth {
		t.Errorf("after one has left: %t and %t, want one place", ok, fourth)
	}
	second()
	third()
}
