package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strings"
)

// row is one line of a table: a measurement, what it is compared with, and what
// it should be.
type row struct {
	what    string
	got     series
	against string // what base is
	base    series
	// Goals, 0 = none: the most that the ratio got/base or the value may be, and
	// the least.
	ratioGoal, valueGoal   float64
	ratioLeast, valueLeast float64
	exact                  bool   // with valueGoal 0: it should be 0
	missing                string // why it was not measured; empty = it was
}

// verdict says what was to be reached, and whether it was.
func (r row) verdict() string {
	var goals []string
	value, unit := r.got.median(), strings.TrimRight(" "+r.got.unit, " ")
	judge := func(sign string, goal, value float64, unit string, reached bool) {
		verdict := "missed"
		switch {
		case math.IsNaN(value):
			verdict = "not measured"
		case reached:
			verdict = "reached"
		}
		goals = append(goals, fmt.Sprintf("%s %s%s: %s", sign, digits(goal), unit, verdict))
	}
	if r.valueGoal > 0 || r.exact {
		judge("≤", r.valueGoal, value, unit, value <= r.valueGoal)
	}
	if r.valueLeast > 0 {
		judge("≥", r.valueLeast, value, unit, value >= r.valueLeast)
	}
	ratio := r.got.over(r.base).median()
	if r.ratioGoal > 0 {
		judge("≤", r.ratioGoal, ratio, "×", ratio <= r.ratioGoal)
	}
	if r.ratioLeast > 0 {
		judge("≥", r.ratioLeast, ratio, "×", ratio >= r.ratioLeast)
	}
	return strings.Join(goals, "; ")
}

func markdown(rows []row) string {
	var b strings.Builder
	b.WriteString("| | median (min–max) | compared with | ratio | goal |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		got, against, ratio := r.got.String(), "", ""
		if r.missing != "" {
			got = "not measured: " + strings.ReplaceAll(r.missing, "|", "\\|")
		}
		if len(r.base.values) > 0 {
			against = r.against + ": " + r.base.String()
			if r.missing == "" {
				ratio = r.got.over(r.base).String() + "×"
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.what, got, against, ratio, r.verdict())
	}
	return b.String()
}

// replaceBetween puts text between the two markers of a name in a file.
func replaceBetween(file, name, text string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin, end := []byte("<!-- "+name+" -->\n"), []byte("<!-- /"+name+" -->")
	head, rest, ok := bytes.Cut(content, begin)
	_, tail, closed := bytes.Cut(rest, end)
	if !ok || !closed {
		return fmt.Errorf("%s has no markers %s… %s", file, bytes.TrimSpace(begin), end)
	}
	return os.WriteFile(file, bytes.Join([][]byte{head, begin, []byte(text), end, tail}, nil), 0o644)
}
