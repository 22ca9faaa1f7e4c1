package main

import (
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain is main for the children of this program.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == echoArg {
		exit(echo())
	}
	if len(os.Args) == 4 && os.Args[1] == tracedArg {
		exit(traced(os.Args[2], os.Args[3]))
	}
	os.Exit(m.Run())
}

// programs returns a directory with the programs under test.
func programs(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("ATTUNE_TEST_BIN"); bin != "" {
		return bin
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", dir, "attune/cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	return dir
}

// TestSmallStart runs the cheapest section, so that the benchmarks still work
// when somebody wants them.
func TestSmallStart(t *testing.T) {
	b := &bench{bin: programs(t), n: 1, packs: 3}
	rows, err := measureStartup(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if v := r.got.median(); math.IsNaN(v) || v <= 0 {
			t.Errorf("%s: %v", r.what, v)
		}
	}
}

// TestCounterCounts: a count of 0 is worth something only if others aren't.
func TestCounterCounts(t *testing.T) {
	h, err := newHome()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.remove(); err != nil {
			t.Error(err)
		}
	})
	r, err := openReady(t.Context(), h.dir, programs(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	got, err := countSystemCalls(h.dir, stats)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.values) != slicesInAll || slices.Min(got.values) < 1 {
		t.Errorf("countSystemCalls() = %v, want at least 1 in each of %d slices", got.values, slicesInAll)
	}
}

func TestReadmeHasAPlaceForEverySection(t *testing.T) {
	content, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(copied, content, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, s := range sections {
		if err := replaceBetween(copied, s.name, "table of "+s.name+"\n"); err != nil {
			t.Error(err)
		}
	}
	content, err = os.ReadFile(copied)
	if err != nil || strings.Count(string(content), "table of ") != len(sections) {
		t.Errorf("the file is now %q, %v", content, err)
	}
}

func TestTable(t *testing.T) {
	got, base := series{"s", []float64{2, 3, 1}}, series{"s", []float64{4, 4, 4}}
	table := markdown([]row{
		{what: "a", got: got, against: "b", base: base, ratioGoal: 0.2},
		{what: "c", got: series{"", []float64{0, 0}}, exact: true},
		{what: "d", got: series{"ms", []float64{1234, 0.12345}}, valueGoal: 1000},
		{what: "e", got: got, against: "b", base: base, ratioGoal: 0.6, valueGoal: 1},
		{what: "f", got: series{"/s", []float64{30}}, against: "g", base: series{"/s", []float64{100}}, ratioLeast: 0.2, valueLeast: 31},
		{what: "h", got: series{unit: "ms"}, against: "b", base: base, valueGoal: 2, missing: "a|b"},
	})
	want := `| | median (min–max) | compared with | ratio | goal |
|---|---|---|---|---|
| a | 2.00 s (1.00–3.00) | b: 4.00 s | 0.500 (0.250–0.750)× | ≤ 0.200×: missed |
| c | 0 |  |  | ≤ 0: reached |
| d | 617 ms (0.123–1234) |  |  | ≤ 1000 ms: reached |
| e | 2.00 s (1.00–3.00) | b: 4.00 s | 0.500 (0.250–0.750)× | ≤ 1.00 s: missed; ≤ 0.600×: reached |
| f | 30.0 /s | g: 100 /s | 0.300× | ≥ 31.0 /s: missed; ≥ 0.200×: reached |
| h | not measured: a\|b | b: 4.00 s |  | ≤ 2.00 ms: not measured |
`
	if table != want {
		t.Errorf("markdown() =\n%swant\n%s", table, want)
	}
}

func TestFigures(t *testing.T) {
	var s sample
	for i := range 200 {
		s.took = append(s.took, time.Duration(i+1)*time.Millisecond)
	}
	s.wall = 4 * time.Second
	for f, want := range map[figure]float64{p50: 100, p99: 198, rate: 50} {
		if got := f.of(s); got != want {
			t.Errorf("%s = %v, want %v", f, got, want)
		}
	}
	if got := p99.of(sample{took: s.took[:3]}); got != 3 {
		t.Errorf("p99 of three = %v, want the longest", got)
	}
	if got := p50.of(sample{}); !math.IsNaN(got) {
		t.Errorf("p50 of none = %v", got)
	}
}

func TestLinesNameSubjects(t *testing.T) {
	known := map[string]bool{"": true}
	for _, s := range subjects {
		known[s.name] = true
	}
	for _, l := range lines {
		if !known[l.subject] || !known[l.against] || l.subject == "" {
			t.Errorf("%s is about a subject that there isn't, or against one", l.what())
		}
	}
}

func TestRowOfALine(t *testing.T) {
	l := line{subject: "a", load: one, figure: p50, against: "b", beyond: true, goals: row{valueGoal: 3}}
	ms := func(n int) []sample {
		return []sample{{took: []time.Duration{time.Duration(n) * time.Millisecond}, wall: time.Second}}
	}
	a, b := loaded{"a", one.name}, loaded{"b", one.name}
	if got := l.row(map[loaded][]sample{a: ms(7), b: ms(5)}, nil); got.got.median() != 2 || got.verdict() != "≤ 3.00 ms: reached" {
		t.Errorf("beyond: %+v, %s", got, got.verdict())
	}
	got := l.row(map[loaded][]sample{b: ms(5)}, map[loaded]error{a: errors.New("no such\nkey")})
	if got.missing != "no such key" || got.verdict() != "≤ 3.00 ms: not measured" {
		t.Errorf("missing: %+v, %s", got, got.verdict())
	}
}

func TestRefusal(t *testing.T) {
	for body, want := range map[string]string{
		`{"type":"/problems/overloaded","detail":"come back"}`: "answered 503 overloaded: come back",
		"no JSON\n": "answered 503: no JSON",
	} {
		if got := refusal(503, []byte(body)).Error(); got != want {
			t.Errorf("refusal(%s) = %q, want %q", body, got, want)
		}
	}
}

// TestLoadCallsAPlainServer calls the baseline as the table does.
func TestLoadCallsAPlainServer(t *testing.T) {
	url, stop, err := startEcho()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	target := httpTarget{url: url}
	s, err := target.run(t.Context(), load{callers: 4, calls: 40}, time.Minute)
	if err != nil || len(s.took) != 40 {
		t.Errorf("run() = %d calls, %v, want 40", len(s.took), err)
	}
	if _, err := (httpTarget{url: url + "/nowhere"}).run(t.Context(), one, time.Minute); err == nil {
		t.Error("run() of a path that isn't there: no error")
	}
}
