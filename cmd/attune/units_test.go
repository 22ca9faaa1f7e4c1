package main

import (
	"testing"
	"time"
)

func TestParseBytes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Bytes{
		"0": 0, "12": 12, "12B": 12, "1KiB": KiB, "512 MiB": 512 * MiB, "2GiB": 2 * GiB, "1TiB": TiB, "3MB": 3_000_000, "5kB": 5000,
	} {
		if got, err := ParseBytes(text); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5GiB", "1mib", "9999999999TiB", "1MiBB", "1 2"} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %d; want an error", text, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0": 0, "90": 90 * time.Second, "1.5": 1500 * time.Millisecond, "250ms": 250 * time.Millisecond, "1h30m": 90 * time.Minute,
	} {
		if got, err := ParseDuration(text); err != nil || time.Duration(got) != want {
			t.Errorf("ParseDuration(%q) = %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "-1s", "NaN", "Inf", "1e300", "1 h", "abc"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %s; want an error", text, got)
		}
	}
}

// Ensure units are written as people write them, and read back the same.
func TestUnitsAreWrittenShort(t *testing.T) {
	t.Parallel()
	for want, value := range map[string]Bytes{"0B": 0, "6MiB": 6 * MiB, "1536KiB": 1536 * KiB, "1000B": 1000} {
		got := value.String()
		if again, err := ParseBytes(got); got != want || err != nil || again != value {
			t.Errorf("Bytes(%d) = %s, read back as %d, %v; want %s", value, got, again, err, want)
		}
	}
	for want, value := range map[string]Duration{"15m": minutes(15), "168h": minutes(168 * 60), "1m30s": seconds(90), "10s": seconds(10), "0s": 0, "1h1m": minutes(61)} {
		got := value.String()
		if again, err := ParseDuration(got); got != want || err != nil || again != value {
			t.Errorf("Duration(%d) = %s, read back as %d, %v; want %s", value, got, again, err, want)
		}
	}
}
