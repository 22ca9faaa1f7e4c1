package main

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEventReader(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text  string
		want  []string // "name: data"
		heard int
		err   error
	}{
		"plain":              {"event: a\ndata: 1\n\ndata: 2\n\n", []string{"a: 1", "message: 2"}, 5, io.EOF},
		"comments and ids":   {": heartbeat\n\nid: 7\nretry: 5\nevent: a\ndata: 1\n\n", []string{"a: 1"}, 7, io.EOF},
		"several data lines": {"data: 1\ndata:\ndata:  2\n\n", []string{"message: 1\n\n 2"}, 4, io.EOF},
		"no space":           {"event:a\ndata:1\n\n", []string{"a: 1"}, 3, io.EOF},
		"CR LF":              {"event: a\r\ndata: 1\r\n\r\n", []string{"a: 1"}, 3, io.EOF},
		"no data":            {"event: a\n\nevent: b\ndata: 1\n\n", []string{"b: 1"}, 5, io.EOF},
		"cut off":            {"event: a\ndata: 1\n", nil, 2, io.ErrUnexpectedEOF},
		"cut off in a line":  {"event: a\nda", nil, 1, io.ErrUnexpectedEOF},
		"nothing":            {"", nil, 0, io.EOF},
		"a long line":        {"data: " + strings.Repeat("x", 1<<20) + "\n\n", []string{"message: " + strings.Repeat("x", 1<<20)}, 2, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			heard := 0
			r := &eventReader{lines: bufio.NewReader(strings.NewReader(test.text)), heard: func() { heard++ }}
			var got []string
			e, err := r.next()
			for ; err == nil; e, err = r.next() {
				got = append(got, e.name+": "+string(e.data))
			}
			if diff := cmp.Diff(test.want, got); diff != "" || !errors.Is(err, test.err) || heard != test.heard {
				t.Errorf("%d lines, error = %v (-want +got):\n%s", heard, err, diff)
			}
		})
	}
}
