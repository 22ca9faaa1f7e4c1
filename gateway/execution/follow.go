package execution

import (
	"bytes"
	"unicode/utf8"
)

// Stream names one of the two that a program prints on, or that of a handler's
// generator.
type Stream string

// The streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
	Items  Stream = "items"
)

// followBytes is how much a follower gets at once.
const followBytes = 16 << 10

// Follower reads one stream of an execution from its beginning to its end. None
// of its methods blocks; see Running.Changed. One goroutine at a time.
type Follower struct {
	running *Running
	stream  *stream
	name    Stream
	limit   int64 // bytes of the stream that are shown
	notice  bool  // that there are more is said in the text

	offset  int
	scanned int  // bytes from offset on that hold no end of a line
	bad     bool // what was read last ended in bytes that are no text
	noticed bool
}

// Follow reads everything that is kept of a stream: a result, and what a log
// has room for of stderr.
func (r *Running) Follow(name Stream) *Follower {
	s := r.out.of(name)
	return &Follower{running: r, stream: s, name: name, limit: s.limit - 1}
}

// FollowResult reads the result as far as it comes in pieces: what a program
// prints on stdout, or the values that a handler's generator gives, one line each.
func (r *Running) FollowResult() *Follower {
	if r.out.handler {
		return r.Follow(Items)
	}
	return r.Follow(Stdout)
}

// FollowLog reads a stream as its log: all texts together are what the record
// has, the notice of its truncation included.
func (r *Running) FollowLog(name Stream) *Follower {
	return &Follower{running: r, stream: r.out.of(name), name: name, limit: r.out.logLimit, notice: true}
}

// Name is the stream that is followed.
func (f *Follower) Name() Stream { return f.name }

// rest is what there is and was not read. whole: nothing will be added to it.
func (f *Follower) rest() (b []byte, whole bool) {
	ended := f.running.HasEnded() // before looking
	kept := f.stream.bytes()
	if int64(len(kept)) > f.limit {
		return cutAtRune(kept, f.limit)[f.offset:], true
	}
	if ended {
		return kept[f.offset:], true
	}
	// Where too much will be cut is known when there is too much.
	known := min(len(kept), int(f.limit)-(utf8.UTFMax-1))
	return kept[f.offset:max(f.offset, known)], false
}

// Text returns what was printed since the last call, at most 16 KiB of it, as
// valid UTF-8. Empty: nothing now.
func (f *Follower) Text() string {
	b, whole := f.rest()
	if len(b) > followBytes {
		b, whole = b[:followBytes], false
	}
	if !whole {
		b = b[:completeRunes(b)]
	}
	if len(b) == 0 {
		return f.lastWord(whole)
	}
	f.offset += len(b)
	text := validText(b)
	if f.bad && startsBad(b) { // one run of such bytes is one replacement
		text = text[len("\uFFFD"):]
	}
	f.bad = endsBad(b)
	if text == "" {
		return f.Text()
	}
	return text
}

// lastWord is the notice after what was left of a log that is truncated.
func (f *Follower) lastWord(whole bool) string {
	if !f.notice || f.noticed || !whole || f.Beyond() == 0 {
		return ""
	}
	f.noticed = true
	return truncationNotice(f.name)
}

// Bytes returns what was printed since the last call, at most 16 KiB of it, as
// it is. It must not be changed. Empty: nothing now.
func (f *Follower) Bytes() []byte {
	b, _ := f.rest()
	b = b[:min(len(b), followBytes)]
	f.offset += len(b)
	return b
}

// Line returns the next whole line without its end; what comes after the last
// end of a line is one when the execution has ended. It must not be changed.
func (f *Follower) Line() (line []byte, ok bool) {
	b, whole := f.rest()
	at := bytes.IndexByte(b[f.scanned:], '\n')
	if at < 0 && (!whole || len(b) == 0) {
		f.scanned = len(b)
		return nil, false
	}
	if at < 0 {
		line, f.offset = b, f.offset+len(b)
	} else {
		line = b[:f.scanned+at]
		f.offset += len(line) + 1
	}
	f.scanned = 0
	return line, true
}

// Beyond is how many bytes of the stream a follower does not get, as far as that
// is known: all of them when the execution has ended.
func (f *Follower) Beyond() int64 {
	if f.running.HasEnded() {
		return f.stream.beyond(f.limit)
	}
	kept := f.stream.bytes()
	return int64(len(kept) - len(cutAtRune(kept, f.limit)))
}

// completeRunes is the length of b without the beginning of a character at its
// end.
func completeRunes(b []byte) int {
	for back := 1; back < utf8.UTFMax && back <= len(b); back++ {
		if at := len(b) - back; utf8.RuneStart(b[at]) {
			if !utf8.FullRune(b[at:]) {
				return at
			}
			break
		}
	}
	return len(b)
}

func startsBad(b []byte) bool {
	r, size := utf8.DecodeRune(b)
	return r == utf8.RuneError && size == 1
}

func endsBad(b []byte) bool {
	r, size := utf8.DecodeLastRune(b)
	return r == utf8.RuneError && size == 1
}
