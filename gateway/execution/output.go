package execution

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"attune/gateway/pack"
	"attune/gateway/secret"
)

// stream keeps the beginning of what a program prints on one stream, with its
// secrets masked. It is bounded by bytes, whatever the lines are.
type stream struct {
	limit   int64 // bytes that the agent forwards
	masked  *secret.Stream
	printed int64        // bytes that came, before they were masked
	kept    bytes.Buffer // a mask may be longer than what it hides: up to twice as much
	dropped int64        // bytes beyond limit, counted by the agent
}

// Write implements io.Writer.
func (s *stream) Write(p []byte) (int, error) {
	s.printed += int64(len(p))
	s.masked.Write(p, s.keep)
	return len(p), nil
}

// keep takes what may be shown.
func (s *stream) keep(p []byte) { s.kept.Write(p) }

// end takes what the mask held back. It may be called again where nothing came
// before.
func (s *stream) end(dropped int64) {
	s.dropped = dropped
	s.masked.End(dropped > 0, s.keep)
}

// total is how much the program has printed.
func (s *stream) total() int64 { return s.printed + s.dropped }

// note adds what the gateway has to say to the log, within its limit.
func (s *stream) note(text string) {
	room := max(s.limit-int64(s.kept.Len()), 0)
	text = text[:min(int64(len(text)), room)]
	s.printed += int64(len(text))
	s.kept.WriteString(text)
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
func (s *stream) log(name string, limit int64) (string, bool) {
	if s.total() <= limit {
		return validText(s.kept.Bytes()), false
	}
	text := validText(cutAtRune(s.kept.Bytes(), limit))
	return text + "\n\n[OUTPUT TRUNCATED: " + name + " exceeded size limit]\n", true
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
	return string(bytes.ToValidUTF8(b, []byte("\uFFFD")))
}

// output is what an execution printed, and how it ended.
type output struct {
	stdout, stderr stream
	resultLimit    int64
	logLimit       int64
	exitCode       *int
	parsed         json.RawMessage // the result, where the output format is structured
	logged         bool            // stdout is the log: the result came otherwise
	body           []byte          // that result as it is answered; of JSON parsed is
}

func newOutput(l Limits, masker *secret.Masker) *output {
	// One byte more than the limit tells "exactly" from "too much".
	return &output{
		stdout:      stream{limit: max(l.Result, l.Log) + 1, masked: masker.Stream()},
		stderr:      stream{limit: l.Log + 1, masked: masker.Stream()},
		resultLimit: l.Result,
		logLimit:    l.Log,
	}
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

// result is the answer's body. JSON is the parsed document, which a log line
// before it isn't part of; other formats are what the action printed.
func (o *output) result(format pack.Format) ([]byte, string) {
	if format == pack.FormatJSON {
		return append(o.parsed[:len(o.parsed):len(o.parsed)], '\n'), MediaType(format)
	}
	if o.logged || o.body != nil {
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
