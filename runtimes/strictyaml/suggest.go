package strictyaml

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Suggest is the cure for a word that isn't one of known: the one that it was
// meant to be, or the list.
func Suggest(word string, known []string) string {
	word = strings.ToLower(word)
	best, bestAt := "", 3
	for _, candidate := range known {
		d := distance(word, candidate)
		plausible := d < 2 || d == 2 && word != "" && word[0] == candidate[0]
		if plausible && d < bestAt && d < len(candidate) {
			best, bestAt = candidate, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	sorted := slices.Sorted(slices.Values(known))
	return "there is " + strings.Join(sorted, ", ")
}

// distance is how many letters two words differ in, up to a bound.
func distance(a, b string) int {
	const far = 100
	if len(a) > 40 || len(b) > 40 {
		return far
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// quote shows a piece of a file in a fault: quoted, ASCII, and short.
func quote(s string) string { return fmt.Sprintf("%+q", shorten(s)) }

func shorten(s string) string {
	const limit = 40
	if len(s) <= limit {
		return s
	}
	for cut := limit; cut > 0; cut-- {
		if utf8.RuneStart(s[cut]) {
			return s[:cut] + "…"
		}
	}
	return ""
}
