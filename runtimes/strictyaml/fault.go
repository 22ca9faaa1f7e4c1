package strictyaml

import (
	"fmt"
	"strings"

	"github.com/hashicorp/go-multierror"
)

// Fault is one thing that is wrong with a file.
type Fault struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"` // 0 = the file as a whole
	Text string `json:"text"`           // what is wrong, and the cure
}

// Error is file:line: text.
func (f *Fault) Error() string {
	switch {
	case f.File == "":
		return f.Text
	case f.Line == 0:
		return f.File + ": " + f.Text
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Text)
}

// maxFaults bounds what is kept; more than that helps nobody.
const maxFaults = 100

// Faults collects faults. The zero value is ready.
type Faults struct {
	all     []error
	dropped int
}

// Add records a fault.
func (f *Faults) Add(fault *Fault) {
	if len(f.all) == maxFaults {
		f.dropped++
		return
	}
	f.all = append(f.all, fault)
}

// Addf records a fault of a file, or of a line of it.
func (f *Faults) Addf(file string, line int, format string, args ...any) {
	f.Add(&Fault{File: file, Line: line, Text: fmt.Sprintf(format, args...)})
}

// Any tells whether there are faults.
func (f *Faults) Any() bool { return len(f.all) > 0 }

// Err is every fault as a *multierror.Error, or nil.
func (f *Faults) Err() error {
	if !f.Any() {
		return nil
	}
	all := &multierror.Error{ErrorFormat: format, Errors: f.all}
	if f.dropped > 0 {
		all.Errors = append(all.Errors[:len(all.Errors):len(all.Errors)],
			&Fault{Text: fmt.Sprintf("and %d more", f.dropped)})
	}
	return all
}

// format writes one fault per line, in the order in which they were met.
func format(all []error) string {
	lines := make([]string, len(all))
	for i, err := range all {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}
