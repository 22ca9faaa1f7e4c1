package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

func TestMasker(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		secrets    []string
		text, want string
	}{
		"plain":        {[]string{"hunter22"}, "a hunter22 b hunter22", "a [MASKED] b [MASKED]"},
		"too short":    {[]string{"abc"}, "abc", "abc"},
		"four":         {[]string{"abcd"}, "xabcdx", "x[MASKED]x"},
		"overlap":      {[]string{"abcdef", "defghi"}, "-abcdefghi-", "-[MASKED]-"},
		"inside":       {[]string{"abcdefgh", "cdef"}, "abcdefgx abcdefgh cdef", "ab[MASKED]gx [MASKED] [MASKED]"},
		"itself":       {[]string{"aaaa"}, "aaa aaaaaaa aaaa", "aaa [MASKED] [MASKED]"},
		"adjacent":     {[]string{"abcd"}, "abcdabcd", "[MASKED]"},
		"beginning":    {[]string{"abcdefgh"}, "abcdefg", "abcdefg"},
		"quotes":       {[]string{`a"b\c d`}, `{"x":"a\"b\\c d"}`, `{"x":"[MASKED]"}`},
		"line break":   {[]string{"line one!\nline two!"}, "> line two!\n", "> [MASKED]\n"},
		"ascii":        {[]string{"größe€"}, `"gr\u00f6\u00dfe\u20ac"`, `"[MASKED]"`},
		"html":         {[]string{`<&a&">"`}, `"\u003c\u0026a\u0026\"\u003e\""`, `"[MASKED]"`},
		"shell":        {[]string{"it's me"}, `k='it'\''s me'`, `k='[MASKED]'`},
		"hexadecimal":  {[]string{"hunter22"}, "68756e7465723232", "[MASKED]"},
		"url":          {[]string{"a b/c&d"}, "?x=a+b%2Fc%26d&y=a%20b%2Fc%26d", "?x=[MASKED]&y=[MASKED]"},
		"not UTF-8":    {[]string{"\xff\xfe\xfd\xfc"}, "x\xff\xfe\xfd\xfcy", "x[MASKED]y"},
		"several":      {[]string{"first-1", "second-2"}, "second-2 first-1", "[MASKED] [MASKED]"},
		"no secrets":   {nil, "text", "text"},
		"empty secret": {[]string{""}, "text", "text"},
	}
	for name, test := range tests {
		if got := NewMasker(test.secrets).String(test.text); got != test.want {
			t.Errorf("%s: String(%q) = %q, want %q", name, test.text, got, test.want)
		}
	}
}

// Wherever a secret stands in something that is encoded as a whole.
func TestMaskerFindsEncodings(t *testing.T) {
	t.Parallel()
	const value = "s3cr3t/Wörd+with~more&signs"
	m := NewMasker([]string{value})
	for _, around := range []string{"", "a", "ab", "abc", "user:"} {
		text := base64.StdEncoding.EncodeToString([]byte(around + value + around))
		got := m.String(text)
		if !strings.Contains(got, Mask) || len(got) > len(text)-len(value)*4/3+len(Mask)+3 {
			t.Errorf("base64 of %q around it = %s, of %s", around, got, text)
		}
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(encoded), url.QueryEscape(value), url.PathEscape(value), "%73" + value} {
		if got := m.String(text); !strings.Contains(got, Mask) || strings.Contains(got, "s3cr3t") {
			t.Errorf("String(%s) = %s", text, got)
		}
	}
	long := strings.Repeat("0123456789abcdef-", 20)
	var wrapped strings.Builder
	for rest := base64.StdEncoding.EncodeToString([]byte(long)); rest != ""; {
		n := min(76, len(rest))
		wrapped.WriteString(rest[:n] + "\n")
		rest = rest[n:]
	}
	if got := strings.ReplaceAll(NewMasker([]string{long}).String(wrapped.String()), Mask, ""); strings.Trim(got, "\n") != "" {
		t.Errorf("of base64 in lines %q is left", got)
	}
}

// What is cut off may go on as a secret.
func TestStreamEnd(t *testing.T) {
	t.Parallel()
	for cut, want := range map[bool]string{true: "see [MASKED]", false: "see hunter2"} {
		s := NewMasker([]string{"hunter22"}).Stream()
		var got bytes.Buffer
		out := func(b []byte) { got.Write(b) }
		s.Write([]byte("see hunter2"), out)
		if got.String() != "see " {
			t.Errorf("before the end it has given out %q, want all that is decided", got.String())
		}
		if s.End(cut, out); got.String() != want {
			t.Errorf("End(%t) gives %q, want %q", cut, got.String(), want)
		}
	}
}

// The longest secret is all that a stream holds, however much comes.
func TestStreamIsBounded(t *testing.T) {
	t.Parallel()
	value := strings.Repeat("a", 1<<10)
	s := NewMasker([]string{value}).Stream()
	given := 0
	for range 1 << 10 {
		s.Write(bytes.Repeat([]byte("a"), 1<<10), func(b []byte) { given += len(b) })
	}
	if given != len(Mask) || cap(s.held) > 4*maxPattern {
		t.Errorf("of 1 MiB of a secret it has given out %d bytes, holds %d", given, cap(s.held))
	}
}

// naive is what a Masker does, in the words of its comment.
func naive(text string, secrets []string) string {
	covered := make([]bool, len(text))
	for _, secret := range secrets {
		for _, form := range forms(secret) {
			for piece := range pieces(form) {
				for i := 0; i+len(piece) <= len(text); i++ {
					for j := range piece {
						covered[i+j] = covered[i+j] || text[i:i+len(piece)] == piece
					}
				}
			}
		}
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case !covered[i]:
			out.WriteByte(text[i])
		case i == 0 || !covered[i-1]:
			out.WriteString(Mask)
		}
	}
	return out.String()
}

// FuzzMasker: in whatever pieces a text comes, it is masked like the whole.
func FuzzMasker(f *testing.F) {
	f.Add("a hunter22 b", "hunter22", "ter2", []byte{3, 1, 4})
	f.Add("aaaaaaaab", "aaaab", "aaaa", []byte{1})
	f.Add("abcabcabd", "abcabd", "bcab", []byte{2, 2})
	f.Add("aHVudGVyMjI=68756e", "hunter22", "\x00\x00\x00\x00", []byte{})
	f.Fuzz(func(t *testing.T, text, one, two string, sizes []byte) {
		if len(text) > 4<<10 || len(one)+len(two) > 200 {
			t.Skip("naive is slow")
		}
		m := NewMasker([]string{one, two})
		want := naive(text, []string{one, two})
		if got := m.String(text); got != want {
			t.Fatalf("String(%q) of %q and %q = %q, want %q", text, one, two, got, want)
		}
		s := m.Stream()
		var got bytes.Buffer
		out := func(b []byte) { got.Write(b) }
		for rest, i := text, 0; rest != ""; i++ {
			n := 1
			if len(sizes) > 0 {
				n = min(int(sizes[i%len(sizes)])+1, len(rest))
			}
			s.Write([]byte(rest[:n]), out)
			rest = rest[n:]
		}
		if s.End(false, out); got.String() != want {
			t.Errorf("in pieces %v of %q: %q, want %q", sizes, text, got.String(), want)
		}
	})
}
