package execution

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"attune/gateway/pack"
)

func TestStreamLog(t *testing.T) {
	t.Parallel()
	const notice = "\n\n[OUTPUT TRUNCATED: stdout exceeded size limit]\n"
	for _, test := range []struct {
		name      string
		kept      string
		dropped   int64
		limit     int64
		want      string
		truncated bool
		beyond    int64
	}{
		{"empty", "", 0, 4, "", false, 0},
		{"below", "abc", 0, 4, "abc", false, 0},
		{"exactly", "abcd", 0, 4, "abcd", false, 0},
		{"one more", "abcde", 0, 4, "abcd" + notice, true, 1},
		{"much more, which the agent dropped", "abcde", 95, 4, "abcd" + notice, true, 96},
		{"in the middle of a character", "abcé", 0, 4, "abc" + notice, true, 2},
		{"in the middle of a long one", "a😀b", 0, 4, "a" + notice, true, 5},
		{"after a whole one", "aé€", 0, 6, "aé€", false, 0},
		{"not UTF-8", "\xff\xfe\x80\x80\x80\x80\x80", 0, 4, "\uFFFD" + notice, true, 6},
		{"NUL bytes", "\x00\x00\x00\x00\x00", 0, 4, "\x00\x00\x00\x00" + notice, true, 1},
		{"no room for a character", "é", 0, 1, notice, true, 2},
		{"nothing is kept", "abc", 0, 0, notice, true, 3},
	} {
		s := stream{dropped: test.dropped}
		if _, err := s.Write([]byte(test.kept)); err != nil {
			t.Fatal(err)
		}
		got, truncated := s.log(Stdout, test.limit)
		if got != test.want || truncated != test.truncated || s.beyond(test.limit) != test.beyond {
			t.Errorf("%s: log() = %q, %v, beyond() = %d, want %q, %v, %d",
				test.name, got, truncated, s.beyond(test.limit), test.want, test.truncated, test.beyond)
		}
	}
}

func TestStreamTail(t *testing.T) {
	t.Parallel()
	s := stream{}
	if _, err := s.Write([]byte(strings.Repeat("é", 4<<10) + "why")); err != nil {
		t.Fatal(err)
	}
	if tail := s.tail(); len(tail) > 4<<10 || !strings.HasSuffix(tail, "éwhy") || !utf8.ValidString(tail) {
		t.Errorf("tail() has %d bytes", len(tail))
	}
}

// Exactly the limit is told from too much by one byte, and no more is asked for.
func TestOutputAsksForOneByteMoreThanItKeeps(t *testing.T) {
	t.Parallel()
	out := newOutput(Limits{Result: 10, Log: 20})
	if out.stdout.limit != 21 || out.stderr.limit != 21 {
		t.Errorf("limits = %d, %d", out.stdout.limit, out.stderr.limit)
	}
	out = newOutput(Limits{Result: 30, Log: 20})
	if out.stdout.limit != 31 || out.stderr.limit != 21 {
		t.Errorf("limits = %d, %d", out.stdout.limit, out.stderr.limit)
	}
}

func TestEveryOutputFormatHasAMediaType(t *testing.T) {
	t.Parallel()
	for _, format := range []pack.Format{pack.FormatText, pack.FormatJSON, pack.FormatYAML, pack.FormatJSONL} {
		if MediaType(format) == "" {
			t.Errorf("%s has none", format)
		}
	}
}

func FuzzStreamLog(f *testing.F) {
	f.Add([]byte("abcé😀"), int64(5))
	f.Add([]byte{0xff, 0xc3, 0x80, 0xf0, 0x9f}, int64(3))
	f.Fuzz(func(t *testing.T, kept []byte, limit int64) {
		if limit < 0 || limit > 1<<20 {
			return
		}
		s := stream{}
		s.Write(kept)
		text, truncated := s.log(Stdout, limit)
		if !utf8.ValidString(text) || truncated != (int64(len(kept)) > limit) {
			t.Errorf("log(%d) = %q, %v", limit, text, truncated)
		}
		cut := cutAtRune(kept, limit)
		if int64(len(cut)) > limit || !bytes.HasPrefix(kept, cut) || s.beyond(limit) != int64(len(kept)-len(cut)) {
			t.Errorf("cutAtRune(%d) = %q, beyond() = %d", limit, cut, s.beyond(limit))
		}
		if utf8.Valid(kept) && !utf8.Valid(cut) {
			t.Errorf("cutAtRune(%q, %d) halves a character", kept, limit)
		}
	})
}

// What a script has printed before its result is a log like any other.
func TestLogBeforeTheResult(t *testing.T) {
	t.Parallel()
	var s stream
	s.Write([]byte("12345é\n{}"))
	for _, test := range []struct {
		limit     int64
		text      string
		truncated bool
		beyond    int64
	}{
		{8, "12345é\n", false, 0},
		{7, "12345é" + truncationNotice(Stdout), true, 1},
		{6, "12345" + truncationNotice(Stdout), true, 3},
	} {
		text, truncated, beyond := s.first(8, Stdout, test.limit)
		if text != test.text || truncated != test.truncated || beyond != test.beyond {
			t.Errorf("of at most %d bytes: %q, %v, %d", test.limit, text, truncated, beyond)
		}
	}
}
