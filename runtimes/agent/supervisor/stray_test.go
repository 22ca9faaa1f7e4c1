package supervisor

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"attune/runtimes/agent/wire"
)

// A descriptor beside a frame that has none is a violation at once.
func TestDescriptorOfNoFrame(t *testing.T) {
	t.Parallel()
	theirs, ours := unixPair(t)
	r := &rights{conn: ours}
	defer r.close()
	in := wire.NewReader(r, wire.ToAgent)
	head := wire.Header(wire.TypeKill, 1, 2)
	if _, _, err := theirs.WriteMsgUnix(append(head[:], "{}"...), syscall.UnixRights(0), nil); err != nil {
		t.Fatal(err)
	}
	if m := nextMessage(in, r); !errors.Is(m.err, wire.ErrProtocol) {
		t.Errorf("kill with a descriptor: %+v, want ErrProtocol", m)
	}
}

// What is forwarded is bounded, of a worker by time.
func TestPumpIsBounded(t *testing.T) {
	t.Parallel()
	for every, want := range map[time.Duration]int64{0: 10, time.Hour: 10, time.Nanosecond: 30} {
		from, to, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		var forwarded int64
		asked := make(chan struct{})
		p, ended := pump{every: every}, make(chan struct{})
		go func() {
			defer close(ended)
			p.run(from, 10, 1, func(_ wire.Type, _ uint32, frame []byte) error {
				forwarded += int64(len(frame) - wire.HeaderSize)
				asked <- struct{}{}
				return nil
			})
		}()
		for i := range 3 {
			if _, err := to.Write([]byte("0123456789")); err != nil {
				t.Fatal(err)
			}
			if int64(i*10) < want { // each write is a read of its own
				<-asked
			}
		}
		to.Close()
		<-ended
		if forwarded != want || p.dropped != 30-want {
			t.Errorf("every %v: %d bytes forwarded, %d dropped, want %d, %d", every, forwarded, p.dropped, want, 30-want)
		}
	}
}
