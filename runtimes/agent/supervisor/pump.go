package supervisor

import (
	"os"

	"attune/runtimes/agent/wire"
)

// pump forwards one output stream of one execution after the other, chunk by
// chunk, with one buffer for ever.
type pump struct {
	kind    wire.Type
	frame   []byte
	dropped int64 // bytes of the last run that were not forwarded
}

func newPump(kind wire.Type) pump {
	return pump{kind: kind, frame: make([]byte, wire.HeaderSize+wire.MaxChunk)}
}

// run forwards from until its end and closes it. Beyond limit, and when the
// gateway takes no more, it counts and drops: the program runs on.
func (p *pump) run(from *os.File, limit int64, stream uint32, send func(wire.Type, uint32, []byte) error) {
	defer from.Close()
	p.dropped = 0
	for {
		n, err := from.Read(p.frame[wire.HeaderSize:])
		take := min(int64(n), limit)
		if take > 0 {
			if send(p.kind, stream, p.frame[:wire.HeaderSize+take]) != nil {
				limit, take = 0, 0
			}
		}
		limit -= take
		p.dropped += int64(n) - take
		if err != nil {
			return
		}
	}
}
