package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode"
)

// problem is an error answer of the gateway, application/problem+json.
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Component string `json:"component"`
	Phase     string `json:"phase"`
	Retryable bool   `json:"retryable"`
	Started   bool   `json:"started"`
	Errors    []struct {
		Pointer *string `json:"pointer"` // into the document that was sent
		File    string  `json:"file"`    // of a pack
		Line    int     `json:"line"`
		Detail  string  `json:"detail"`
	} `json:"errors"`
	Execution string  `json:"execution"`
	Log       string  `json:"log"`    // the end of the installer's output, or of the action's stderr
	Checks    []check `json:"checks"` // of /readyz
}

// readProblem reads an error answer, whoever gave it: a proxy may answer with
// something else than a problem.
func readProblem(answer reply) problem {
	p := problem{}
	if err := json.Unmarshal(answer.Body, &p); err != nil || p.Title == "" {
		p = problem{Title: "the gateway answered " + strings.ToLower(http.StatusText(answer.Status))}
	}
	p.Status = answer.Status
	if p.slug() == "unauthenticated" {
		p.Detail += "; give it by " + KeyVariable + " or --key-file"
	}
	return p
}

// slug is the kind of problem: "action-failed".
func (p problem) slug() string {
	return strings.TrimPrefix(p.Type, "/problems/")
}

// summary is the problem on one line.
func (p problem) summary() string {
	text := p.Title
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	if slug := p.slug(); slug != "" {
		return fmt.Sprintf("%s (%d %s)", plain(text), p.Status, plain(slug))
	}
	return fmt.Sprintf("%s (%d)", plain(text), p.Status)
}

// actionFailures are the problems that an action makes by itself.
var actionFailures = map[string]bool{
	"action-failed": true, "bad-output": true, "result-too-large": true, "out-of-memory": true,
}

// exitCode is the exit code that a problem stands for.
func (p problem) exitCode() int {
	slug := p.slug()
	switch {
	case actionFailures[slug], slug == "timed-out" && p.Started:
		return exitFailed
	case p.Status >= 400 && p.Status < 500 && p.Status != http.StatusTooManyRequests && slug != "cancelled":
		return exitUsage
	}
	return exitGateway
}

// print writes the problem for people: what, where, whether to try again, and
// the log of what failed.
func (p problem) print(w io.Writer) {
	fmt.Fprintln(w, "attune: "+p.summary())
	for _, fault := range p.Errors {
		where := ""
		switch {
		case fault.File != "" && fault.Line > 0:
			where = fmt.Sprintf("%s:%d: ", plain(fault.File), fault.Line)
		case fault.File != "":
			where = plain(fault.File) + ": "
		case fault.Pointer != nil:
			where = cmp.Or(plain(*fault.Pointer), "(the whole)") + ": "
		}
		fmt.Fprintln(w, "  "+where+plain(fault.Detail))
	}
	if where := p.where(); where != "" {
		fmt.Fprintln(w, "  "+where)
	}
	printLog(w, p.Log)
}

// where says which part failed and whether a retry is safe.
func (p problem) where() string {
	var parts []string
	if p.Component != "" {
		parts = append(parts, "failed in: "+plain(p.Component))
	}
	if p.Phase != "" {
		parts = append(parts, "phase: "+plain(p.Phase))
	}
	if p.Execution != "" {
		parts = append(parts, "execution: "+plain(p.Execution))
	}
	switch {
	case p.Started:
		parts = append(parts, "the action may have run")
	case p.Retryable:
		parts = append(parts, "a retry is safe")
	}
	return strings.Join(parts, ", ")
}

// printLog writes the output of a program that failed, indented.
func printLog(w io.Writer, text string) {
	if text = strings.TrimRight(text, "\n"); text == "" {
		return
	}
	fmt.Fprintln(w, "  log:")
	for line := range strings.SplitSeq(text, "\n") {
		fmt.Fprintln(w, "  | "+plain(line))
	}
}

// plain makes a text safe for a terminal: what packs and installers print could
// hold escape codes.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r), r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, text)
}
