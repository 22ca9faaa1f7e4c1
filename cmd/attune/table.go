package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// colour is an escape code of a terminal; empty = none.
type colour string

const (
	uncoloured colour = ""
	red        colour = "\x1b[31m"
	green      colour = "\x1b[32m"
	yellow     colour = "\x1b[33m"
	dim        colour = "\x1b[2m"
)

const resetColour = "\x1b[0m"

// colours tells whether stdout may be coloured: on a terminal whose user has
// not asked for plain text by NO_COLOR.
func (p *program) colours() bool {
	return p.StdoutTerminal && allowsColour(p.Environ)
}

func allowsColour(environ []string) bool {
	value, _ := lookup(environ, "NO_COLOR")
	return value == ""
}

// table is aligned text. What it shows may come from packs: cells are made
// plain.
type table struct {
	header  []string
	rows    [][]string
	colours map[string]colour // of the cells with exactly this text
}

// write prints the table; an empty one is its header alone. One without a
// header is rows of two cells.
func (t table) write(w io.Writer, coloured bool) {
	widths := make([]int, max(len(t.header), 2))
	lines := t.rows
	if t.header != nil {
		lines = append([][]string{t.header}, t.rows...)
	}
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(plain(cell)))
		}
	}
	for _, line := range lines {
		var b strings.Builder
		for i, text := range line {
			cell := plain(text)
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2)
			if paint := t.colours[cell]; coloured && paint != uncoloured {
				cell = string(paint) + cell + resetColour
			}
			b.WriteString(cell + padding)
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}
