package envcache

import (
	"regexp"
	"strings"
)

// Ranks of what an installer's line says of a failure. Installers name the fault
// and then add advice, a drawing, or where their own log is: the last line is
// often the least telling one.
const (
	rankAside = iota
	rankPlain
	rankError
)

var (
	// "error: …" of uv, "ERROR: …" and "× …" of pip, "npm error …".
	errorLine = regexp.MustCompile(`^(?:(?i:npm error|npm err!|error)[:\s]\s*|×\s+)\S`)
	// What says nothing of the fault: advice, carets, pip's names of faults and
	// frames around them, npm's code, path and log in lines of their own.
	asideLine = regexp.MustCompile(`^(?:(?i:hint|note|help|warn|warning|info|debug)[:\s]` +
		`|(?i:error: [a-z]+(?:-[a-z]+)+$)` +
		`|(?i:npm (?:warn|notice|verbose)\b)` +
		`|(?i:npm (?:error|err!)(?:\s+(?:code|errno|syscall|path|dest|signal|command|a complete log of this run)\b.*)?$)` +
		`|\[(?:notice|end of output)\]` +
		`|[│╰].*` +
		`|[\s~^|─═.*_-]+$)`)
	npmLine = regexp.MustCompile(`^(?i:npm (?:error|err!))`)
)

// reason is the line of an installer's output that says most of why it failed;
// of those that say as much, the last, but npm's first.
type reason struct {
	line string
	rank int
	open bool // the line before was an error: its causes may follow
}

// hear takes the next line.
func (r *reason) hear(line string) {
	line = strings.TrimSpace(line)
	if line == "" {
		return
	}
	if cause, ok := strings.CutPrefix(line, "cause: "); ok && r.open { // of uv
		r.line += ": " + cause
		return
	}
	rank := rankPlain
	switch {
	case asideLine.MatchString(line):
		rank = rankAside
	case errorLine.MatchString(line):
		rank = rankError
	}
	r.open = rank == rankError
	again := rank == rankError && npmLine.MatchString(line) && npmLine.MatchString(r.line) && r.rank == rankError
	if r.line == "" || rank >= r.rank && !again {
		r.line, r.rank = line, rank
	}
}
