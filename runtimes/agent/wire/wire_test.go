package wire

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"
	"time"
)

func TestFrames(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	want := []Frame{
		{TypeStart, 1, bytes.Repeat([]byte("x"), 1<<20)},
		{TypeKill, 1, []byte("{}")},
		{TypeHello, 0, nil},
	}
	for _, f := range want {
		if err := Write(&b, f.Type, f.Stream, f.Payload); err != nil {
			t.Fatal(err)
		}
	}
	r := NewReader(&b, ToAgent)
	for _, w := range want {
		f, err := r.Next()
		if err != nil || f.Type != w.Type || f.Stream != w.Stream || !bytes.Equal(f.Payload, w.Payload) {
			t.Errorf("Next() = type %d stream %d %d bytes, %v; want type %d", f.Type, f.Stream, len(f.Payload), err, w.Type)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("Next() at the end = %v, want EOF", err)
	}
}

func TestFramesThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		t    Type
		size int
		want error
	}{
		"unknown type":        {0, 0, ErrProtocol},
		"of the other end":    {TypeStart, 0, ErrProtocol},
		"started with a text": {TypeStarted, 1, ErrProtocol},
		"too long":            {TypeStdout, MaxChunk + 1, ErrProtocol},
		"far too long":        {TypeExit, 1<<32 - 1, ErrProtocol},
		"cut off":             {TypeStdout, MaxChunk, io.ErrUnexpectedEOF},
	} {
		head := Header(test.t, 1, test.size)
		if _, err := NewReader(bytes.NewReader(head[:]), ToGateway).Next(); !errors.Is(err, test.want) {
			t.Errorf("%s: Next() = %v, want %v", name, err, test.want)
		}
	}
	if _, err := NewReader(bytes.NewReader([]byte{0, 0}), ToGateway).Next(); err != io.ErrUnexpectedEOF {
		t.Errorf("half a header: Next() = %v", err)
	}
}

var start = Start{
	ID: "01X", Argv: []string{"a", "ä b"}, Dir: "/", Env: []string{"A=1"}, Timeout: time.Second, Grace: 1, StdoutLimit: 5,
	Files: []File{{Name: "f", Data: []byte("file")}, {Name: "empty", Data: []byte{}}}, Stdin: []byte("in\x00\xff"),
}

func TestStart(t *testing.T) {
	t.Parallel()
	p, err := EncodeStart(start)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeStart(p); err != nil || !reflect.DeepEqual(got, start) {
		t.Errorf("DecodeStart(EncodeStart()) = %+v, %v; want %+v", got, err, start)
	}
	for cut := range len(p) - len(start.Stdin) {
		if _, err := DecodeStart(p[:cut]); !errors.Is(err, ErrProtocol) {
			t.Fatalf("DecodeStart() of the first %d bytes = %v, want ErrProtocol", cut, err)
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, byte(TypeStdout), 0, 0, 0, 1, 'x'})
	f.Add([]byte{255, 255, 255, 255, byte(TypeExit), 0, 0, 0, 1})
	f.Add([]byte{0, 0, 0, 0, byte(TypeStarted), 0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, input []byte) {
		for _, limits := range []Limits{ToAgent, ToGateway} {
			r := NewReader(bytes.NewReader(input), limits)
			for read := 0; ; {
				f, err := r.Next()
				if err != nil {
					break
				}
				read += HeaderSize + len(f.Payload)
				if max, ok := limits[f.Type]; !ok || len(f.Payload) > max || read > len(input) {
					t.Fatalf("Next() = type %d, %d bytes", f.Type, len(f.Payload))
				}
			}
		}
	})
}

func FuzzDecodeStart(f *testing.F) {
	p, err := EncodeStart(start)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p)
	f.Add([]byte("\x00\x00\x00\x1f" + `{"files":[{"size":-1}],"id":""}`))
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, input []byte) {
		s, err := DecodeStart(input)
		if err != nil && !errors.Is(err, ErrProtocol) {
			t.Errorf("DecodeStart() error = %v", err)
		}
		size := len(s.Stdin)
		for _, f := range s.Files {
			size += len(f.Data)
		}
		if size > len(input) {
			t.Errorf("DecodeStart() made %d bytes of %d", size, len(input))
		}
	})
}
