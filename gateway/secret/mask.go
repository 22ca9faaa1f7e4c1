package secret

import (
	"encoding/binary"
	"slices"
	"strings"
)

// Mask is what stands in the place of a secret.
const Mask = "[MASKED]"

// Masker replaces secrets in a text: every byte that belongs to an occurrence
// of one is covered, and a run of covered bytes becomes one Mask. Of what is
// longer than 256 bytes each piece of so many is a secret by itself. A nil Masker
// leaves everything as it is. It may be used concurrently.
//
// It looks for the first bytes of patterns by a filter, which nearly always says
// no, and then for the longest pattern in a sorted list. So making one costs little
// more than writing the patterns down, and no text takes more than some
// comparisons of 256 bytes for each of its bytes.
type Masker struct {
	patterns []pattern // sorted by text, each once
	longest  int
	window   uint64   // selects the first bytes that every pattern has, of eight
	filter   []uint64 // a bit for each hash of the first bytes of a pattern
	shift    int      // of a hash to the number of its bit
}

// pattern is a form of a secret, or a piece of one.
type pattern struct {
	text   string
	within int32 // index of the longest pattern that it begins with; -1 = none
}

const (
	// maxPattern is how long a piece is. It bounds what a stream holds back, and
	// what it costs to look at one byte.
	maxPattern = 256
	windowSize = 8
)

// NewMasker makes a masker of the texts and their usual encodings; nil if there
// is nothing to mask. Texts of fewer than MinMasked bytes are not masked. More
// encodings are functions that give further forms of a text.
func NewMasker(texts []string, encodings ...func(text string) []string) *Masker {
	var all []string
	for _, text := range slices.Compact(slices.Sorted(slices.Values(texts))) {
		all = append(all, forms(text)...)
		if len(text) < MinMasked {
			continue
		}
		for _, encoding := range encodings {
			all = append(all, encoding(text)...)
		}
	}
	if len(all) == 0 {
		return nil
	}
	m := &Masker{}
	m.sort(all)
	m.link()
	m.sieve()
	return m
}

// sort makes the list of patterns.
func (m *Masker) sort(forms []string) {
	slices.Sort(forms)
	forms = slices.Compact(forms) // before they are cut up, for there is much that needs no encoding
	count := 0
	for _, form := range forms {
		count += (len(form) + maxPattern - 1) / maxPattern
	}
	m.patterns = make([]pattern, 0, count)
	for _, form := range forms {
		for piece := range pieces(form) {
			m.patterns = append(m.patterns, pattern{text: piece})
		}
	}
	slices.SortFunc(m.patterns, func(a, b pattern) int { return strings.Compare(a.text, b.text) })
	m.patterns = slices.CompactFunc(m.patterns, func(a, b pattern) bool { return a.text == b.text })
}

// pieces cuts a form up. The last piece overlaps the one before it, so that none
// is short.
func pieces(form string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for begin := 0; begin < len(form); begin += maxPattern {
			begin := max(0, min(begin, len(form)-maxPattern))
			if !yield(form[begin:min(begin+maxPattern, len(form))]) {
				return
			}
		}
	}
}

// link finds the patterns that others begin with.
func (m *Masker) link() {
	at := int32(-1)
	for i := range m.patterns {
		p := &m.patterns[i]
		for at >= 0 && !strings.HasPrefix(p.text, m.patterns[at].text) {
			at = m.patterns[at].within
		}
		p.within, at = at, int32(i)
	}
}

// sieve makes the filter.
func (m *Masker) sieve() {
	const bitsPerPattern = 32 // so that it passes one byte in 32 to 64 for nothing
	shortest, bits := windowSize, 6
	for _, p := range m.patterns {
		shortest, m.longest = min(shortest, len(p.text)), max(m.longest, len(p.text))
	}
	for 1<<bits < bitsPerPattern*len(m.patterns) {
		bits++
	}
	m.window, m.shift = ^uint64(0)>>(8*(windowSize-shortest)), 64-bits
	m.filter = make([]uint64, 1<<bits/64)
	var first [windowSize]byte
	for _, p := range m.patterns {
		copy(first[:], p.text)
		bit := m.hash(first[:])
		m.filter[bit/64] |= 1 << (bit % 64)
	}
}

// hash is the number of the bit for eight bytes.
func (m *Masker) hash(b []byte) uint64 {
	return (binary.LittleEndian.Uint64(b) & m.window) * 0x9E3779B97F4A7C15 >> m.shift
}

// candidate is the first place, not before from, where a pattern may begin.
func (m *Masker) candidate(text []byte, from int) int {
	at := from
	for ; at+windowSize <= len(text); at++ {
		if bit := m.hash(text[at:]); m.filter[bit/64]>>(bit%64)&1 != 0 {
			return at
		}
	}
	return at // so close to the end there is no room for the filter
}

// find tells how long the longest pattern is that a text begins with, and whether
// the text may be the beginning of a longer one.
func (m *Masker) find(text []byte) (length int, open bool) {
	text = text[:min(len(text), m.longest)]
	low, high := 0, len(m.patterns)
	for low < high {
		if middle := (low + high) / 2; m.patterns[middle].text <= string(text) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low < len(m.patterns) {
		next := m.patterns[low].text
		open = len(next) > len(text) && next[:len(text)] == string(text)
	}
	// Whatever the text begins with, the last pattern that isn't greater does, too.
	at := int32(low - 1)
	if at < 0 {
		return 0, open
	}
	last := m.patterns[at].text
	if len(text) >= len(last) && string(text[:len(last)]) == last {
		return len(last), open
	}
	common := 0
	for common < min(len(last), len(text)) && last[common] == text[common] {
		common++
	}
	for at >= 0 && len(m.patterns[at].text) > common {
		at = m.patterns[at].within
	}
	if at < 0 {
		return 0, open
	}
	return len(m.patterns[at].text), open
}

// String masks a whole text.
func (m *Masker) String(text string) string { return m.text(text, false) }

// Cut masks a text whose end may be missing: what could be the beginning of a
// secret there is masked, too.
func (m *Masker) Cut(text string) string { return m.text(text, true) }

func (m *Masker) text(text string, cut bool) string {
	if m == nil {
		return text
	}
	var out strings.Builder
	s := m.Stream()
	s.Write([]byte(text), func(b []byte) { out.Write(b) })
	s.End(cut, func(b []byte) { out.Write(b) })
	return out.String()
}

// Bytes masks a whole text. It may return the text itself.
func (m *Masker) Bytes(text []byte) []byte {
	if m == nil {
		return text
	}
	out := make([]byte, 0, len(text))
	s := m.Stream()
	s.Write(text, func(b []byte) { out = append(out, b...) })
	s.End(false, func(b []byte) { out = append(out, b...) })
	return out
}
