package runtimes

import (
	"encoding/json"
	"path"
	"slices"

	"attune/runtimes/agent"
)

// preloadVar tells warm programs what to import before anything else: a JSON
// list of modules. Executions don't see it.
const preloadVar = "ATTUNE_PRELOAD"

// Setup is what an instance's agent keeps ready: the runtime's parent or stock,
// unless the instance has workers, which are started by themselves.
func (b *Box) Setup(s *Shape) agent.Setup {
	setup := agent.Setup{Slots: s.Slots}
	warm := s.Runtime.Warm
	if s.Isolation == IsolationWorker {
		return setup
	}
	switch {
	case warm.Parent != "":
		setup.Parent = b.program(s, nil, warm.Parent, nil)
	case warm.Stock != "":
		setup.Stock = b.program(s, warm.StockArgs, warm.Stock, nil)
	default:
		return setup
	}
	setup.StockCount = max(warm.StockCount, 1)
	if s.Isolation == IsolationContainer {
		setup.StockCount = 1 // nobody uses a second
	}
	return setup
}

// WorkerProgram is the worker of an instance's slots, with the process variables
// that it has to be started with.
func (b *Box) WorkerProgram(s *Shape) agent.Program {
	if program := b.program(s, nil, s.Runtime.Warm.Worker, s.Vars); program != nil {
		return *program
	}
	return agent.Program{}
}

// program compiles the start of a warm program; args come before its file. It is
// nil if the runtime has templates without a value, which executions report.
func (b *Box) program(s *Shape, args []string, file string, vars map[string]string) *agent.Program {
	values, err := b.values(s)
	if err != nil {
		return nil
	}
	values[VarProgram] = path.Join(b.Layout.pick(AgentDir, b.AgentDir), s.Runtime.Name, file)
	argv, err := s.Runtime.command(values)
	if err != nil {
		return nil
	}
	if args, err = Expand(args, values); err != nil {
		return nil
	}
	argv = slices.Concat(argv, args, []string{values[VarProgram]})
	reserved := map[string]string{"ATTUNE_PACK": s.Pack, "ATTUNE_PACK_DIR": values[VarPackDir]}
	if len(s.Preload) > 0 {
		list, err := json.Marshal(s.Preload)
		if err != nil {
			return nil // can't be: strings
		}
		reserved[preloadVar] = string(list)
	}
	env, err := b.environ(s, values, vars, reserved)
	if err != nil {
		return nil
	}
	return &agent.Program{Argv: argv, Dir: values[VarPackDir], Env: env}
}

// InstallPrograms puts the agent, a file, and the warm programs of all runtimes
// on the volume, where instances see them together, and returns the directory
// in dir that holds them. Another set of contents gets another directory, so
// that gateways of two versions don't meet.
func InstallPrograms(dir, agentFile string, all []*Runtime) (string, error) {
	files, err := readForInstall(agentFile, AgentFile, 0o555)
	if err != nil {
		return "", err
	}
	for _, runtime := range all {
		for name, content := range runtime.Warm.Files {
			files = append(files, installed{path.Join(runtime.Name, name), content, 0o444})
		}
	}
	return install(dir, files)
}
