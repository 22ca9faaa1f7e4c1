package calendar

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func mustCron(t testing.TB, expression, zone string) *Calendar {
	t.Helper()
	c, err := Cron(expression, zone)
	if err != nil {
		t.Fatalf("Cron(%q, %q) error = %v", expression, zone, err)
	}
	return c
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// slots are the next few after a moment, as the zone's clocks show them.
func slots(c *Calendar, after time.Time, n int) (texts []string) {
	for range n {
		after = c.Next(after)
		texts = append(texts, after.Format(time.RFC3339))
	}
	return texts
}

// Clocks go from 2:00 to 3:00 on 2026-03-29 in Berlin and on 2026-03-08 in New
// York, and back from 3:00 to 2:00 on 2026-10-25, and from 2:00 to 1:00 on
// 2026-11-01.
func TestSlotsWhenClocksChange(t *testing.T) {
	t.Parallel()
	const berlin, newYork = "Europe/Berlin", "America/New_York"
	for name, test := range map[string]struct {
		cron, zone, after string
		want              []string
	}{
		"plain": {"30 2 * * *", berlin, "2026-07-01T01:00:00Z", []string{"2026-07-02T02:30:00+02:00", "2026-07-03T02:30:00+02:00"}},
		"Berlin, an hour that isn't there": {"30 2 * * *", berlin, "2026-03-28T12:00:00Z", []string{
			"2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00",
		}},
		"Berlin, several that aren't there": {"*/15 2 * * *", berlin, "2026-03-29T00:00:00Z", []string{
			"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00",
		}},
		"Berlin, one that isn't there, and its neighbour": {"0 2,3 * * *", berlin, "2026-03-29T00:00:00Z", []string{
			"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00", "2026-03-30T03:00:00+02:00",
		}},
		"Berlin, an hour that is there twice": {"30 2 * * *", berlin, "2026-10-24T12:00:00Z", []string{
			"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00",
		}},
		"Berlin, from within the second": {"30 2 * * *", berlin, "2026-10-25T01:10:00Z", []string{"2026-10-26T02:30:00+01:00"}},
		"Berlin, every second hour, back": {"0 */2 * * *", berlin, "2026-10-24T21:00:00Z", []string{
			"2026-10-25T00:00:00+02:00", "2026-10-25T02:00:00+02:00", "2026-10-25T04:00:00+01:00",
		}},
		"Berlin, every second hour, forward": {"0 */2 * * *", berlin, "2026-03-28T22:00:00Z", []string{
			"2026-03-29T00:00:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00",
		}},
		"Berlin, every hour, back": {"15 * * * *", berlin, "2026-10-24T23:00:00Z", []string{
			"2026-10-25T01:15:00+02:00", "2026-10-25T02:15:00+02:00", "2026-10-25T02:15:00+01:00", "2026-10-25T03:15:00+01:00",
		}},
		"Berlin, every hour, forward": {"15 * * * *", berlin, "2026-03-29T00:00:00Z", []string{
			"2026-03-29T01:15:00+01:00", "2026-03-29T03:15:00+02:00", "2026-03-29T04:15:00+02:00",
		}},
		"Berlin, midnight": {"@daily", berlin, "2026-10-24T12:00:00Z", []string{
			"2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00",
		}},
		"New York, an hour that isn't there": {"30 2 * * *", newYork, "2026-03-07T12:00:00Z", []string{
			"2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00",
		}},
		"New York, an hour that is there twice": {"30 1 * * *", newYork, "2026-10-31T12:00:00Z", []string{
			"2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00",
		}},
		"New York, every half hour, back": {"*/30 * * * *", newYork, "2026-11-01T05:00:00Z", []string{
			"2026-11-01T01:30:00-04:00", "2026-11-01T01:00:00-05:00", "2026-11-01T01:30:00-05:00", "2026-11-01T02:00:00-05:00",
		}},
		"New York, working hours": {"0 9 * * 1-5", newYork, "2026-10-30T14:00:00Z", []string{"2026-11-02T09:00:00-05:00"}},
		"half an hour, Lord Howe": {"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", []string{
			"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00",
		}},
		"midnight isn't there, Cairo": {"0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", []string{
			"2026-04-24T01:00:00+03:00", "2026-04-25T00:00:00+03:00",
		}},
		"29 February": {"0 0 29 2 *", "", "2026-03-01T00:00:00Z", []string{"2028-02-29T00:00:00Z"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := mustCron(t, test.cron, test.zone)
			if got := slots(c, at(t, test.after), len(test.want)); !slices.Equal(got, test.want) {
				t.Errorf("slots of %q after %s:\n got %v\nwant %v", test.cron, test.after, got, test.want)
			}
		})
	}
}

// A time of day comes exactly once on each day of a year, in whatever zone.
func TestEachDayHasOneSlot(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"Europe/Berlin", "America/New_York", "Africa/Cairo", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"} {
		for _, expression := range []string{"0 0 * * *", "59 1 * * *", "30 2 * * *", "0 3 * * *"} {
			c := mustCron(t, expression, zone)
			slot := at(t, "2026-01-01T12:00:00Z")
			for day := range 365 {
				next := c.Next(slot)
				if gap := next.Sub(slot); day > 0 && (gap < 22*time.Hour || gap > 26*time.Hour) {
					t.Fatalf("%s in %s: %s after %s", expression, zone, next, slot)
				}
				slot = next
			}
		}
	}
}

func TestCronFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		cron, zone string
		want       error
	}{
		{"", "", ErrCron},
		{"* * * *", "", ErrCron},
		{"0 * * * * *", "", ErrCron},
		{"60 * * * *", "", ErrCron},
		{"*/0 * * * *", "", ErrCron},
		{"5-1 * * * *", "", ErrCron},
		{"x * * * *", "", ErrCron},
		{"@every 5m", "", ErrCron},
		{"@reboot", "", ErrCron},
		{"TZ=UTC 0 0 * * *", "", ErrCron},
		{"CRON_TZ=Europe/Berlin 0 0 * * *", "", ErrCron},
		{"TZ=x", "", ErrCron},
		{strings.Repeat("1,", 200) + "1 * * * *", "", ErrCron},
		{"0 0 31 2 *", "", ErrNever},
		{"0 0 30 2 *", "Europe/Berlin", ErrNever},
		{"0 0 31 4,6,9,11 *", "", ErrNever},
		{"* * 31 2 *", "Europe/Berlin", ErrNever},
		{"@daily", "Europe/Berln", ErrZone},
		{"@daily", "Local", ErrZone},
		{"@daily", "../etc/passwd", ErrZone},
		{"@daily", "/etc/localtime", ErrZone},
	} {
		if c, err := Cron(test.cron, test.zone); !errors.Is(err, test.want) {
			t.Errorf("Cron(%q, %q) = %v, %v, want %v", test.cron, test.zone, c, err, test.want)
		}
	}
}

func TestEvery(t *testing.T) {
	t.Parallel()
	c, err := Every(90 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z", "2026-01-01T00:03:00Z"}
	if got := slots(c, at(t, "2025-12-31T23:59:59.5Z"), 3); !slices.Equal(got, want) {
		t.Errorf("slots %v, want %v", got, want)
	}
	if got := c.Next(time.Unix(-91, 0)); !got.Equal(time.Unix(-90, 0)) {
		t.Errorf("before 1970: %v", got)
	}
	for _, wrong := range []time.Duration{0, -time.Second, time.Millisecond, 1500 * time.Millisecond, MaxEvery + time.Second} {
		if c, err := Every(wrong); !errors.Is(err, ErrEvery) {
			t.Errorf("Every(%v) = %v, %v", wrong, c, err)
		}
	}
}

func TestLatest(t *testing.T) {
	t.Parallel()
	every, err := Every(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		c                  *Calendar
		after, until, want string // want empty: none
	}{
		"none":                {mustCron(t, "@daily", ""), "2026-01-01T00:00:00Z", "2026-01-01T23:59:59Z", ""},
		"until is one":        {mustCron(t, "@daily", ""), "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-02T00:00:00Z"},
		"of many":             {mustCron(t, "* * * * *", ""), "1990-01-01T00:00:00Z", "2026-01-02T00:00:30Z", "2026-01-02T00:00:00Z"},
		"of a few":            {mustCron(t, "0 0 1 1 *", "Europe/Berlin"), "1990-01-01T00:00:00Z", "2026-11-02T00:00:30Z", "2025-12-31T23:00:00Z"},
		"until before after":  {mustCron(t, "* * * * *", ""), "2026-01-02T00:00:00Z", "2026-01-01T00:00:30Z", ""},
		"interval":            {every, "2020-01-02T00:00:00Z", "2026-01-02T00:00:00.7Z", "2026-01-02T00:00:00Z"},
		"interval, none":      {every, "2026-01-02T00:00:00Z", "2026-01-02T00:00:00.7Z", ""},
		"interval, until one": {every, "2026-01-02T00:00:00Z", "2026-01-02T00:00:01Z", "2026-01-02T00:00:01Z"},
	} {
		got := test.c.Latest(at(t, test.after), at(t, test.until))
		if test.want == "" && !got.IsZero() || test.want != "" && !got.Equal(at(t, test.want)) {
			t.Errorf("%s: Latest() = %v, want %q", name, got, test.want)
		}
	}
}

func FuzzCron(f *testing.F) {
	for _, seed := range []string{"* * * * *", "0 0 31 2 *", "@daily", "TZ=", "CRON_TZ= ", "1-5/2,7 */3 L * 1#2"} {
		f.Add(seed, "Europe/Berlin")
	}
	f.Fuzz(func(t *testing.T, expression, zone string) {
		c, err := Cron(expression, zone)
		if err != nil {
			return
		}
		now := time.Now()
		for range 5 {
			next := c.Next(now)
			if next.IsZero() {
				return
			}
			if !next.After(now) {
				t.Fatalf("%q in %q: %v is not after %v", expression, zone, next, now)
			}
			now = next
		}
	})
}
