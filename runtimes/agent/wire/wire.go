// Package wire is the language that gateway and agent speak over their one
// connection: frames, message types and limits. protocol.md beside it in the
// parent directory is the prose.
package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Version is what both hellos must carry. The gateway ships its own agent, so
// there is nothing to negotiate.
const Version = 2

// Limits of a frame's payload in bytes.
const (
	MaxStart   = 16 << 20 // a request with its files and stdin
	MaxChunk   = 64 << 10 // a piece of output
	MaxControl = 64 << 10 // any other message
	MaxNotice  = 1 << 10  // a text for the log
)

// HeaderSize is what stands before every payload: length (4), type (1),
// stream (4), big-endian. The length counts the payload alone.
const HeaderSize = 9

// Type says what a frame's payload is.
type Type byte

// Frame types. Numbers are never reused with another meaning.
const (
	TypeHello   Type = 1  // both ways: Hello
	TypeStart   Type = 2  // to the agent: Start, files, stdin
	TypeKill    Type = 3  // to the agent: Kill
	TypeStarted Type = 4  // to the gateway: empty
	TypeStdout  Type = 5  // to the gateway: bytes
	TypeStderr  Type = 6  // to the gateway: bytes
	TypeExit    Type = 7  // to the gateway: Exit
	TypeWorker  Type = 8  // to the agent: Program, with one descriptor
	TypeRefused Type = 9  // to the gateway: empty; the instance was spent meanwhile, nothing was run
	TypeNotice  Type = 10 // to the gateway: a text for the log; stream 0
)

// ErrProtocol says that the other end broke the rules. The connection is dead.
var ErrProtocol = errors.New("agent protocol violation")

// Frame is one message. Payload is valid until the next call of Reader.Next,
// except a start's: that is the caller's to keep.
type Frame struct {
	Type    Type
	Stream  uint32 // which execution; 0 for hello
	Payload []byte
}

// Limits gives the largest payload per type that an end accepts; a type that is
// absent is a protocol error.
type Limits map[Type]int

// What each end accepts.
var (
	ToAgent   = Limits{TypeHello: MaxControl, TypeStart: MaxStart, TypeKill: MaxControl, TypeWorker: MaxControl}
	ToGateway = Limits{
		TypeHello: MaxControl, TypeStarted: 0, TypeStdout: MaxChunk, TypeStderr: MaxChunk, TypeExit: MaxControl,
		TypeRefused: 0, TypeNotice: MaxNotice,
	}
)

// Reader reads frames. It is not safe for concurrent use.
type Reader struct {
	r      *bufio.Reader
	limits Limits
	buf    []byte
}

// NewReader reads frames from r and accepts what limits allow.
func NewReader(r io.Reader, limits Limits) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 4096), limits: limits}
}

// Next reads a frame. io.EOF says that the other end closed between two frames,
// io.ErrUnexpectedEOF that it closed inside one, ErrProtocol that it sent what
// it must not.
func (d *Reader) Next() (Frame, error) {
	var head [HeaderSize]byte
	if _, err := io.ReadFull(d.r, head[:]); err != nil {
		return Frame{}, err
	}
	f := Frame{Type: Type(head[4]), Stream: binary.BigEndian.Uint32(head[5:])}
	size := binary.BigEndian.Uint32(head[:4])
	limit, ok := d.limits[f.Type]
	if !ok {
		return Frame{}, fmt.Errorf("%w: unexpected frame type %d", ErrProtocol, f.Type)
	}
	if uint64(size) > uint64(limit) {
		return Frame{}, fmt.Errorf("%w: frame type %d of %d bytes, at most %d allowed", ErrProtocol, f.Type, size, limit)
	}
	f.Payload = d.room(f.Type, int(size))
	if _, err := io.ReadFull(d.r, f.Payload); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	return f, nil
}

// Buffered is how many bytes were received after the frame that Next returned last.
func (d *Reader) Buffered() int { return d.r.Buffered() }

// room returns a buffer for a payload. All but starts share one that grows with
// need, so that an idle connection stays small.
func (d *Reader) room(t Type, size int) []byte {
	if t == TypeStart {
		return make([]byte, size)
	}
	if size > cap(d.buf) {
		d.buf = make([]byte, max(size, 512))
	}
	return d.buf[:size]
}

// Header is what stands before a payload of size bytes.
func Header(t Type, stream uint32, size int) (head [HeaderSize]byte) {
	binary.BigEndian.PutUint32(head[:], uint32(size))
	head[4] = byte(t)
	binary.BigEndian.PutUint32(head[5:], stream)
	return head
}

// Write writes a small frame in one call of w.
func Write(w io.Writer, t Type, stream uint32, payload []byte) error {
	head := Header(t, stream, len(payload))
	_, err := w.Write(append(head[:], payload...))
	return err
}
