package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Bytes is a size. It is written as a number of bytes or with a unit: 512MiB,
// 2GiB (powers of 1024), 10MB (powers of 1000).
type Bytes int64

// Sizes of common units.
const (
	KiB Bytes = 1 << 10
	MiB Bytes = 1 << 20
	GiB Bytes = 1 << 30
	TiB Bytes = 1 << 40
)

// byteUnits are the suffixes of a size, largest power of 1024 first: the order
// in which String tries them.
var byteUnits = []struct {
	suffix string
	factor Bytes
}{
	{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

// ParseBytes reads a size; it is never negative.
func ParseBytes(text string) (Bytes, error) {
	number, factor := text, Bytes(1)
	for _, unit := range byteUnits {
		if rest, ok := strings.CutSuffix(text, unit.suffix); ok {
			number, factor = strings.TrimRight(rest, " "), unit.factor
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/int64(factor) {
		return 0, fmt.Errorf("%q is not a size: write a whole number with a unit, like 512MiB or 2GiB", text)
	}
	return Bytes(n) * factor, nil
}

// String writes the size in the largest unit that loses nothing.
func (b Bytes) String() string {
	for _, unit := range byteUnits[:4] {
		if b != 0 && b%unit.factor == 0 {
			return strconv.FormatInt(int64(b/unit.factor), 10) + unit.suffix
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// Duration is a length of time. It is written as Go does (90s, 1h30m, 250ms) or
// as a number of seconds.
type Duration time.Duration

// maxSeconds is the longest Duration that can be written as a number.
const maxSeconds = float64(math.MaxInt64 / int64(time.Second))

// ParseDuration reads a duration; it is never negative.
func ParseDuration(text string) (Duration, error) {
	d, err := time.ParseDuration(text)
	if n, numErr := strconv.ParseFloat(text, 64); numErr == nil && n >= 0 && n < maxSeconds {
		d, err = time.Duration(n*float64(time.Second)), nil
	}
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration: write 250ms, 90s, 1h30m or a number of seconds", text)
	}
	return Duration(d), nil
}

// String writes the duration without idle zeros: 15m, not 15m0s.
func (d Duration) String() string {
	text := time.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func seconds(n int) Duration { return Duration(time.Duration(n) * time.Second) }

func minutes(n int) Duration { return Duration(time.Duration(n) * time.Minute) }

// readableSize rounds a size to one decimal: "1.2 GiB". For eyes only.
func readableSize(n int64) string {
	for _, unit := range byteUnits[:4] {
		if n >= int64(unit.factor) {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(unit.factor), unit.suffix)
		}
	}
	return strconv.FormatInt(n, 10) + " B"
}
