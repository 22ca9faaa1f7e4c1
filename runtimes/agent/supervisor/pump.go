package supervisor

import (
	"io"
	"os"
	"sync"
	"time"

	"attune/runtimes/agent/wire"
)

// pump forwards one output stream of one execution, chunk by chunk.
type pump struct {
	kind    wire.Type
	dropped int64         // bytes that were not forwarded
	cut     bool          // the end of the output was not seen
	every   time.Duration // limit is what may come in such a time, for one that has no end; 0 = in all
}

// frames are the pumps' buffers. An idle agent has none.
var frames = sync.Pool{New: func() any {
	frame := make([]byte, wire.HeaderSize+wire.MaxChunk)
	return &frame
}}

// run forwards from until its end and closes it. Beyond limit, and when the
// gateway takes no more, it counts and drops: the program runs on.
func (p *pump) run(from *os.File, limit int64, stream uint32, send func(wire.Type, uint32, []byte) error) {
	defer from.Close()
	buffer := frames.Get().(*[]byte)
	defer frames.Put(buffer)
	frame := *buffer
	left, since := limit, time.Now()
	for {
		n, err := from.Read(frame[wire.HeaderSize:])
		if p.every > 0 && time.Since(since) > p.every {
			left, since = limit, time.Now()
		}
		take := min(int64(n), left)
		if take > 0 {
			if send(p.kind, stream, frame[:wire.HeaderSize+take]) != nil {
				limit, left, take = 0, 0, 0
			}
		}
		left -= take
		p.dropped += int64(n) - take
		if err != nil {
			p.cut = err != io.EOF
			return
		}
	}
}
