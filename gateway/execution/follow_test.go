package execution

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// began is an execution that runs by itself, with small limits.
func began(log, result int64) (*Live, *Running) {
	l := NewLive()
	r := l.Begin(&Execution{ID: "x", Action: "demo.x"}, Limits{Log: log, Result: result}, func(error) {})
	return l, r
}

func (r *Running) print(name Stream, text string) {
	if _, err := r.out.of(name).Write([]byte(text)); err != nil {
		panic(err) // a buffer takes everything
	}
}

// all reads a follower until it has nothing more.
func (f *Follower) all() string {
	var b strings.Builder
	for text := f.Text(); text != ""; text = f.Text() {
		b.WriteString(text)
	}
	return b.String()
}

func TestFollowerSeesWhatIsPrintedAsItIsPrinted(t *testing.T) {
	t.Parallel()
	l, r := began(1<<10, 1<<10)
	f := r.Follow(Stdout)
	for _, step := range []struct{ printed, seen string }{
		{"", ""}, {"a\n", "a\n"}, {"€"[:1], ""}, {"€"[1:2], ""}, {"€"[2:], "€"}, {"\xff", "\uFFFD"}, {"\xfe", ""}, {"b", "b"}, {"\x00", "\x00"},
		{strings.Repeat("é", 100), strings.Repeat("é", 100)}, {"😀"[:3], ""},
	} {
		r.print(Stdout, step.printed)
		if got := f.all(); got != step.seen {
			t.Errorf("after %q: Text() = %q, want %q", step.printed, got, step.seen)
		}
	}
	l.End(&Execution{ID: "x"}, func() {})
	if got := f.all(); got != "\uFFFD" { // half a character that nothing completes
		t.Errorf("after the end: Text() = %q", got)
	}
}

func TestFollowerGetsNoMoreThanAChunkAtOnce(t *testing.T) {
	t.Parallel()
	_, r := began(1<<20, 1<<20)
	r.print(Stdout, "x"+strings.Repeat("€", 20_000))
	f := r.Follow(Stdout)
	total := 0
	for text := f.Text(); text != ""; text = f.Text() {
		if total += len(text); len(text) > followBytes || !utf8.ValidString(text) || strings.Contains(text, "\uFFFD") {
			t.Fatalf("Text() has %d bytes", len(text))
		}
	}
	if total != 60_001 {
		t.Errorf("%d bytes were read, want all", total)
	}
}

// A follower that is slow reads what others have read long before: everybody
// shares one buffer, and it starts where it wants to.
func TestFollowersAreIndependent(t *testing.T) {
	t.Parallel()
	l, r := began(1<<10, 1<<10)
	early := r.Follow(Stderr)
	r.print(Stderr, "one ")
	if got := early.all(); got != "one " {
		t.Errorf("early: %q", got)
	}
	r.print(Stderr, "two")
	l.End(&Execution{ID: "x"}, func() {})
	for name, f := range map[string]*Follower{"two": early, "one two": r.Follow(Stderr)} {
		if got := f.all(); got != name {
			t.Errorf("Text() = %q, want %q", got, name)
		}
	}
	if got := r.Follow(Stdout).all(); got != "" {
		t.Errorf("stdout: %q", got)
	}
}

func TestFollowerOfLines(t *testing.T) {
	t.Parallel()
	l, r := began(1<<10, 1<<10)
	f := r.Follow(Stdout)
	lines := func() string {
		var got []string
		for line, ok := f.Line(); ok; line, ok = f.Line() {
			got = append(got, string(line))
		}
		return strings.Join(got, "|")
	}
	for _, step := range []struct{ printed, lines string }{
		{"{\"a\":", ""}, {"1}", ""}, {"\n", `{"a":1}`}, {"\n\r\nx\ny", "|\r|x"}, {"z", ""},
	} {
		r.print(Stdout, step.printed)
		if got := lines(); got != step.lines {
			t.Errorf("after %q: lines = %q, want %q", step.printed, got, step.lines)
		}
	}
	l.End(&Execution{ID: "x"}, func() {})
	if got := lines(); got != "yz" {
		t.Errorf("after the end: lines = %q", got)
	}
}

func TestFollowerOfALogEndsWithTheNoticeOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		printed string
		dropped int64
		beyond  int64
	}{
		"below":                 {"abc", 0, 0},
		"exactly":               {"0123456789", 0, 0},
		"one more":              {"0123456789a", 0, 1},
		"in a character":        {"012345678é", 0, 2},
		"dropped by the agent":  {"0123456789a", 7, 8},
		"no text":               {"0123456\xff\x80\x80\x80", 0, 4},
		"nothing":               {"", 0, 0},
		"a multibyte end":       {"0123456€", 0, 0},
		"several wide ones":     {"😀😀😀", 0, 4},
		"an end that is half":   {"01234567\xe2\x82", 0, 0},
		"a cut and bad ones":    {"0123\xff\xfe\xfd56789", 0, 2},
		"limit and a bad start": {"0123456789\x80", 0, 2},
	} {
		for _, ended := range []bool{false, true} { // looked at only afterwards, or all the time
			l, r := began(10, 10)
			f := r.FollowLog(Stderr)
			var got strings.Builder
			for _, b := range []byte(test.printed) {
				r.print(Stderr, string([]byte{b}))
				if !ended {
					got.WriteString(f.all())
				}
			}
			r.out.stderr.dropped = test.dropped
			want, _ := r.out.stderr.log(Stderr, 10)
			l.End(&Execution{ID: "x"}, func() {})
			got.WriteString(f.all())
			if got.String() != want || f.Beyond() != test.beyond {
				t.Errorf("%s: followed = %q, %d beyond, want %q, %d", name, got.String(), f.Beyond(), want, test.beyond)
			}
		}
	}
}

// FuzzFollower: whatever the chunks, whoever follows reads what is recorded.
func FuzzFollower(f *testing.F) {
	f.Add([]byte("abcé😀\xff\xfe\x80 €"), int64(7), uint64(1))
	f.Add([]byte("\xf0\x9f\x98\xe2\x82\xc3\x80\x80\x80\xff"), int64(5), uint64(3))
	f.Fuzz(func(t *testing.T, printed []byte, limit int64, seed uint64) {
		if limit < 0 || limit > 1<<16 || len(printed) > 1<<16 {
			return
		}
		random := rand.New(rand.NewPCG(seed, 0))
		l, r := began(limit, limit)
		log, raw := r.FollowLog(Stdout), r.Follow(Stdout)
		var text, bytes strings.Builder
		for rest := printed; len(rest) > 0; {
			n := 1 + random.IntN(len(rest))
			r.print(Stdout, string(rest[:n]))
			rest = rest[n:]
			text.WriteString(log.all())
			bytes.Write(raw.Bytes())
		}
		want, _ := r.out.stdout.log(Stdout, limit)
		l.End(&Execution{ID: "x"}, func() {})
		text.WriteString(log.all())
		for b := raw.Bytes(); len(b) > 0; b = raw.Bytes() {
			bytes.Write(b)
		}
		if text.String() != want {
			t.Errorf("followed %q, recorded %q", text.String(), want)
		}
		if got := string(cutAtRune(printed, limit)); bytes.String() != got {
			t.Errorf("bytes %q, want %q", bytes.String(), got)
		}
	})
}
