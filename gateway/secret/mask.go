package secret

import (
	"slices"
	"strings"
)

// Mask is what stands in the place of a secret.
const Mask = "[MASKED]"

// Masker replaces secrets in a text: every byte that belongs to an occurrence
// of one is covered, and a run of covered bytes becomes one Mask. A nil Masker
// leaves everything as it is. It may be used concurrently.
//
// It is an automaton of Aho and Corasick: one step per byte, however many
// secrets there are and however they overlap.
type Masker struct {
	nodes   []node
	root    [256]int32 // the root's children
	longest int
}

// node is a state: a beginning of some secret.
type node struct {
	fail    int32 // the longest proper suffix that is a node
	child   int32 // first child; 0 = none
	sibling int32 // next child of the same parent; 0 = none
	depth   int32
	match   int32 // length of the longest secret that ends here; 0 = none
	b       byte
}

// NewMasker makes a masker of the texts and their usual encodings; nil if there
// is nothing to mask. Texts of fewer than MinMasked bytes are not masked.
func NewMasker(texts []string) *Masker {
	m := &Masker{nodes: make([]node, 1)}
	for _, text := range texts {
		for _, form := range forms(text) {
			m.insert(form)
		}
	}
	if m.longest == 0 {
		return nil
	}
	m.link()
	return m
}

func (m *Masker) insert(text string) {
	at := int32(0)
	for i := range len(text) {
		next := m.step(at, text[i])
		if next == 0 {
			next = int32(len(m.nodes))
			m.nodes = append(m.nodes, node{b: text[i], depth: m.nodes[at].depth + 1, sibling: m.nodes[at].child})
			m.nodes[at].child = next
			if at == 0 {
				m.root[text[i]] = next
			}
		}
		at = next
	}
	m.nodes[at].match = int32(len(text))
	m.longest = max(m.longest, len(text))
}

// step is the child of a node by a byte; 0 = there is none.
func (m *Masker) step(at int32, b byte) int32 {
	if at == 0 {
		return m.root[b]
	}
	for next := m.nodes[at].child; next != 0; next = m.nodes[next].sibling {
		if m.nodes[next].b == b {
			return next
		}
	}
	return 0
}

// next follows failures until the byte fits somewhere.
func (m *Masker) next(at int32, b byte) int32 {
	for {
		if next := m.step(at, b); next != 0 || at == 0 {
			return next
		}
		at = m.nodes[at].fail
	}
}

// link sets fail, breadth first, and lets a node end with what its suffixes end
// with.
func (m *Masker) link() {
	queue := make([]int32, 0, len(m.nodes))
	for _, first := range m.root {
		if first != 0 {
			queue = append(queue, first)
		}
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for child := m.nodes[at].child; child != 0; child = m.nodes[child].sibling {
			fail := m.next(m.nodes[at].fail, m.nodes[child].b)
			m.nodes[child].fail = fail
			m.nodes[child].match = max(m.nodes[child].match, m.nodes[fail].match)
			queue = append(queue, child)
		}
	}
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

// Stream masks a text that comes in pieces. It holds back only what may be the
// beginning of a secret, which is never more than the longest one. It is for one
// goroutine. That of a nil Masker lets everything through, and so does a nil one.
type Stream struct {
	m       *Masker
	at      int32
	held    []byte     // not given out yet
	base    int        // where held begins in the text
	covered []interval // of the text, sorted and apart
	masking bool       // the last byte given out was covered
}

// interval is from the first byte up to, not with, end.
type interval struct{ begin, end int }

// Stream begins a text.
func (m *Masker) Stream() *Stream { return &Stream{m: m} }

// Write takes a piece, and gives out what is decided by now. What out is given
// is only valid until it returns.
func (s *Stream) Write(piece []byte, out func([]byte)) {
	if s == nil || s.m == nil {
		out(piece)
		return
	}
	const most = 32 << 10 // bounds what is held of a large piece
	for chunk := range slices.Chunk(piece, most) {
		s.take(chunk)
		s.give(len(s.held)-int(s.m.nodes[s.at].depth), out)
	}
}

// take reads a piece and notes where secrets are.
func (s *Stream) take(piece []byte) {
	position := s.base + len(s.held)
	s.held = append(s.held, piece...)
	for i, b := range piece {
		s.at = s.m.next(s.at, b)
		length := int(s.m.nodes[s.at].match)
		if length == 0 {
			continue
		}
		found := interval{position + i + 1 - length, position + i + 1}
		for n := len(s.covered); n > 0 && s.covered[n-1].end >= found.begin; n = len(s.covered) {
			found.begin = min(found.begin, s.covered[n-1].begin)
			s.covered = s.covered[:n-1]
		}
		s.covered = append(s.covered, found)
	}
}

// give gives out the first n bytes that are held, for which no secret can come
// any more.
func (s *Stream) give(n int, out func([]byte)) {
	at, end := s.base, s.base+n
	for at < end {
		for len(s.covered) > 0 && s.covered[0].end <= at {
			s.covered = s.covered[1:]
		}
		until := end
		if len(s.covered) > 0 && s.covered[0].begin <= at {
			if until = min(end, s.covered[0].end); !s.masking {
				out([]byte(Mask))
			}
			s.masking = true
		} else {
			if len(s.covered) > 0 {
				until = min(end, s.covered[0].begin)
			}
			out(s.held[at-s.base : until-s.base])
			s.masking = false
		}
		at = until
	}
	if n > 0 {
		s.held = s.held[:copy(s.held, s.held[n:])]
		s.base = end
	}
}

// End gives out the rest. cut says that the text goes on where nobody sees it:
// then what may be the beginning of a secret is masked.
func (s *Stream) End(cut bool, out func([]byte)) {
	if s == nil || s.m == nil {
		return
	}
	depth := int(s.m.nodes[s.at].depth)
	if end := s.base + len(s.held); cut && depth > 0 {
		begin := end - depth
		for n := len(s.covered); n > 0 && s.covered[n-1].end >= begin; n = len(s.covered) {
			begin = min(begin, s.covered[n-1].begin)
			s.covered = s.covered[:n-1]
		}
		s.covered = append(s.covered, interval{begin, end})
	}
	s.give(len(s.held), out)
	s.at = 0
}
