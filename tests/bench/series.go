package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// series are repeated measurements of one thing.
type series struct {
	unit   string // "s", "ms", "ns", "MiB", or "" for a count
	values []float64
}

func (s *series) add(v float64) { s.values = append(s.values, v) }

// took adds a duration, in the series' unit.
func (s *series) took(d time.Duration) {
	unit := map[string]time.Duration{"s": time.Second, "ms": time.Millisecond, "ns": 1}[s.unit]
	s.add(float64(d) / float64(unit))
}

func (s series) median() float64 {
	sorted := slices.Sorted(slices.Values(s.values))
	switch n := len(sorted); {
	case n == 0:
		return math.NaN()
	case n%2 == 1:
		return sorted[n/2]
	default:
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
}

// over is this series in multiples of another. Measurements that were taken in
// turns are compared pair by pair: what slows the machine for a while slows both.
func (s series) over(base series) series {
	var ratio series
	if len(s.values) == len(base.values) {
		for i := range s.values {
			ratio.add(s.values[i] / base.values[i])
		}
		return ratio
	}
	ratio.add(s.median() / base.median())
	return ratio
}

// String is the median and the smallest and largest value.
func (s series) String() string {
	if len(s.values) == 0 {
		return ""
	}
	text := digits(s.median())
	if s.unit != "" {
		text += " " + s.unit
	}
	if low, high := digits(slices.Min(s.values)), digits(slices.Max(s.values)); low != high {
		text += fmt.Sprintf(" (%s–%s)", low, high)
	}
	return text
}

// digits writes three significant digits.
func digits(v float64) string {
	if v == 0 || math.IsNaN(v) {
		return fmt.Sprint(v)
	}
	places := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	return fmt.Sprintf("%.*f", max(0, min(places, 3)), v)
}
