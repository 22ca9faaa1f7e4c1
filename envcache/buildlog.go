package envcache

import (
	"bytes"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Bounds of what is kept of a builder's output, in bytes.
const (
	maxLog  = 1 << 20
	maxTail = 4 << 10
	maxLine = 4 << 10
)

// credentials is the user part of a URL, which installers print with the index
// they use.
var credentials = regexp.MustCompile(`(://)[^/\s]+@`)

// halfURL is the end of a piece in which a URL may have been cut before it could
// be seen whether it has a user part.
var halfURL = regexp.MustCompile(`:(/(/[^/\s]*)?)?$`)

// maxCarry bounds what of a cut line waits for the rest of its URL; a user part
// that is longer is masked unseen.
const maxCarry = 1 << 10

// announcement begins the agent's own lines.
const announcement = "==> "

// buildLog keeps the end of a builder's output, masked, and passes its lines on.
type buildLog struct {
	line    func(string) // may be nil
	secrets []string     // masked wherever they stand

	mu        sync.Mutex
	kept      bytes.Buffer
	partial   []byte // the line that has not ended yet; at most maxLine
	carry     string // of the piece before: a URL that was cut
	last      reason // of what the installer said
	announced string // last line of the agent
}

func newBuildLog(line func(string), secrets ...string) *buildLog {
	return &buildLog{line: line, secrets: secrets}
}

// Write implements io.Writer; it never fails.
func (l *buildLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, p...)
	rest := l.partial
	for {
		line, after, whole := cutLine(rest)
		if !whole {
			break
		}
		l.keep(line, len(line)+len(after) == len(rest))
		rest = after
	}
	if len(rest) < len(l.partial) {
		l.partial = bytes.Clone(rest) // moved once per write, however many lines it had
	}
	return len(p), nil
}

// cutLine takes the first line. An endless one is cut, not collected: at a
// space, so that no URL is halved, and if there is none, between two characters.
func cutLine(b []byte) (line, after []byte, whole bool) {
	if end := bytes.IndexByte(b[:min(len(b), maxLine+1)], '\n'); end >= 0 {
		return b[:end], b[end+1:], true
	}
	if len(b) <= maxLine {
		return nil, b, false
	}
	end := bytes.LastIndexAny(b[:maxLine], " \t")
	if end <= 0 {
		for end = maxLine; end > maxLine-utf8.UTFMax && !utf8.RuneStart(b[end]); end-- {
		}
	}
	return b[:end], b[end:], true
}

// keep takes a line, or a piece of one that was cut.
func (l *buildLog) keep(line []byte, cut bool) {
	text := l.carry + printable(line)
	l.carry = ""
	if at := halfURL.FindStringIndex(text); cut && at != nil {
		text, l.carry = text[:at[0]], text[at[0]:]
		if len(l.carry) > maxCarry {
			l.carry = "://***"
		}
	}
	text = credentials.ReplaceAllString(text, "$1***@")
	for _, secret := range l.secrets {
		text = strings.ReplaceAll(text, secret, "***")
	}
	if l.kept.Len()+len(text) >= maxLog {
		l.kept.Next(maxLog / 2) // the end of a log says why it failed
		l.kept.Next(bytes.IndexByte(l.kept.Bytes(), '\n') + 1)
	}
	l.kept.WriteString(text)
	l.kept.WriteByte('\n')
	if said, ok := strings.CutPrefix(text, announcement); ok {
		l.announced = said
	} else {
		l.last.hear(text)
	}
	if l.line != nil {
		l.line(text)
	}
}

// printable makes a line fit for a terminal: what an installer prints, a pack
// can choose.
func printable(line []byte) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(line), "\uFFFD"))
}

// finish takes an unfinished line for a line.
func (l *buildLog) finish() {
	if len(l.partial) > 0 || l.carry != "" {
		l.keep(l.partial, false)
		l.partial = nil
	}
}

// bytes returns all that is kept.
func (l *buildLog) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finish()
	return bytes.Clone(l.kept.Bytes())
}

// tail returns the end of the log, for answers.
func (l *buildLog) tail() string {
	all := l.bytes()
	if len(all) <= maxTail {
		return string(all)
	}
	all = all[len(all)-maxTail:]
	for len(all) > 0 && !utf8.RuneStart(all[0]) {
		all = all[1:]
	}
	return string(all)
}

// ending tells what was said about a failure: by the agent, if it announced one,
// and by the installer in the line that says most. What the agent could not run
// has no line of its own.
func (l *buildLog) ending() (announced bool, last string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finish()
	step, reason, announced := strings.Cut(l.announced, " failed: ")
	last = l.last.line
	if announced && (last == "" || !strings.HasPrefix(reason, "exit status ")) {
		last = step + ": " + reason
	}
	const most = 300
	if len(last) > most {
		last = strings.ToValidUTF8(last[:most], "") + "…"
	}
	return announced, last
}
