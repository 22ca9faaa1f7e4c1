package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"runtime"
	"strings"
	"testing"
)

// However long a secret is, all of it is covered, by one mask, whole or cut off
// anywhere.
func TestLongSecretsAreCoveredWhole(t *testing.T) {
	t.Parallel()
	for _, length := range []int{255, 256, 257, 300, 511, 512, 513, 1000, maxDerived} {
		value := printable(length)
		m := NewMasker([]string{value})
		for name, text := range map[string]string{
			"text": value, "hexadecimal": hex.EncodeToString([]byte(value)), "base64": base64.StdEncoding.EncodeToString([]byte(value)),
			"twice": value + value,
		} {
			if got := m.String("<" + text + ">"); got != "<"+Mask+">" {
				t.Errorf("%s of %d bytes: %.60q", name, length, got)
			}
		}
		for cut := MinMasked; cut < length; cut += 7 {
			if got := m.Cut("<" + value[:cut]); got != "<"+Mask {
				t.Errorf("%d bytes cut off after %d: %.60q", length, cut, got)
			}
		}
	}
}

// A piece of a long secret is one.
func TestPiecesOfLongSecretsAreMasked(t *testing.T) {
	t.Parallel()
	value := printable(1000)
	m := NewMasker([]string{value})
	for _, test := range []struct{ text, want string }{
		{value[:256], Mask}, {value[256:512], Mask}, {value[1000-256:], Mask}, {value[:600], Mask + value[512:600]}, {value[:255], value[:255]},
	} {
		if got := m.String(test.text); got != test.want {
			t.Errorf("String of %d bytes = %.60q, want %.60q", len(test.text), got, test.want)
		}
	}
}

// Pieces of any size are masked like the whole, where secrets are longer than what
// a stream holds.
func TestLongSecretsInSmallPieces(t *testing.T) {
	t.Parallel()
	value, other := printable(700), strings.Repeat("ab", 300)
	m := NewMasker([]string{value, other, "-----BEGIN"})
	text := "x" + value[:400] + value + "--" + other + "a" + other[:100] + "-----BEGI" + value[300:] + "-----BEGIN"
	want := m.String(text)
	for _, size := range []int{1, 2, 3, 7, 8, 9, 64, 255, 256, 257, 1000} {
		s := m.Stream()
		var got bytes.Buffer
		out := func(b []byte) { got.Write(b) }
		for rest := []byte(text); len(rest) > 0; rest = rest[min(size, len(rest)):] {
			s.Write(rest[:min(size, len(rest))], out)
			if len(s.held) >= maxPattern {
				t.Fatalf("in pieces of %d it holds %d bytes", size, len(s.held))
			}
		}
		if s.End(false, out); got.String() != want {
			t.Errorf("in pieces of %d: %q, want %q", size, got.String(), want)
		}
	}
}

// What hiding a secret takes is in proportion to it. Not parallel: it measures.
func TestMaskersAreSmall(t *testing.T) {
	var letters []string
	for n := range 256 {
		letters = append(letters, inLines(printable(4000 + n)[n:], 8))
	}
	for name, test := range map[string]struct {
		texts []string
		most  uint64
	}{
		"token":                  {[]string{printable(40)}, 8 << 10},
		"PEM":                    {[]string{pem(8000)}, 400 << 10},
		"64 KiB in lines":        {[]string{inLines(printable(58<<10), 8)}, 2 << 20},
		"64 KiB in empty lines":  {[]string{strings.Repeat("\n", 64<<10)}, 2 << 20},
		"256 of 4 KB in lines":   {letters, 100 << 20},
		"the same 256 times":     {strings.Split(strings.Repeat(printable(4000)+" ", 256), " "), 1 << 20},
		"nothing but characters": {[]string{strings.Repeat("\x01", maxDerived)}, 1 << 20},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m := NewMasker(test.texts)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > test.most {
			t.Errorf("%s: %d bytes for %d patterns, want at most %d", name, took, len(m.patterns), test.most)
		}
	}
}
