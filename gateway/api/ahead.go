package api

import (
	"io"
	"sync"
)

// ahead reads more than it is asked for. A server that keeps a whole header's
// buffer for each connection takes 16 KiB for a call that only waits, so
// fasthttp is told to give them back between requests. It then waits for a
// request by reading a single byte, which alone would be a system call more for
// each: ahead takes all that has come with it.
type ahead struct {
	buffer *[aheadBytes]byte // nil when nothing is left
	rest   []byte            // of the buffer
}

// aheadBytes hold most requests. Of others the rest is read where it belongs.
const aheadBytes = 2 << 10

var aheadBuffers = sync.Pool{New: func() any { return new([aheadBytes]byte) }}

// read reads from what was read before, or else from r.
func (a *ahead) read(r io.Reader, p []byte) (int, error) {
	if a.buffer == nil {
		if len(p) != 1 {
			return r.Read(p)
		}
		a.buffer = aheadBuffers.Get().(*[aheadBytes]byte)
		n, err := r.Read(a.buffer[:])
		a.rest = a.buffer[:n]
		if n == 0 {
			a.release()
			return 0, err
		}
		// A fault beside bytes comes again with the next read.
	}
	n := copy(p, a.rest)
	if a.rest = a.rest[n:]; len(a.rest) == 0 {
		a.release()
	}
	return n, nil
}

func (a *ahead) release() {
	aheadBuffers.Put(a.buffer)
	a.buffer, a.rest = nil, nil
}
