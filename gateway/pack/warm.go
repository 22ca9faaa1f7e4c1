package pack

import (
	"regexp"
	"strconv"
	"time"

	"attune/runtimes"
	"attune/runtimes/strictyaml"
)

// Warm is how an action's instances are kept and shared. Zero fields mean the
// operator's word, or the isolation's.
type Warm struct {
	Isolation    runtimes.Isolation
	Preload      []string      // modules imported before the first execution; the runtime says by whom
	Concurrency  int           // executions at once in one instance
	MinWarm      *int          // instances kept started; nil = what the isolation keeps
	MaxInstances int           // of one pool
	IdleTimeout  time.Duration // an instance unused for so long is removed
}

// Bounds of what an action may ask for. The operator's are usually far closer.
const (
	maxConcurrency  = 64
	maxInstances    = 10_000
	maxPreload      = 64
	mostAtOnce      = 100_000 // executions of an action
	minIdleTimeout  = time.Second
	mostIdleTimeout = 7 * 24 * time.Hour
)

// warmFile is those keys as they are written.
type warmFile struct {
	isolation                          string
	preload                            []string
	concurrency, minWarm, maxInstances *int
	idleTimeout                        string
}

func (w warmFile) read(doc *strictyaml.Document) Warm {
	warm := Warm{
		Isolation: choose(doc, "isolation", w.isolation, []runtimes.Isolation{
			runtimes.IsolationProcess, runtimes.IsolationWorker, runtimes.IsolationContainer,
		}, nil),
		Preload:      preload(doc, w.preload),
		Concurrency:  count(doc, "concurrency", w.concurrency, 1, maxConcurrency),
		MaxInstances: count(doc, "max_instances", w.maxInstances, 1, maxInstances),
		IdleTimeout:  span(doc, "idle_timeout", w.idleTimeout, minIdleTimeout, mostIdleTimeout),
	}
	if w.minWarm != nil {
		kept := count(doc, "min_warm", w.minWarm, 0, maxInstances)
		warm.MinWarm = &kept
		if most := warm.MaxInstances; most > 0 && kept > most {
			doc.Faultf(at("min_warm"), "min_warm %d is more than max_instances %d: keep at most that", kept, most)
		}
	}
	if warm.Isolation == runtimes.IsolationContainer && warm.Concurrency > 1 {
		doc.Faultf(at("concurrency"), "concurrency must be 1 with isolation container: an instance serves one execution")
	}
	return warm
}

// Fill writes what is kept and shared into a shape.
func (w Warm) Fill(s *runtimes.Shape) {
	s.Isolation, s.Preload = w.Isolation, w.Preload
	s.Slots, s.MaxInstances, s.IdleTimeout = max(w.Concurrency, 1), w.MaxInstances, w.IdleTimeout
	switch {
	case w.MinWarm != nil:
		s.MinWarm = *w.MinWarm
	case w.Isolation == runtimes.IsolationContainer:
		s.Spare = 1
	}
}

// count reads a number of something; 0 = not written, or a fault.
func count(doc *strictyaml.Document, key string, n *int, least, most int) int {
	switch {
	case n == nil:
		return 0
	case *n < least || *n > most:
		doc.Faultf(at(key), "%s must be a number from %d to %d", key, least, most)
		return 0
	}
	return *n
}

// span reads seconds, or a duration; 0 = not written, or a fault.
func span(doc *strictyaml.Document, key, text string, least, most time.Duration) time.Duration {
	if text == "" {
		return 0
	}
	duration, err := seconds(text)
	if err != nil || duration < least || duration > most {
		doc.Faultf(at(key), "%s must be seconds or a duration from %v to %v, for example 30 or 5m", key, least, most)
		return 0
	}
	return duration
}

// moduleGrammar is a dotted name of Python, or a package of Node.
var moduleGrammar = regexp.MustCompile(`^(@[A-Za-z0-9._-]+/)?[A-Za-z0-9_][A-Za-z0-9_./:-]*$`)

// preload checks the names of modules; whether they are there is seen at a start.
func preload(doc *strictyaml.Document, modules []string) []string {
	if len(modules) > maxPreload {
		doc.Faultf(at("preload"), "preload names more than %d modules", maxPreload)
	}
	for i, module := range modules {
		if len(module) > 200 || !moduleGrammar.MatchString(module) {
			doc.Faultf(at("preload", strconv.Itoa(i)), "preload: %s is no name of a module, for example numpy", quote(module))
		}
	}
	return modules
}
