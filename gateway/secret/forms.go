package secret

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf16"
)

const (
	// MinMasked is how many bytes a secret must have to be masked: shorter ones
	// are found everywhere, and masking them would tell what they are.
	MinMasked = 4
	// minDerived is how many bytes an encoding or a line must have.
	minDerived = 6
	// maxDerived is up to which length encodings are masked as well; of longer
	// ones only the text itself and its lines.
	maxDerived = 8 << 10
	// minLine is how long a line of a secret must be to be masked by itself.
	minLine = 8
)

// forms are a text and the encodings of it that programs print, each once.
func forms(text string) []string {
	if len(text) < MinMasked {
		return nil
	}
	all := []string{text, escaped(text, false)}
	if strings.ContainsRune(text, '\n') { // a program may print it line by line
		for line := range strings.SplitSeq(text, "\n") {
			if line = strings.TrimSpace(line); len(line) >= minLine {
				all = append(all, line)
			}
		}
	}
	if len(text) <= maxDerived {
		derived := []string{
			escaped(text, true), htmlEscaped(text), strings.ReplaceAll(text, "'", `'\''`), strings.ReplaceAll(text, "'", `'"'"'`),
			hex.EncodeToString([]byte(text)), strings.ToUpper(hex.EncodeToString([]byte(text))),
			url.QueryEscape(text), url.PathEscape(text), percent(text, "-._~"), percent(text, "-._~/"), percent(text, "-._~!*'()"),
		}
		derived = append(derived, base64Forms(text)...)
		all = append(all, slices.DeleteFunc(derived, func(form string) bool { return len(form) < minDerived })...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// escaped is the inside of a JSON string; ascii writes everything else as \u.
func escaped(text string, ascii bool) string {
	var out strings.Builder
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r < ' ':
			if i := strings.IndexRune("\b\f\n\r\t", r); i >= 0 {
				out.WriteString(`\` + "bfnrt"[i:i+1])
			} else {
				fmt.Fprintf(&out, `\u%04x`, r)
			}
		case r > '~' && ascii:
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&out, `\u%04x`, unit)
			}
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

// htmlEscaped is the inside of a JSON string as Go writes it by default.
func htmlEscaped(text string) string {
	encoded, err := json.Marshal(text)
	if err != nil {
		return text // a string can always be encoded
	}
	return string(encoded[1 : len(encoded)-1])
}

// percent encodes what is neither a letter, a digit nor one of safe.
func percent(text, safe string) string {
	var out strings.Builder
	for _, b := range []byte(text) {
		letter := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
		if letter || strings.IndexByte(safe, b) >= 0 {
			out.WriteByte(b)
		} else {
			fmt.Fprintf(&out, "%%%02X", b)
		}
	}
	return out.String()
}

// base64Forms are the text by itself, alone and in lines as the command base64
// breaks them, and as a part of something longer: at each of the three places
// where it can begin, without the characters that its neighbours have a part in.
func base64Forms(text string) []string {
	var all []string
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		all = append(all, encoding.EncodeToString([]byte(text)))
		for line := range slices.Chunk([]byte(text), 57) { // 76 characters
			all = append(all, encoding.EncodeToString(line))
		}
		for before := range 3 {
			encoded := encoding.EncodeToString(append(make([]byte, before), text...))
			bits := 8 * (before + len(text))
			all = append(all, encoded[(8*before+5)/6:bits/6])
		}
	}
	return all
}
