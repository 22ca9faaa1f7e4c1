package runtimes

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"attune/runtimes/container"
)

// Shape is all that makes two instances interchangeable: executions share a
// warm instance only when their shapes are equal.
type Shape struct {
	Pack     string // ref
	Revision string // of the pack's files
	PackDir  string // as the gateway sees it
	Runtime  *Runtime
	Image    container.Image
	// Digest and EnvDir name the environment's generation; empty where the
	// runtime has none.
	Digest  string
	EnvDir  string
	Network NetworkPolicy
	Limits  Limits // resolved: no zero fields

	Isolation Isolation // empty = IsolationProcess
	Slots     int       // executions at once in an instance; 0 = 1
	Preload   []string  // modules that a warm process of the runtime imports beforehand
	// Vars are the action's own process variables where its worker has to be
	// started with them; otherwise each execution brings its own.
	Vars map[string]string

	MinWarm      int           // instances kept started, whether there was a call or not
	Spare        int           // unused ones kept started after a call, until the idle timeout
	MaxInstances int           // 0 = as many as the operator allows
	IdleTimeout  time.Duration // 0 = the operator's
}

// Isolation is what an execution gets.
type Isolation string

const (
	IsolationProcess   Isolation = "process"   // a fresh process in a warm instance
	IsolationWorker    Isolation = "worker"    // a call to a handler in a long-lived process
	IsolationContainer Isolation = "container" // an instance that is used once
)

// key is comparable, for maps.
type key struct {
	pack, revision, runtime, image, digest string
	network                                NetworkPolicy
	limits                                 Limits
	isolation                              Isolation
	preload, vars                          string
	slots, minWarm, spare, most            int
	idle                                   time.Duration
}

func (s *Shape) key() key {
	return key{
		pack: s.Pack, revision: s.Revision, runtime: s.Runtime.Name, image: s.Image.ID, digest: s.Digest,
		network: s.Network, limits: s.Limits, isolation: cmp.Or(s.Isolation, IsolationProcess),
		preload: strings.Join(s.Preload, "\n"), vars: strings.Join(pairs(s.Vars), "\x00"),
		slots: max(s.Slots, 1), minWarm: s.MinWarm, spare: s.Spare, most: s.MaxInstances, idle: s.IdleTimeout,
	}
}

// Or fills what is zero from the operator's defaults.
func (l Limits) Or(defaults Limits) Limits {
	return Limits{
		Memory: cmp.Or(l.Memory, defaults.Memory),
		CPU:    cmp.Or(l.CPU, defaults.CPU),
		Pids:   cmp.Or(l.Pids, defaults.Pids),
		Tmp:    cmp.Or(l.Tmp, defaults.Tmp),
	}
}

// Box is what every instance of one gateway has in common.
type Box struct {
	Layout     Layout
	GatewayID  string
	AgentDir   string // holds the agent, on the shared volume
	CADir      string // holds the certificate bundle; empty = none
	RunDir     string // holds a directory per instance, on the shared volume
	OCIRuntime string // empty = the engine's default
	NoFile     int64  // open files per process
}

// Spec compiles the container of an instance; run is the instance's own
// directory, which holds its control socket. It is a pure function: the golden
// files in testdata show every field.
func (b *Box) Spec(s *Shape, run string) container.Spec {
	packDir := b.Layout.PackDir(s.Pack, s.PackDir)
	socketDir, scratch := SocketDir, Scratch
	if !b.Layout.Isolated {
		socketDir, scratch = run, filepath.Join(run, "scratch")
	}
	spec := container.Spec{
		Name:  "attune-" + s.Pack + "-" + s.Runtime.Name + "-" + filepath.Base(run),
		Image: s.Image.ID,
		Entrypoint: []string{
			b.Layout.Agent(b.AgentDir), "supervise", "--socket", socketDir + "/agent.sock", "--scratch", scratch,
		},
		User: instanceUser(),
		Dir:  packDir,
		Labels: map[string]string{
			container.LabelRole:    container.RoleInstance,
			container.LabelGateway: b.GatewayID,
			container.LabelPack:    s.Pack,
			container.LabelRuntime: s.Runtime.Name,
			container.LabelDigest:  s.Digest,
		},
		Network: container.Network(s.Network),
		CapAdd:  []string{"KILL", "SETGID", "SETUID"},
		Mounts: []container.Mount{
			{Source: s.PackDir, Target: packDir, ReadOnly: true},
			{Source: b.AgentDir, Target: b.Layout.pick(AgentDir, b.AgentDir), ReadOnly: true},
			{Source: run, Target: socketDir, ReadOnly: true},
		},
		Tmpfs: []container.Tmpfs{{Path: Scratch, Size: s.Limits.Tmp, Inodes: s.Limits.Tmp >> 12, Exec: true, Mode: 0o1777}},
		Limits: container.Limits{
			Memory: s.Limits.Memory, CPU: s.Limits.CPU, Pids: s.Limits.Pids,
			NoFile: b.NoFile, FileSize: s.Limits.Tmp,
		},
		Runtime: b.OCIRuntime,
	}
	b.mountEnvironment(&spec, s)
	if b.CADir != "" && s.Network == NetworkOutbound {
		spec.Mounts = append(spec.Mounts, container.Mount{
			Source: b.CADir, Target: b.Layout.pick(CADir, b.CADir), ReadOnly: true,
		})
	}
	return spec
}

// instanceUser is root, who may override no permission: where the gateway isn't
// root, its group is what lets the agent to the control socket.
func instanceUser() string {
	if os.Geteuid() == 0 {
		return "0:0"
	}
	return "0:" + strconv.Itoa(os.Getegid())
}

func (b *Box) mountEnvironment(spec *container.Spec, s *Shape) {
	if s.EnvDir == "" {
		return
	}
	spec.Mounts = append(spec.Mounts, container.Mount{
		Source: s.EnvDir, Target: b.Layout.EnvDir(s.Pack, s.Runtime.Name, s.EnvDir), ReadOnly: true,
	})
	if !b.Layout.Isolated {
		return // nothing can be shown at a second path without a mount
	}
	for _, m := range s.Runtime.Environment.Mounts {
		spec.Mounts = append(spec.Mounts, container.Mount{
			Source:   filepath.Join(s.EnvDir, m.From),
			Target:   strings.ReplaceAll(m.At, "{packs_dir}", PacksDir),
			ReadOnly: true,
		})
	}
}

// Process is how an action's file is run.
type Process struct {
	Argv []string
	Dir  string
	Env  []string // sorted
}

// Process compiles the command line and the variables of one execution. vars
// are the action's own, which the runtime's env_vars may extend; reserved ones
// (ATTUNE_*) are the gateway's.
func (b *Box) Process(s *Shape, entryPoint string, vars, reserved map[string]string) (Process, error) {
	values, err := b.values(s)
	if err != nil {
		return Process{}, err
	}
	values[VarActionFile] = values[VarPackDir] + "/actions/" + entryPoint
	argv, err := s.Runtime.command(values)
	if err != nil {
		return Process{}, err
	}
	argv = append(argv, values[VarActionFile])
	env, err := b.environ(s, values, vars, reserved)
	if err != nil {
		return Process{}, err
	}
	return Process{Argv: argv, Dir: values[VarPackDir], Env: env}, nil
}

// values are those of template variables in commands of this shape.
func (b *Box) values(s *Shape) (map[string]string, error) {
	values := map[string]string{
		VarPackDir:     b.Layout.PackDir(s.Pack, s.PackDir),
		VarPacksDir:    b.Layout.PacksDir(s.PackDir),
		VarInterpreter: s.Runtime.Interpreter.Binary,
	}
	if s.EnvDir == "" {
		return values, nil
	}
	values[VarEnvDir] = b.Layout.EnvDir(s.Pack, s.Runtime.Name, s.EnvDir)
	if path := s.Runtime.Environment.InterpreterPath; path != "" {
		expanded, err := ExpandString(path, values)
		if err != nil {
			return nil, fmt.Errorf("runtime %s: interpreter_path: %w", s.Runtime.Name, err)
		}
		values[VarInterpreter] = expanded
	}
	return values, nil
}

// command is the interpreter and its arguments; empty where the file is executed
// itself.
func (r *Runtime) command(values map[string]string) ([]string, error) {
	args, err := Expand(r.Interpreter.Args, values)
	if err != nil {
		return nil, fmt.Errorf("runtime %s: interpreter.args: %w", r.Name, err)
	}
	if values[VarInterpreter] == "" {
		return args, nil
	}
	return append([]string{values[VarInterpreter]}, args...), nil
}

// environ is the whole environment of an execution but HOME and TMPDIR, which
// the agent adds: nothing of the gateway's own, nothing of the image's.
func (b *Box) environ(s *Shape, values, vars, reserved map[string]string) ([]string, error) {
	base := map[string]string{
		"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG": "C.UTF-8",
		"TZ":   "UTC",
	}
	if b.CADir != "" && s.Network == NetworkOutbound {
		for _, v := range CAVars(b.Layout.CA(b.CADir)) {
			name, value, _ := strings.Cut(v, "=")
			base[name] = value
		}
	}
	own := maps.Clone(vars)
	if own == nil {
		own = make(map[string]string, len(reserved))
	}
	maps.Copy(own, reserved)
	env, err := s.Runtime.Vars(base, own, values)
	if err != nil {
		return nil, fmt.Errorf("runtime %s: env_vars: %w", s.Runtime.Name, err)
	}
	if s.Runtime.GetSecret {
		commands := b.Layout.pick(AgentDir, b.AgentDir) + "/" + commandsDir
		for i, entry := range env {
			if strings.HasPrefix(entry, "PATH=") { // behind all else: it must replace nothing
				env[i] = entry + ":" + commands
			}
		}
	}
	return env, nil
}
