package pack

import (
	"cmp"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"attune/runtimes"
	"attune/runtimes/strictyaml"
	"github.com/dustin/go-humanize"
)

// What follows stands in pack.yaml and in actions alike.

// Bounds of limits. The operator's are usually far closer.
const (
	minMemory = 8 << 20
	minTmp    = 64 << 10
	maxSize   = 1 << 40
	minCPU    = 0.01
	maxCPU    = 1024
	minPids   = 4
	maxPids   = 1 << 20
)

// limitsFile is a limits block, as it is written.
type limitsFile struct {
	Memory string `yaml:"memory"`
	CPU    string `yaml:"cpu"`
	Pids   string `yaml:"pids"`
	Tmp    string `yaml:"tmp"`
}

func (l limitsFile) read(doc *strictyaml.Document) runtimes.Limits {
	limits := runtimes.Limits{
		Memory: size(doc, "memory", l.Memory, minMemory),
		Tmp:    size(doc, "tmp", l.Tmp, minTmp),
	}
	if l.CPU != "" {
		cpu, err := strconv.ParseFloat(l.CPU, 64)
		if err != nil || math.IsNaN(cpu) || cpu < minCPU || cpu > maxCPU {
			doc.Faultf(at("limits", "cpu"), "limits.cpu must be a number of cores, for example 0.5")
		}
		limits.CPU = cpu
	}
	if l.Pids != "" {
		pids, err := strconv.ParseInt(l.Pids, 10, 64)
		if err != nil || pids < minPids || pids > maxPids {
			doc.Faultf(at("limits", "pids"), "limits.pids must be a number of processes from %d to %d", minPids, maxPids)
		}
		limits.Pids = pids
	}
	if limits.Memory > 0 && limits.Tmp > limits.Memory {
		doc.Faultf(at("limits", "tmp"), "limits.tmp is more than limits.memory: files in /tmp count as memory")
	}
	return limits
}

// buildFile is a build block, as it is written.
type buildFile struct {
	Index   string `yaml:"index"`
	Scripts bool   `yaml:"scripts"`
}

var indexGrammar = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

func (b buildFile) read(doc *strictyaml.Document) Build {
	if b.Index != "" && !indexGrammar.MatchString(b.Index) {
		doc.Faultf(at("build", "index"), "build.index must be the name of one of the operator's build.indexes: a lower-case letter and up to 62 of a-z, 0-9, _ and -")
	}
	return Build(b)
}

func size(doc *strictyaml.Document, key, text string, least int64) int64 {
	if text == "" {
		return 0
	}
	bytes, err := humanize.ParseBytes(text)
	if err != nil || bytes < uint64(least) || bytes > maxSize {
		doc.Faultf(at("limits", key), "limits.%s must be a size from %s to %s, for example 256MiB",
			key, humanize.IBytes(uint64(least)), humanize.IBytes(maxSize))
		return 0
	}
	return int64(bytes)
}

func network(doc *strictyaml.Document, word string, inherited runtimes.NetworkPolicy) runtimes.NetworkPolicy {
	if word == "" {
		return inherited
	}
	return choose(doc, "network", word, []runtimes.NetworkPolicy{runtimes.NetworkNone, runtimes.NetworkOutbound}, nil)
}

var varGrammar = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// vars checks process variables.
func vars(doc *strictyaml.Document, all map[string]string) map[string]string {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		where := at("vars", name)
		switch {
		case !varGrammar.MatchString(name):
			doc.Faultf(where, "vars: name %s must begin with a letter or _, and hold letters, digits and _ only", quote(name))
		case strings.HasPrefix(name, "ATTUNE_"):
			doc.Faultf(where, "vars: names that begin with ATTUNE_ are reserved")
		case slices.Contains(runtimes.TraceVars, name):
			doc.Faultf(where, "vars: %s is reserved: it says where in a trace an execution is", name)
		case name == "HOME" || name == "TMPDIR":
			doc.Faultf(where, "vars: %s is reserved: every execution has its own", name)
		case strings.IndexByte(all[name], 0) >= 0:
			doc.Faultf(where, "vars: the value of %s holds a NUL character", name)
		}
	}
	return all
}

// timeout reads seconds, or a duration.
func timeout(doc *strictyaml.Document, text string) time.Duration {
	return cmp.Or(span(doc, "timeout", text, MinTimeout, MaxTimeout), DefaultTimeout)
}

// seconds reads seconds, or a duration.
func seconds(text string) (time.Duration, error) {
	number, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil:
		return time.ParseDuration(text)
	case math.IsNaN(number) || number < 0:
		return 0, nil
	}
	return time.Duration(min(number, 1e9) * float64(time.Second)), nil
}
