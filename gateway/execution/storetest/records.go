package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"attune/gateway/execution"
)

func everyFieldRoundTrips(t *testing.T, s execution.Store) {
	// So that a new field isn't forgotten in the sample.
	if value := reflect.ValueOf(*full()); true {
		for i := range value.NumField() {
			if value.Field(i).IsZero() {
				t.Fatalf("the sample has no %s", value.Type().Field(i).Name)
			}
		}
	}
	mustSave(t, s, full())
	wantSame(t, "Get", mustGet(t, s, full().ID), full())

	bare := numbered(1)
	mustSave(t, s, bare)
	wantSame(t, "Get of one with nil everywhere", mustGet(t, s, bare.ID), bare)

	zero := 0
	exited := numbered(2)
	exited.ExitCode = &zero
	mustSave(t, s, exited)
	wantSame(t, "Get of exit code 0", mustGet(t, s, exited.ID), exited)
}

func oddOutputRoundTrips(t *testing.T, s execution.Store) {
	for n, output := range []string{
		"", " ", "\x00", "a\x00b", "\xff\xfe not UTF-8", "\u2028 <&> ☃ 😀", "null", "{}", "'; DROP TABLE executions; --",
		strings.Repeat("0123456789abcdef", 1<<16), // 1 MiB
	} {
		want := numbered(n)
		want.Stdout, want.Stderr = output, output+"!"
		mustSave(t, s, want)
		wantSame(t, fmt.Sprintf("Get with output %.20q", output), mustGet(t, s, want.ID), want)
	}
}

func resultRoundTrips(t *testing.T, s execution.Store) {
	for n, result := range []json.RawMessage{
		nil,
		json.RawMessage(`null`),
		json.RawMessage(`""`),
		json.RawMessage(`[]`),
		json.RawMessage(`false`),
		json.RawMessage(`9007199254740993`), // 2^53+1: no float64
		json.RawMessage(`1.0`),
		json.RawMessage(`{"b": 1,  "a": [1e400, -0, "\u00e9é<"], "b": 2}`), // as the action wrote it
	} {
		want := numbered(n)
		want.Result = result
		mustSave(t, s, want)
		wantSame(t, fmt.Sprintf("Get with result %s", result), mustGet(t, s, want.ID), want)
	}
	empty := numbered(100)
	empty.Result = json.RawMessage{}
	mustSave(t, s, empty)
	if got := mustGet(t, s, empty.ID).Result; got != nil {
		t.Errorf("an empty result came back as %q, want none", got)
	}
}

func timesAreExactAndUTC(t *testing.T, s execution.Store) {
	for n, at := range []time.Time{
		epoch,
		epoch.In(time.FixedZone("", 5*3600+1800)),
		time.Now(), // has a monotonic clock
		time.Unix(0, 0),
		time.Unix(0, -1),
		time.Unix(0, 1<<53+1), // no float64
	} {
		want := numbered(n)
		want.CreatedAt, want.StartedAt, want.EndedAt = at, &at, &at
		mustSave(t, s, want)
		got := mustGet(t, s, want.ID)
		for field, saved := range map[string]time.Time{"created": got.CreatedAt, "started": *got.StartedAt, "ended": *got.EndedAt} {
			if !saved.Equal(at) || saved.Location() != time.UTC {
				t.Errorf("%s %v came back as %v", field, at, saved)
			}
		}
	}
}

func saveReplaces(t *testing.T, s execution.Store) {
	mustSave(t, s, full())
	want := numbered(7)
	want.ID = full().ID
	mustSave(t, s, want)
	wantSame(t, "Get of the replacement", mustGet(t, s, want.ID), want)
	wantSame(t, "List of the replacement", mustList(t, s, execution.Query{}).Executions, []*execution.Execution{want})

	// The last of a batch wins.
	earlier := numbered(8)
	earlier.ID = want.ID
	mustSave(t, s, earlier, full())
	wantSame(t, "Get of the last of a batch", mustGet(t, s, want.ID), full())
	wantSame(t, "List of the last of a batch", idsOf(mustList(t, s, execution.Query{}).Executions), []string{want.ID})
}

func saveTwiceChangesNothing(t *testing.T, s execution.Store) {
	all := series(5)
	mustSave(t, s, all...)
	mustSave(t, s, all...)
	mustSave(t, s)
	wantSame(t, "List after two saves", mustList(t, s, execution.Query{}).Executions, reversed(all))
	mustPrune(t, s, time.Time{}, 5, 0)
}

func saveRefusesWhatHasNoPlace(t *testing.T, s execution.Store) {
	for name, bad := range map[string]*execution.Execution{
		"no ID":   {CreatedAt: epoch},
		"no time": {ID: "01HQVXKQZB0000000000000000"},
	} {
		if err := s.Save(t.Context(), numbered(1), bad); err == nil {
			t.Errorf("Save of one with %s succeeded", name)
		}
	}
	wantSame(t, "List after refused saves", mustList(t, s, execution.Query{}).Executions, []*execution.Execution{})
}

func saveLeavesItsArgumentAlone(t *testing.T, s execution.Store) {
	e := full()
	e.CreatedAt = epoch.In(time.FixedZone("", 3600))
	zone := e.CreatedAt.Location()
	mustSave(t, s, e)
	if e.CreatedAt.Location() != zone {
		t.Errorf("Save changed the zone of created_at")
	}
	wantSame(t, "the argument of Save", e, full())
}

func saveKeepsALargeBatch(t *testing.T, s execution.Store) {
	all := series(200)
	for _, e := range all {
		e.Stdout = strings.Repeat("x", 64<<10) // 12.5 MiB together
	}
	mustSave(t, s, all...)
	wantSame(t, "List of the batch", walk(t, s, execution.Query{}, nil), newestFirst(199, 0))
	wantSame(t, "Get of the last", mustGet(t, s, all[199].ID), all[199])
}

func getMissing(t *testing.T, s execution.Store) {
	mustSave(t, s, numbered(1))
	for _, id := range []string{"", "x", numbered(2).ID, numbered(1).ID + " ", strings.ToLower(numbered(1).ID)} {
		if e, err := s.Get(t.Context(), id); !errors.Is(err, execution.ErrNoExecution) {
			t.Errorf("Get(%q) = %v, %v, want ErrNoExecution", id, e, err)
		}
	}
}

func cancelledContext(t *testing.T, s execution.Store) {
	ctx := cancelled(t)
	if err := s.Save(ctx, numbered(1)); err == nil {
		t.Error("Save with a cancelled context succeeded")
	}
	if _, err := s.Get(ctx, numbered(1).ID); err == nil || errors.Is(err, execution.ErrNoExecution) {
		t.Errorf("Get with a cancelled context: error = %v", err)
	}
	if _, err := s.List(ctx, execution.Query{}); err == nil {
		t.Error("List with a cancelled context succeeded")
	}
	if _, err := s.Prune(ctx, epoch, 0); err == nil {
		t.Error("Prune with a cancelled context succeeded")
	}
	mustSave(t, s, numbered(1)) // and the store is as good as before
}

func ping(t *testing.T, s execution.Store) {
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping() error = %v", err)
	}
	if err := s.Ping(cancelled(t)); err == nil {
		t.Error("Ping with a cancelled context succeeded")
	}
}

func reopenKeepsEverything(t *testing.T, s execution.Store, reopen func(*testing.T, execution.Store) execution.Store) {
	all := append(series(10), full())
	mustSave(t, s, all...)
	page := mustList(t, s, execution.Query{Limit: 4})
	s = reopen(t, s)
	for _, want := range all {
		wantSame(t, "Get after reopening", mustGet(t, s, want.ID), want)
	}
	rest := walk(t, s, execution.Query{Limit: 4, Cursor: page.Next}, nil)
	if got := append(idsOf(page.Executions), rest...); len(got) != len(all) {
		t.Errorf("pages across reopening: %v, want %d executions", got, len(all))
	}
}
