package secret

// Stream masks a text that comes in pieces. It holds back only what may be the
// beginning of a secret, which is never more than 256 bytes. It is for one
// goroutine. That of a nil Masker lets everything through, and so does a nil one.
type Stream struct {
	m       *Masker
	held    []byte // not given out yet: it may be the beginning of a secret
	covered int    // of what is held and comes next, so many bytes belong to a secret
	masking bool   // the last byte given out was covered
}

// Stream begins a text.
func (m *Masker) Stream() *Stream { return &Stream{m: m} }

// Write takes a piece, and gives out what is decided by now. What out is given
// is only valid until it returns.
func (s *Stream) Write(piece []byte, out func([]byte)) {
	if s == nil || s.m == nil {
		out(piece)
		return
	}
	if before := len(s.held); before > 0 {
		// With so much more nothing that was held can stay undecided.
		s.held = append(s.held, piece[:min(len(piece), s.m.longest)]...)
		n := s.scan(s.held, whole{}, out)
		if n < before {
			s.held = s.held[:copy(s.held, s.held[n:])]
			return
		}
		piece = piece[n-before:]
	}
	n := s.scan(piece, whole{}, out)
	s.held = append(s.held[:0], piece[n:]...)
}

// End gives out the rest. cut says that the text goes on where nobody sees it:
// then what may be the beginning of a secret is masked.
func (s *Stream) End(cut bool, out func([]byte)) {
	if s == nil || s.m == nil {
		return
	}
	s.scan(s.held, whole{ended: true, cut: cut}, out)
	s.held, s.covered = nil, 0
}

// whole tells what is known of the text behind a piece.
type whole struct {
	ended bool // nothing comes any more
	cut   bool // something did that nobody sees
}

// scan gives out what is decided of a piece, and returns how many bytes of it
// that is. Places are looked at in their order, so that what is covered needs no
// list: it is up to where the secrets go that have begun.
func (s *Stream) scan(piece []byte, w whole, out func([]byte)) int {
	at := s.m.candidate(piece, 0)
	for ; at < len(piece); at = s.m.candidate(piece, at+1) {
		length, open := s.m.find(piece[at:])
		if open && !w.ended {
			break
		}
		if open && w.cut {
			length = len(piece) - at
		}
		if length == 0 {
			continue
		}
		s.plain(piece, at, out)
		if !s.masking {
			out([]byte(Mask))
			s.masking = true
		}
		s.covered = max(s.covered, at+length)
	}
	s.plain(piece, at, out)
	s.covered = max(0, s.covered-at)
	return at
}

// plain gives out what isn't covered before end.
func (s *Stream) plain(piece []byte, end int, out func([]byte)) {
	if s.covered < end {
		out(piece[s.covered:end])
		s.masking = false
	}
}
