package envcache

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func containsWord(text, word string) bool { return strings.Contains(text, word) }

func logOf(t *testing.T, output string) (*buildLog, []string) {
	t.Helper()
	var lines []string
	l := newBuildLog(func(line string) { lines = append(lines, line) })
	if _, err := l.Write([]byte(output)); err != nil {
		t.Fatal(err)
	}
	l.bytes()
	return l, lines
}

func TestBuildLogMasksCredentials(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Looking in https://user:secret@index/simple":                "Looking in https://***@index/simple",
		"https://token@a and http://u:p@b":                           "https://***@a and http://***@b",
		"https://user:se@cret@index/x":                               "https://***@index/x",
		"git+ssh://git@host/repo":                                    "git+ssh://***@host/repo",
		"https://index/a@b":                                          "https://index/a@b",
		"me@example.org":                                             "me@example.org",
		"--index-url=https://u:p@h --trusted x":                      "--index-url=https://***@h --trusted x",
		strings.Repeat("x ", maxLine/2-4) + "https://user:secret@h/": strings.TrimRight(strings.Repeat("x ", maxLine/2-4), " ") + "\n https://***@h/",
	} {
		l, _ := logOf(t, in)
		if got := string(l.bytes()); got != want+"\n" {
			t.Errorf("%.60q: kept %.200q, want %.200q", in, got, want)
		}
	}
}

func TestBuildLogCutsLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", maxLine)
	_, lines := logOf(t, long+"\r\nnext\nlast")
	if got := strings.Join(lines[:len(lines)-2], ""); got != long {
		t.Errorf("an endless line comes back as %d bytes of %d", len(got), len(long))
	}
	for _, line := range lines {
		if len(line) > maxLine {
			t.Errorf("a line has %d bytes", len(line))
		}
	}
	if end := lines[len(lines)-2:]; end[0] != "next" || end[1] != "last" {
		t.Errorf("the lines after it are %q", end)
	}
	exact := strings.Repeat("y", maxLine)
	if _, lines := logOf(t, exact+"\n"+exact); len(lines) != 2 || lines[0] != exact || lines[1] != exact {
		t.Errorf("lines at the limit are cut into %d", len(lines))
	}
}

func TestBuildLogIsFitForATerminal(t *testing.T) {
	t.Parallel()
	_, lines := logOf(t, "a\x1b]0;title\x07b\x00\u009b\tc\xff\n")
	if want := "a]0;titleb\tc\uFFFD"; len(lines) != 1 || lines[0] != want {
		t.Errorf("lines = %q, want %q", lines, want)
	}
}

func TestBuildLogKeepsItsEnd(t *testing.T) {
	t.Parallel()
	l := newBuildLog(nil)
	for i := range 200_000 {
		if _, err := fmt.Fprintf(l, "line %d\n", i); err != nil {
			t.Fatal(err)
		}
	}
	kept := l.bytes()
	if len(kept) > maxLog || len(kept) < maxLog/3 || !bytes.HasPrefix(kept, []byte("line ")) || !bytes.HasSuffix(kept, []byte("line 199999\n")) {
		t.Errorf("%d bytes are kept, from %.20q", len(kept), kept)
	}
	if tail := l.tail(); len(tail) > maxTail || !strings.HasSuffix(tail, "line 199999\n") {
		t.Errorf("the tail has %d bytes", len(tail))
	}
}

// A megabyte of empty lines in one write must not cost a copy per line.
func TestBuildLogIsLinear(t *testing.T) {
	t.Parallel()
	start := time.Now()
	if _, err := newBuildLog(nil).Write(bytes.Repeat([]byte("\n"), 2<<20)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 20*time.Second { // quadratic, it took minutes
		t.Errorf("Write() took %v", took)
	}
}

func TestBuildLogKnowsTheLastWord(t *testing.T) {
	t.Parallel()
	l, _ := logOf(t, "==> install: pip\nERROR: "+strings.Repeat("é", 300)+"\n\n==> install failed: exit status 1\n")
	announced, last := l.ending()
	if !announced || !strings.HasPrefix(last, "ERROR: é") || !strings.HasSuffix(last, "é…") || len(last) > 310 {
		t.Errorf("ending() = %v, %q", announced, last)
	}
	l, _ = logOf(t, "only this")
	if announced, last := l.ending(); announced || last != "only this" {
		t.Errorf("ending() of a log without the agent's word = %v, %q", announced, last)
	}
}
