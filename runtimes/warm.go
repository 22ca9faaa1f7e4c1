package runtimes

import (
	"path"
	"strings"

	"attune/runtimes/agent"
)

// Warm are the programs that a runtime keeps started. The files lie in the
// runtime's folder and are shown to instances beside the agent.
type Warm struct {
	Parent     string   `yaml:"parent"` // forks executions; empty = none
	Stock      string   `yaml:"stock"`  // is started beforehand, each used once; empty = none
	StockCount int      `yaml:"stock_count"`
	Worker     string   `yaml:"worker"` // calls handlers; empty = none
	Vars       []string `yaml:"vars"`   // patterns of process variables that an interpreter reads at its start
}

// ReadAtStart tells whether one of the variables is read by the interpreter at
// its start, so that a process that was started without it can't serve.
func (w Warm) ReadAtStart(vars map[string]string) bool {
	for name := range vars {
		for _, pattern := range w.Vars {
			if matched, err := path.Match(pattern, name); matched || err != nil {
				return true // in doubt it is
			}
		}
	}
	return false
}

// Setup is what an instance's agent keeps ready.
func (b *Box) Setup(s *Shape) agent.Setup { return agent.Setup{Slots: s.Slots} }

// WorkerProgram is the worker of an instance's slots.
func (b *Box) WorkerProgram(s *Shape) agent.Program {
	return agent.Program{Argv: []string{s.Runtime.Interpreter.Binary, strings.TrimSpace(s.Runtime.Warm.Worker)}, Dir: "/"}
}
