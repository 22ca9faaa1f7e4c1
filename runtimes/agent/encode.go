package agent

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"

	"attune/runtimes/agent/wire"
)

// encode makes the call's frame in w.frame.
func (w *Worker) encode(c *Call) error {
	b := append(w.frame[:0], 0, 0, 0, 0, byte(wire.WorkerCall))
	b = appendText(append(b, `{"id":`...), c.ID)
	b = appendText(append(b, `,"action":`...), c.Action)
	b = appendText(append(b, `,"pack":`...), c.Pack)
	b = appendText(append(b, `,"file":`...), c.File)
	if c.Traceparent != "" {
		b = appendText(append(b, `,"traceparent":`...), c.Traceparent)
	}
	if c.Tracestate != "" {
		b = appendText(append(b, `,"tracestate":`...), c.Tracestate)
	}
	if !c.Deadline.IsZero() {
		b = strconv.AppendFloat(append(b, `,"deadline":`...), float64(c.Deadline.UnixMicro())/1e6, 'f', 6, 64)
	}
	b = append(b, `,"secrets":[`...)
	for i, name := range c.Secrets {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, name)
	}
	b = append(b, `],"parameters":`...)
	if len(c.Parameters) == 0 {
		b = append(b, `{}`...)
	}
	b = append(append(b, c.Parameters...), '}')
	size := len(b) - wire.WorkerHeaderSize
	if size > wire.MaxCall {
		w.frame = nil
		return fmt.Errorf("%w: call of %d bytes, at most %d", ErrTooLarge, size, wire.MaxCall)
	}
	binary.BigEndian.PutUint32(b, uint32(size))
	w.frame = b
	return nil
}

// appendText appends a JSON string.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic(fmt.Sprintf("encode a string: %v", err)) // can't be: a string becomes valid UTF-8
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
