package main

import (
	"bytes"
	"fmt"
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
	// Goals, 0 = none: the most that the ratio got/base or the value may be.
	ratioGoal, valueGoal float64
	exact                bool // with valueGoal 0: it should be 0
}

// verdict says what was to be reached, and whether it was.
func (r row) verdict() string {
	goal, value, unit := r.valueGoal, r.got.median(), strings.TrimRight(" "+r.got.unit, " ")
	switch {
	case r.ratioGoal > 0:
		goal, value, unit = r.ratioGoal, r.got.over(r.base).median(), "×"
	case r.valueGoal == 0 && !r.exact:
		return ""
	}
	verdict := "missed"
	if value <= goal {
		verdict = "reached"
	}
	return fmt.Sprintf("≤ %s%s: %s", digits(goal), unit, verdict)
}

func markdown(rows []row) string {
	var b strings.Builder
	b.WriteString("| | median (min–max) | compared with | ratio | goal |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		against, ratio := "", ""
		if len(r.base.values) > 0 {
			against, ratio = r.against+": "+r.base.String(), r.got.over(r.base).String()+"×"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.what, r.got, against, ratio, r.verdict())
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
