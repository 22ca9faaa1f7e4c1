package pack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrInvalidJSON is what every error about bytes that aren't one strict JSON
// document wraps. Their texts are fixed, and show nothing of the input.
var ErrInvalidJSON = errors.New("invalid JSON")

// Bounds of a document.
const (
	maxNesting  = 100
	maxNumber   = 400 // characters, and also the power of ten: arithmetic on larger ones is an attack
	byteOrder   = "\ufeff"
	hexEscape   = 6 // characters of \uXXXX
	lowestPrint = 0x20
)

// parseDocument reads exactly one JSON document, more strictly than
// encoding/json: an object that has a key twice, a lone surrogate, invalid
// UTF-8, a byte order mark and deep nesting are errors, since two readers could
// disagree about them. Numbers come as json.Number, as they are written.
func parseDocument(data []byte) (any, error) {
	switch {
	case bytes.HasPrefix(data, []byte(byteOrder)):
		return nil, fmt.Errorf("%w: begins with a byte order mark", ErrInvalidJSON)
	case !utf8.Valid(data):
		return nil, fmt.Errorf("%w: isn't UTF-8", ErrInvalidJSON)
	}
	p := &documentParser{text: string(data)}
	p.space()
	value, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(p.text) {
		return nil, p.fail("something follows the document")
	}
	return value, nil
}

type documentParser struct {
	text string
	at   int
}

func (p *documentParser) fail(what string) error {
	return fmt.Errorf("%w: %s at byte %d", ErrInvalidJSON, what, p.at)
}

func (p *documentParser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// peek is the next byte, or 0 at the end; a NUL fits nowhere either.
func (p *documentParser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

// take skips the next byte if it is c.
func (p *documentParser) take(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.at++
	return true
}

func (p *documentParser) value(depth int) (any, error) {
	if depth > maxNesting {
		return nil, p.fail(fmt.Sprintf("nests deeper than %d", maxNesting))
	}
	switch c := p.peek(); {
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.array(depth)
	case c == '"':
		return p.string()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for word, value := range map[string]any{"true": true, "false": false, "null": nil} {
		if strings.HasPrefix(p.text[p.at:], word) {
			p.at += len(word)
			return value, nil
		}
	}
	if p.at == len(p.text) {
		return nil, p.fail("ends too early")
	}
	return nil, p.fail("unexpected character")
}

func (p *documentParser) object(depth int) (any, error) {
	p.at++
	object := map[string]any{}
	if p.space(); p.take('}') {
		return object, nil
	}
	for {
		if p.space(); p.peek() != '"' {
			return nil, p.fail("a key in quotes is missing")
		}
		start := p.at
		key, err := p.string()
		if err != nil {
			return nil, err
		}
		if _, twice := object[key]; twice {
			p.at = start
			return nil, p.fail("the same key again")
		}
		if p.space(); !p.take(':') {
			return nil, p.fail("a colon is missing")
		}
		p.space()
		if object[key], err = p.value(depth + 1); err != nil {
			return nil, err
		}
		if p.space(); p.take('}') {
			return object, nil
		}
		if !p.take(',') {
			return nil, p.fail("a comma or } is missing")
		}
	}
}

func (p *documentParser) array(depth int) (any, error) {
	p.at++
	array := []any{}
	if p.space(); p.take(']') {
		return array, nil
	}
	for {
		p.space()
		value, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		array = append(array, value)
		if p.space(); p.take(']') {
			return array, nil
		}
		if !p.take(',') {
			return nil, p.fail("a comma or ] is missing")
		}
	}
}

func (p *documentParser) string() (string, error) {
	p.at++
	start := p.at
	var unescaped *strings.Builder // nil as long as nothing was escaped
	for p.at < len(p.text) {
		c := p.text[p.at]
		switch {
		case c == '"':
			tail := p.text[start:p.at]
			p.at++
			if unescaped == nil {
				return tail, nil
			}
			unescaped.WriteString(tail)
			return unescaped.String(), nil
		case c == '\\':
			if unescaped == nil {
				unescaped = &strings.Builder{}
			}
			unescaped.WriteString(p.text[start:p.at])
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			unescaped.WriteRune(r)
			start = p.at
		case c < lowestPrint:
			return "", p.fail("a control character in a string")
		default:
			p.at++
		}
	}
	return "", p.fail("a string doesn't end")
}

const (
	escapes = `"\/bfnrt`
	escaped = "\"\\/\b\f\n\r\t"
)

func (p *documentParser) escape() (rune, error) {
	if p.at+1 < len(p.text) {
		if i := strings.IndexByte(escapes, p.text[p.at+1]); i >= 0 {
			p.at += 2
			return rune(escaped[i]), nil
		}
	}
	r, ok := p.hex()
	if !ok {
		return 0, p.fail("an escape that doesn't exist")
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	low, ok := p.hex()
	pair := utf16.DecodeRune(r, low)
	if !ok || pair == utf8.RuneError {
		return 0, p.fail("a lone surrogate")
	}
	return pair, nil
}

// hex reads \uXXXX.
func (p *documentParser) hex() (rune, bool) {
	rest := p.text[p.at:]
	if len(rest) < hexEscape || rest[:2] != `\u` || strings.ContainsAny(rest[2:hexEscape], "+-_") {
		return 0, false
	}
	code, err := strconv.ParseUint(rest[2:hexEscape], 16, 16)
	if err != nil {
		return 0, false
	}
	p.at += hexEscape
	return rune(code), true
}

// compact writes a value with sorted keys, without white space, and with
// numbers as they were.
func compact(value any) (json.RawMessage, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimRight(out.Bytes(), "\n"), nil
}
