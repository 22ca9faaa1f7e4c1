package secret

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// MinMasked is how many bytes a secret must have to be masked: shorter ones
	// are found everywhere, and masking them would tell what they are.
	MinMasked = 4
	// minDerived is how many bytes an encoding or a line must have.
	minDerived = 6
	// maxDerived is up to which length encodings are masked as well; of longer
	// ones only the text itself, its lines, and what it is in a document.
	maxDerived = 8 << 10
	// minLine is how long a line of a secret must be to be masked by itself.
	minLine = 8
)

// forms are a text and the encodings of it that programs print. Some may be there
// more than once, and most share their bytes: what needs no encoding has none.
func forms(text string) []string {
	if len(text) < MinMasked {
		return nil
	}
	all := []string{text, escaped(text, never)}
	if strings.ContainsRune(text, '\n') { // a program may print it line by line
		for line := range strings.SplitSeq(text, "\n") {
			if line = strings.TrimSpace(line); len(line) >= minLine {
				all = append(all, line)
			}
		}
	}
	if len(text) > maxDerived {
		return all
	}
	derived := []string{
		strings.ReplaceAll(text, "'", `'\''`), strings.ReplaceAll(text, "'", `'"'"'`),
		hexadecimal(text, "0123456789abcdef"), hexadecimal(text, "0123456789ABCDEF"),
	}
	if strings.ContainsAny(text, "<>&") {
		derived = append(derived, escaped(text, forHTML))
	}
	if strings.ContainsFunc(text, beyondASCII) {
		derived = append(derived, escaped(text, beyondASCII), escaped(text, forHTML), escaped(text, linesApart))
	}
	derived = append(append(derived, percentForms(text)...), base64Forms(text)...)
	return append(all, slices.DeleteFunc(derived, func(form string) bool { return len(form) < minDerived })...)
}

// What writers of JSON escape besides what they must.
func never(rune) bool         { return false }                                             // JavaScript
func beyondASCII(r rune) bool { return r > '~' }                                           // Python
func linesApart(r rune) bool  { return r == '\u2028' || r == '\u2029' }                    // Go
func forHTML(r rune) bool     { return r == '<' || r == '>' || r == '&' || linesApart(r) } // Go, by default

// escaped is the inside of a JSON string, in which \u stands for control
// characters and what is named besides.
func escaped(text string, besides func(rune) bool) string {
	if !utf8.ValidString(text) {
		text = string([]rune(text)) // with the replacement that everybody writes
	}
	var out strings.Builder
	begin := 0 // of what isn't written yet, and needs no escape
	for at, r := range text {
		short := -1
		if r < ' ' || r == '"' || r == '\\' {
			short = strings.IndexRune("\"\\\b\f\n\r\t", r)
		} else if !besides(r) {
			continue
		}
		if begin == 0 {
			out.Grow(len(text) + len(text)/16 + 16)
		}
		out.WriteString(text[begin:at])
		if begin = at + utf8.RuneLen(r); short >= 0 {
			out.WriteString(`\` + `"\bfnrt`[short:short+1])
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&out, `\u%04x`, unit)
		}
	}
	if begin == 0 {
		return text
	}
	out.WriteString(text[begin:])
	return out.String()
}

func hexadecimal(text, digits string) string {
	var out strings.Builder
	out.Grow(2 * len(text))
	var part [512]byte // written at once
	for begin := 0; begin < len(text); begin += len(part) / 2 {
		n := 0
		for i := begin; i < min(begin+len(part)/2, len(text)); i++ {
			part[n], part[n+1] = digits[text[i]>>4], digits[text[i]&0xf]
			n += 2
		}
		out.Write(part[:n])
	}
	return out.String()
}

// bytesOf is a set: letters, digits and those of more.
func bytesOf(more string) (set [256]bool) {
	for _, b := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" + more) {
		set[b] = true
	}
	return set
}

// What languages leave as it is in a URL.
var (
	unreserved   = bytesOf("-._~")
	inPython     = bytesOf("-._~/")
	inJavaScript = bytesOf("-._~!*'()")
	inPaths      = bytesOf("-._~$&+=:@") // by Go
)

func percentForms(text string) []string {
	plain := percent(text, &unreserved)
	all := []string{plain, percent(text, &inPaths)}
	if strings.Contains(text, " ") {
		all = append(all, strings.ReplaceAll(plain, "%20", "+"))
	}
	if strings.Contains(text, "/") {
		all = append(all, percent(text, &inPython))
	}
	if strings.ContainsAny(text, "!*'()") {
		all = append(all, percent(text, &inJavaScript))
	}
	return all
}

// percent encodes what isn't one of safe.
func percent(text string, safe *[256]bool) string {
	encoded := 0
	for i := range len(text) {
		if !safe[text[i]] {
			encoded++
		}
	}
	if encoded == 0 {
		return text
	}
	var out strings.Builder
	out.Grow(len(text) + 2*encoded)
	begin := 0 // of what isn't written yet, and needs no escape
	for i := range len(text) {
		if b := text[i]; !safe[b] {
			out.WriteString(text[begin:i])
			out.Write([]byte{'%', "0123456789ABCDEF"[b>>4], "0123456789ABCDEF"[b&0xf]})
			begin = i + 1
		}
	}
	out.WriteString(text[begin:])
	return out.String()
}

// base64Forms are the text by itself, alone and in lines as the command base64
// breaks them, and as a part of something longer: at each of the three places
// where it can begin, without the characters that its neighbours have a part in.
func base64Forms(text string) []string {
	const line = 76
	all := make([]string, 0, 8+len(text)/line*4)
	add := func(encoded string, before int) {
		bits := 8 * (before + len(text))
		all = append(all, encoded[(8*before+5)/6:bits/6])
		if before > 0 {
			return
		}
		all = append(all, encoded)
		for rest := encoded; len(rest) > 0; rest = rest[min(line, len(rest)):] {
			all = append(all, rest[:min(line, len(rest))])
		}
	}
	var encoded []byte
	raw := append(make([]byte, 2, 2+len(text)), text...)
	for before := range 3 {
		encoded = base64.StdEncoding.AppendEncode(encoded[:0], raw[2-before:])
		add(string(encoded), before)
		if bytes.ContainsAny(encoded, "+/") {
			for i, b := range encoded { // what URLs have instead
				switch b {
				case '+':
					encoded[i] = '-'
				case '/':
					encoded[i] = '_'
				}
			}
			add(string(encoded), before)
		}
	}
	return all
}
