// Package pack reads packs: directories of plain scripts with a pack.yaml.
//
// Load checks everything it can about one pack and reports every fault at once;
// a Catalog is an immutable snapshot of all packs, the broken ones included.
package pack

import (
	"time"

	"attune/gateway/limit"
	"attune/runtimes"
)

// Pack is a loaded, faultless pack.
type Pack struct {
	Ref          Ref
	Version      string
	Label        string
	Description  string
	Author       string
	Email        string
	Tags         []string
	Meta         map[string]any
	ConfigSchema map[string]any
	Config       map[string]any
	Dependencies []Ref // packs that must be in the same catalog
	Enabled      bool
	Dir          string // absolute, as the gateway sees it; never a symlink
	// Revision is a digest over the path, mode and content of every file of the
	// pack: an instance is never shared by two revisions.
	Revision string
	Build    Build
	Network  runtimes.NetworkPolicy
	Preload  []string          // modules imported before the first execution of its actions
	Limits   runtimes.Limits   // zero fields: the operator's defaults
	Vars     map[string]string // process variables of its actions
	Actions  []*Action         // sorted by ref
	Hooks    []*Hook           // sorted by ref
	Warnings []Fault           // what is served all the same, but should be changed
	// Schedules are those in schedules/, sorted by ref.
	Schedules []*Schedule
}

// Build is what a pack asks of the builds of its environments.
type Build struct {
	Index   string // name of one of the operator's indexes; empty = the installer's usual one
	Scripts bool   // packages' install scripts may run
}

// Action is something callable in a pack.
type Action struct {
	Ref             ActionRef
	Label           string
	Description     string
	Tags            []string
	Examples        []any
	Enabled         bool // resolved: false in a disabled pack, too
	Runtime         *runtimes.Runtime
	EntryPoint      string // slash path below actions/, for example "hello.py"
	Parameters      *Schema
	Output          *Schema // nil = not validated
	ParameterFormat Format  // FormatJSON, FormatDotenv or FormatYAML
	Delivery        Delivery
	OutputFormat    Format // FormatText, FormatJSON, FormatYAML or FormatJSONL
	Timeout         time.Duration
	Network         runtimes.NetworkPolicy // resolved: the action's, or its pack's
	Warm            Warm                   // Preload resolved likewise
	Limits          runtimes.Limits        // resolved likewise
	Rate            limit.Rate             // of calls; zero = not bounded
	MaxConcurrency  int                    // calls at once on one gateway, and asynchronous executions at once on all; 0 = not bounded
	Vars            map[string]string      // resolved: the pack's, overlaid by its own
	Retry           Retry                  // of asynchronous executions
	HTTP            []Route                // of its own, below /p/{pack}
}

// Format is how a document is written down.
type Format string

const (
	FormatJSON   Format = "json"
	FormatYAML   Format = "yaml"
	FormatDotenv Format = "dotenv" // parameters only
	FormatText   Format = "text"   // output only
	FormatJSONL  Format = "jsonl"  // output only
)

// Delivery is how an action's parameters reach its program.
type Delivery string

const (
	DeliverStdin Delivery = "stdin"
	DeliverFile  Delivery = "file" // named by ATTUNE_PARAMETER_FILE; stdin is empty
)

// Timeouts of an action.
const (
	DefaultTimeout = 300 * time.Second
	MinTimeout     = 100 * time.Millisecond
	MaxTimeout     = 24 * time.Hour // the operator's cap is usually far below
)
