package process

import "sync"

// keptOutput bounds what is kept of a container's output: the newest.
const keptOutput = 1 << 20

// output is a bounded memory of what was written, which many can follow.
type output struct {
	mu      sync.Mutex
	kept    []byte
	start   int64         // position of kept[0] in all that was written
	changed chan struct{} // closed and replaced by each write; nil after the end
}

func newOutput() *output {
	return &output{changed: make(chan struct{})}
}

// Write keeps p, and forgets the oldest beyond the bound. It trims at twice the
// bound, so that a byte is moved once on average.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept = append(o.kept, p...)
	if surplus := len(o.kept) - keptOutput; surplus > keptOutput {
		o.kept = append([]byte(nil), o.kept[surplus:]...)
		o.start += int64(surplus)
	}
	if o.changed != nil {
		close(o.changed)
		o.changed = make(chan struct{})
	}
	return len(p), nil
}

// end tells all who follow that nothing more will come.
func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

// from returns what is kept from a position on, the position after it, and a
// channel that closes when there is more; nil if there never will be.
func (o *output) from(position int64) (chunk []byte, next int64, more <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	next = o.start + int64(len(o.kept))
	oldest := max(o.start, next-keptOutput)
	chunk = append(chunk, o.kept[max(position, oldest)-o.start:]...)
	return chunk, next, o.changed
}
