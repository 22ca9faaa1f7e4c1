package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// screen is the lower part of a terminal, which is drawn over and over. Its
// users see to it that one at a time does so.
type screen struct {
	out   io.Writer
	width func() int // columns of the terminal; nil = no terminal, and no escape codes
	drawn int        // lines on the screen that the next drawing takes away
}

// screenLine is one line of plain text.
type screenLine struct {
	text  string
	paint colour
}

// erase removes what was drawn.
func (s *screen) erase() {
	if s.drawn > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.drawn)
		s.drawn = 0
	}
}

// show draws lines below everything else, cut to the screen: a line that wraps
// could not be erased.
func (s *screen) show(lines []screenLine) {
	width := s.width()
	var b strings.Builder
	for _, line := range lines {
		text := cut(line.text, width-1)
		if line.paint != uncoloured {
			text = string(line.paint) + text + resetColour
		}
		b.WriteString(text + "\n")
	}
	io.WriteString(s.out, b.String())
	s.drawn = len(lines)
}

// cut shortens a text to so many characters.
func cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	runes := []rune(text)
	return string(runes[:max(0, width-1)]) + "…"
}
