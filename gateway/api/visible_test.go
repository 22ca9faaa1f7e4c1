package api

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/sqlite"
)

// A key's pages have every execution of its packs once, newest first, in pages as
// large as they can be, however many of other packs lie between.
func TestExecutionsOfAKeysPacksPageByPage(t *testing.T) {
	t.Parallel()
	store, err := sqlite.Open(filepath.Join(t.TempDir(), "attune.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	var all []*execution.Execution
	var want []string
	begun := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for n := range 6000 { // more than one answer looks at
		ref := "demo"
		if n%7 == 0 && n < 100 || n == 3000 || n > 5990 {
			ref = "snake"
		}
		x := &execution.Execution{
			ID: ulid.Make().String(), Action: ref + ".run", Pack: ref, Status: execution.StatusSucceeded,
			CreatedAt: begun.Add(time.Duration(n) * time.Second),
		}
		if ref == "snake" {
			want = append(want, x.ID)
		}
		all = append(all, x)
	}
	slices.Reverse(want)
	for batch := range slices.Chunk(all, 500) {
		if err := store.Save(t.Context(), batch...); err != nil {
			t.Fatal(err)
		}
	}
	recorder := execution.NewRecorder(store, execution.Retention{Keep: 10_000}, slog.New(slog.DiscardHandler))
	w, _ := keyed(t, func(o *Options) { o.Store = recorder })
	for _, limit := range []int{1, 4, 9, 10, 200} {
		var got []string
		cursor, pages := "", 0
		for token := w.token(t, "read:snake"); ; pages++ {
			target := fmt.Sprintf("/api/v1/executions?limit=%d", limit)
			if cursor != "" {
				target += "&cursor=" + cursor
			}
			_, body := w.do(t, "GET", target, "", "Authorization", "Bearer "+token)
			var page struct {
				Items []struct{ ID string }
				Next  *string
			}
			if err := json.Unmarshal([]byte(body), &page); err != nil || page.Items == nil || len(page.Items) > limit {
				t.Fatalf("GET %s = %s", target, body)
			}
			for _, x := range page.Items {
				got = append(got, x.ID)
			}
			if page.Next == nil {
				break
			}
			cursor = *page.Next
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d have %d executions, want %d", limit, len(got), len(want))
		}
		if most := len(want)/limit + 3; pages > most {
			t.Errorf("pages of %d: %d of them, want at most %d", limit, pages, most)
		}
	}
	if status, _ := w.status(t, "GET", "/api/v1/executions/"+want[0], "", w.token(t, key.Scope("read:demo"))); status != absent {
		t.Errorf("another pack's execution = %d, want 404", status)
	}
}
