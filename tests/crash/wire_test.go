package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"attune/runtimes/container"
)

// request is a call of the engine on its way to the process that has it.
type request struct {
	ID     string            `json:",omitempty"` // of the container
	Ref    string            `json:",omitempty"`
	Spec   *container.Spec   `json:",omitempty"`
	Labels map[string]string `json:",omitempty"`
}

// reply is what came of it.
type reply struct {
	Fault *fault          `json:",omitempty"`
	Info  container.Info  `json:",omitzero"`
	Image container.Image `json:",omitzero"`
	Found []described     `json:",omitempty"`
	State container.State `json:",omitzero"`
	Exit  container.Exit  `json:",omitzero"`
}

// described is what a container is called.
type described struct {
	ID, Name string
	Labels   map[string]string
}

// fault is an error that keeps what callers match.
type fault struct {
	Message string
	Kinds   []int
}

// kinds are the port's errors. Their places are what goes over the wire.
var kinds = []error{
	container.ErrNameTaken, container.ErrNoImage, container.ErrUnavailable, container.ErrNoContainer,
	context.Canceled, context.DeadlineExceeded,
}

func faultOf(err error) *fault {
	if err == nil {
		return nil
	}
	f := &fault{Message: err.Error()}
	for i, kind := range kinds {
		if errors.Is(err, kind) {
			f.Kinds = append(f.Kinds, i)
		}
	}
	return f
}

// Error implements error.
func (f *fault) Error() string { return f.Message }

// Is tells whether the error was of that kind where it came from.
func (f *fault) Is(target error) bool {
	for _, i := range f.Kinds {
		if kinds[i] == target {
			return true
		}
	}
	return false
}

// faultTrailer follows a log that ended with an error.
const faultTrailer = "Fault"

func setTrailer(w http.ResponseWriter, err error) {
	if err != nil {
		w.Header().Set(http.TrailerPrefix+faultTrailer, strings.Map(printable, encode(faultOf(err))))
	}
}

func printable(r rune) rune {
	if r < ' ' {
		return ' '
	}
	return r
}

// flushing sends every write at once.
type flushing struct {
	io.Writer
	flusher http.Flusher
}

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	f.flusher.Flush()
	return n, err
}

// ended is the error of a call whose ctx ended first, and else err.
func ended(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	if cause := container.Ended(ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func decode(t *testing.T, content []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(content, v); err != nil {
		t.Errorf("%s: %v", content, err)
	}
}
