package execution

import (
	"bytes"
	"encoding/json"
	"sync"
	"unicode/utf8"

	"attune/gateway/pack"
	"attune/gateway/secret"
)

// stream keeps the beginning of what a program prints on one stream, with its
// secrets masked. It is bounded by bytes, whatever the lines are.
type stream struct {
	limit   int64   // bytes that the agent forwards
	news    *signal // raised when something was kept; nil = nobody follows
	masked  *secret.Stream
	printed int64 // bytes that came, before they were masked
	mu      sync.Mutex
	kept    bytes.Buffer // guarded by mu while the program runs; only ever appended to; masks may make it longer
	dropped int64        // bytes beyond limit, counted by the agent; for after the end
}

// Write implements io.Writer.
func (s *stream) Write(p []byte) (int, error) {
	s.printed += int64(len(p))
	s.masked.Write(p, s.keep)
	return len(p), nil
}

// bytes is what is kept so far. It stays as it is while more is appended.
func (s *stream) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept.Bytes()
}

// soFar is log for a program that still runs.
func (s *stream) soFar(name Stream, limit int64) (string, bool) {
	kept := s.bytes()
	text := validText(cutAtRune(kept, limit))
	if int64(len(kept)) > limit {
		return text + truncationNotice(name), true
	}
	return text, false
}

// truncationNotice ends a log that is not all that was printed.
func truncationNotice(name Stream) string {
	return "\n\n[OUTPUT TRUNCATED: " + string(name) + " exceeded size limit]\n"
}

// keep takes what may be shown.
func (s *stream) keep(p []byte) {
	s.mu.Lock()
	s.kept.Write(p)
	s.mu.Unlock()
	s.news.raise()
}

// end takes what the mask held back. cut says that there was or may have been more:
// then what could be the beginning of a secret is masked. It may be called again
// where nothing came before.
func (s *stream) end(dropped int64, cut bool) {
	s.dropped = dropped
	s.masked.End(cut || dropped > 0, s.keep)
}

// total is how much the program has printed.
func (s *stream) total() int64 { return s.printed + s.dropped }

// note adds what the gateway has to say to the log, within its limit.
func (s *stream) note(text string) {
	room := max(s.limit-int64(s.kept.Len()), 0)
	text = text[:min(int64(len(text)), room)]
	s.printed += int64(len(text))
	s.keep([]byte(text))
}

// beyond is how many bytes a log of so many bytes leaves out.
func (s *stream) beyond(limit int64) int64 {
	if s.total() <= limit {
		return 0
	}
	return max(0, s.total()-int64(len(cutAtRune(s.kept.Bytes(), limit))))
}

// log is the kept part for the record: valid UTF-8, at most limit bytes and a
// notice. Exactly the limit is not truncated.
func (s *stream) log(name Stream, limit int64) (string, bool) {
	if s.total() <= limit {
		return validText(s.kept.Bytes()), false
	}
	return validText(cutAtRune(s.kept.Bytes(), limit)) + truncationNotice(name), true
}

// first is the log where it is only the first size bytes, of a stream that was kept
// as a whole.
func (s *stream) first(size int, name Stream, limit int64) (text string, truncated bool, beyond int64) {
	printed := s.kept.Bytes()[:size]
	text = validText(cutAtRune(printed, limit))
	if int64(size) <= limit {
		return text, false, 0
	}
	return text + truncationNotice(name), true, int64(size - len(cutAtRune(printed, limit)))
}

// cutAtRune cuts b to at most limit bytes without halving a character.
func cutAtRune(b []byte, limit int64) []byte {
	if int64(len(b)) <= limit {
		return b
	}
	end := int(limit)
	for back := 0; back < utf8.UTFMax && end-back >= 0; back++ {
		if utf8.RuneStart(b[end-back]) {
			return b[:end-back]
		}
	}
	return b[:end] // not UTF-8 anyway
}

func validText(b []byte) string {
	if utf8.Valid(b) {
		return string(b) // mostly, and one copy less
	}
	return string(bytes.ToValidUTF8(b, []byte("\uFFFD")))
}

// output is what an execution printed, and how it ended.
type output struct {
	stdout, stderr stream
	items          stream // what a handler's generator gave, one line each
	resultLimit    int64
	logLimit       int64
	exitCode       *int
	parsed         json.RawMessage // the result, where the output format is structured
	chatter        int             // bytes of stdout that came before the result, and are the log
	handler        bool            // stdout is the log: the result came otherwise
	body           []byte          // that result as it is answered; of JSON parsed is
}

func newOutput(l Limits) *output {
	// One byte more than the limit tells "exactly" from "too much".
	return &output{
		stdout:      stream{limit: max(l.Result, l.Log) + 1},
		stderr:      stream{limit: l.Log + 1},
		items:       stream{limit: l.Result + 1},
		resultLimit: l.Result,
		logLimit:    l.Log,
	}
}

// hide masks secrets in what is printed from here on.
func (o *output) hide(masker *secret.Masker) {
	o.stdout.masked, o.stderr.masked, o.items.masked = masker.Stream(), masker.Stream(), masker.Stream()
}

// ofHandler makes stdout the log, before anything is printed and anybody follows
// the result.
func (o *output) ofHandler() {
	o.handler = true
	o.stdout.limit = o.logLimit + 1
}

func (o *output) of(name Stream) *stream {
	switch name {
	case Stdout:
		return &o.stdout
	case Items:
		return &o.items
	}
	return &o.stderr
}

// mediaTypes of results, by output format.
var mediaTypes = map[pack.Format]string{
	pack.FormatText:  "text/plain; charset=utf-8",
	pack.FormatJSON:  "application/json",
	pack.FormatYAML:  "application/yaml",
	pack.FormatJSONL: "application/x-ndjson",
}

// MediaType is the media type in which an output format is answered.
func MediaType(format pack.Format) string { return mediaTypes[format] }

// answer is the answer's body. JSON is the parsed document, which a log line
// before it isn't part of; other formats are what the action printed.
func (o *output) answer(format pack.Format) ([]byte, string) {
	if format == pack.FormatJSON {
		return append(o.parsed[:len(o.parsed):len(o.parsed)], '\n'), MediaType(format) // the record keeps parsed
	}
	if o.handler {
		return o.body, MediaType(format)
	}
	return o.stdout.kept.Bytes(), MediaType(format)
}

// tail is the end of the stream for an answer: what a program prints last is
// why it failed.
func (s *stream) tail() string {
	const most = 4 << 10
	text := validText(s.kept.Bytes())
	if len(text) <= most {
		return text
	}
	text = text[len(text)-most:]
	for len(text) > 0 && !utf8.RuneStart(text[0]) {
		text = text[1:]
	}
	return text
}
