package api

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// Ensure that reading ahead changes nothing of what is read, whatever the sizes
// of the reads.
func TestAheadReadsWhatIsThere(t *testing.T) {
	t.Parallel()
	want := make([]byte, 5*aheadBytes)
	for i := range want {
		want[i] = byte(i * 7)
	}
	for name, source := range map[string]io.Reader{
		"all":       bytes.NewReader(want),
		"bytewise":  iotest.OneByteReader(bytes.NewReader(want)),
		"with EOF":  iotest.DataErrReader(bytes.NewReader(want)),
		"by halves": iotest.HalfReader(bytes.NewReader(want)),
	} {
		var a ahead
		var got []byte
		random := rand.New(rand.NewPCG(1, 2))
		for {
			size := 1
			if random.IntN(2) == 0 {
				size += random.IntN(3000)
			}
			part := make([]byte, size)
			n, err := a.read(source, part)
			got = append(got, part[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: read %d bytes, not the %d that are there", name, len(got), len(want))
		}
		if a.buffer != nil {
			t.Errorf("%s: a buffer is held for nothing", name)
		}
	}
}

// Ensure requests that come in one go are answered each, small or large, and
// that the answers come in their order.
func TestRequestsOnTheWayTogether(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	c, err := net.Dial("tcp", w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	var bodies []string
	for _, size := range []int{0, 1, aheadBytes - 100, aheadBytes, 3 * aheadBytes, 2, 40 << 10, 5} {
		body := fmt.Sprintf(`{"name":%q}`, strings.Repeat("x", size))
		bodies = append(bodies, body)
		fmt.Fprintf(&all, "POST /invoke/demo.echo HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", host, len(body), body)
	}
	go io.WriteString(c, all.String())
	in := bufio.NewReader(c)
	for i, want := range bodies {
		if got := readAnswer(t, in, false); got.status != 200 || got.body != want {
			t.Fatalf("answer %d = %d with %d bytes, want %d", i, got.status, len(got.body), len(want))
		}
	}
}

// Ensure a client that says nothing doesn't get its time twice: once its first
// byte is late, so is everything.
func TestSilenceIsLateForGood(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	own := newListener(l.(*net.TCPListener), -1, time.Millisecond)
	defer own.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := own.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("the late first byte = %d, %v, want one that is made up", n, err)
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 10)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("what comes after it = %d, %v, want that it is too late", n, err)
	}
}
