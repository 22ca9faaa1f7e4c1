package agent

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"attune/runtimes/agent/wire"
)

// User and group IDs of what runs in a container.
const (
	// SlotUID is that of user code in the first slot, and of all files that it
	// makes. UID gives the others.
	SlotUID = 65533
	// ParentUID is that of the warm process that forks executions.
	ParentUID = 65532
)

// UID is the user and group ID of slot n, and from Slots on that of
// processes that wait.
func UID(n int) int {
	if n == 0 {
		return SlotUID
	}
	return 61000 + n
}

// Bounds of a Setup.
const (
	MaxSlots = wire.MaxSlots
	MaxStock = wire.MaxStock
)

// Setup is what the agent keeps ready in an instance. It goes to the agent with
// the gateway's hello. The zero value is one slot and nothing kept ready.
type Setup struct {
	Slots      int      // executions and workers at once; 0 = 1, at most MaxSlots
	Parent     *Program // forks executions that ask for ViaParent; nil = none
	Stock      *Program // is started beforehand, each used once, for ViaStock; nil = none, as it must be beside Parent
	StockCount int      // how many of Stock, or forked by Parent, wait to be used; 0 = 1, at most MaxStock
}

// Program is a process that is not an execution.
type Program struct {
	Argv []string // a first element without a slash is searched on Env's PATH
	Dir  string   // working directory, absolute
	Env  []string // the whole environment, KEY=value; HOME and TMPDIR are added where they are missing
}

// Via is how an execution's process comes to be.
type Via int

// The ways to a process. All but ViaExec are wishes: the agent falls back to
// ViaExec where it keeps no such process ready, or that one is not able.
const (
	ViaExec   Via = iota // a new process executes Request.Argv
	ViaParent            // the parent forks, and its child runs Request.Script
	ViaStock             // a stocked process runs Request.Script
)

// String is the word for logs and metrics.
func (v Via) String() string {
	switch v {
	case ViaExec:
		return "exec"
	case ViaParent:
		return "parent"
	case ViaStock:
		return "stock"
	}
	return fmt.Sprintf("via %d", int(v))
}

// message makes what the agent is told.
func (s Setup) message() (wire.Setup, error) {
	if s.Slots < 0 || s.Slots > MaxSlots || s.StockCount < 0 || s.StockCount > MaxStock {
		return wire.Setup{}, fmt.Errorf("setup with %d slots and a stock of %d", s.Slots, s.StockCount)
	}
	if s.Parent != nil && s.Stock != nil {
		return wire.Setup{}, errors.New("setup with a parent and a stock")
	}
	m := wire.Setup{Slots: max(s.Slots, 1)}
	for _, p := range []*Program{s.Parent, s.Stock} {
		if p != nil {
			if err := p.check(); err != nil {
				return wire.Setup{}, fmt.Errorf("setup: %w", err)
			}
		}
	}
	if s.Parent != nil {
		m.Parent, m.StockCount = s.Parent.message(), max(s.StockCount, 1)
	}
	if s.Stock != nil {
		m.Stock, m.StockCount = s.Stock.message(), max(s.StockCount, 1)
	}
	return m, nil
}

func (p *Program) message() *wire.Program {
	return &wire.Program{Argv: p.Argv, Dir: p.Dir, Env: p.Env}
}

// check reports what makes a program impossible.
func (p *Program) check() error {
	switch {
	case len(p.Argv) == 0 || p.Argv[0] == "":
		return errors.New("no program")
	case !strings.HasPrefix(p.Dir, "/"):
		return fmt.Errorf("working directory %q", p.Dir)
	}
	return checkText(p.Argv, p.Env, []string{p.Dir})
}

// checkText refuses what an execve or a JSON document can't hold.
func checkText(lists ...[]string) error {
	for _, list := range lists {
		for _, s := range list {
			if strings.ContainsRune(s, 0) || !utf8.ValidString(s) {
				return errors.New("NUL byte or invalid UTF-8 in argv, env, dir or secrets")
			}
		}
	}
	return nil
}
