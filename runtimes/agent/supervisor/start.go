package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"attune/runtimes/agent"
	"attune/runtimes/agent/wire"
)

// startFault is a program that could not be executed.
type startFault struct {
	code   int // as a shell has it: 126 or 127
	reason string
	theirs bool // the request's fault; otherwise the agent is off
}

// start makes the process of an execution, in the way that was asked for where
// that is possible. Neither a program nor a fault: it was over before.
func (s *supervisor) start(e *execution) (*program, *startFault) {
	defer e.forget() // the program has its own
	if e.Secrets == nil && e.Via != wire.ViaExec && s.stock != nil {
		if p, fault := s.fromStock(e); p != nil || fault != nil {
			return p, fault
		}
	}
	if e.over() {
		return nil, nil
	}
	return s.exec(e)
}

// exec starts a process for an execution alone.
func (s *supervisor) exec(e *execution) (*program, *startFault) {
	if err := s.cleaner.put(e.place, e.Files); err != nil {
		return nil, &startFault{code: 126, reason: err.Error()}
	}
	l := launch{argv: e.Argv, dir: e.Dir, env: environment(e.Env, e.scratch), uid: e.uid, descriptor: e.descriptor}
	if e.Secrets != nil {
		file, err := sealed(e.Secrets)
		if err != nil {
			return nil, &startFault{code: 126, reason: err.Error()}
		}
		defer file.Close() // the program has its own
		l.descriptor = file
		l.env = append(l.env, fmt.Sprintf("%s=%d", agent.SecretsFD, secretsNumber))
	}
	process, ours, fault := s.launch(l)
	if fault != nil {
		return nil, fault
	}
	p := &program{process: process, place: e.place, via: wire.ViaExec, stdin: ours[0], stdout: ours[1], stderr: ours[2]}
	p.signal = func(number syscall.Signal) bool { return s.children.signalGroup(process, number) }
	s.connect(e, p)
	return p, nil
}

// launch is a process that is to be started.
type launch struct {
	argv       []string
	dir        string
	env        []string
	uid        int
	descriptor *os.File  // becomes descriptor 3; nil = none
	ambient    []uintptr // capabilities that it keeps
}

// launch starts a process in a session of its own, with pipes for stdin, stdout
// and stderr, of which ours are the other ends.
func (s *supervisor) launch(l launch) (_ *process, ours [3]*os.File, _ *startFault) {
	path, fault := lookUp(l.argv[0], l.env)
	if fault != nil {
		return nil, ours, fault
	}
	ours, theirs, err := pipes()
	if err != nil {
		return nil, ours, &startFault{code: 126, reason: err.Error()}
	}
	attr := &syscall.ProcAttr{Dir: l.dir, Env: l.env, Sys: &syscall.SysProcAttr{Setsid: true}}
	for _, f := range theirs {
		attr.Files = append(attr.Files, uintptr(f))
	}
	if l.descriptor != nil {
		attr.Files = append(attr.Files, l.descriptor.Fd())
	}
	if s.isolated {
		attr.Sys.Credential = &syscall.Credential{Uid: uint32(l.uid), Gid: uint32(l.uid)}
		attr.Sys.AmbientCaps = l.ambient
	}
	var started *process
	s.oom.prefer(func() { started, err = s.children.start(path, l.argv, attr) })
	for _, fd := range theirs {
		syscall.Close(fd) // a pipe's end; nothing is lost
	}
	if err != nil {
		for _, f := range ours {
			f.Close()
		}
		return nil, ours, explain(path, l.dir, err)
	}
	if s.isolated {
		undumpable() // sharing memory with the child until its exec, we lost it; a second wall, so no reason to give up
	}
	return started, ours, nil
}

// environment adds what the gateway left to the agent.
func environment(env []string, scratch string) []string {
	env = append([]string{}, env...) // never nil, which would mean the agent's own
	for _, key := range []string{"HOME=", "TMPDIR="} {
		if variable(env, key) == "" {
			env = append(env, key+scratch)
		}
	}
	for i, entry := range env {
		if name, ok := strings.CutPrefix(entry, agent.ParameterFile+"="); ok && !filepath.IsAbs(name) {
			env[i] = agent.ParameterFile + "=" + filepath.Join(scratch, name)
		}
	}
	return env
}

// variable returns the value of KEY=, empty if there is none.
func variable(env []string, key string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, key); ok {
			return v
		}
	}
	return ""
}

// lookUp finds a program on the PATH of env, as a shell does.
func lookUp(name string, env []string) (string, *startFault) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(variable(env, "PATH=")) {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); filepath.IsAbs(dir) && err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", &startFault{code: 127, theirs: true, reason: fmt.Sprintf("%s is not on PATH", name)}
}

// pipes makes stdin, stdout and stderr. Our ends are non-blocking, so that no
// thread waits in them; theirs must block.
func pipes() (ours [3]*os.File, theirs [3]int, err error) {
	for i := range 3 {
		var p [2]int
		if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC); err != nil {
			return abandon(ours, theirs, i, fmt.Errorf("make pipe: %w", err))
		}
		our, their := p[0], p[1]
		if i == 0 {
			our, their = p[1], p[0]
		}
		syscall.SetNonblock(our, true) // can't fail on a pipe just made
		// A pipe belongs to who made it. Scripts that open /dev/stdin or
		// /dev/stderr by name do so as another user.
		if err := syscall.Fchmod(their, 0o666); err != nil {
			syscall.Close(our)
			syscall.Close(their)
			return abandon(ours, theirs, i, fmt.Errorf("open pipe to the program: %w", err))
		}
		ours[i], theirs[i] = os.NewFile(uintptr(our), "pipe"), their
	}
	return ours, theirs, nil
}

// abandon closes the first pipes of an unfinished set.
func abandon(ours [3]*os.File, theirs [3]int, made int, err error) ([3]*os.File, [3]int, error) {
	for i := range made {
		ours[i].Close()
		syscall.Close(theirs[i])
	}
	return ours, theirs, err
}

// explain says why a program can't be executed. The kernel's ENOENT means the
// program, the interpreter in its first line, or the directory.
func explain(path, dir string, err error) *startFault {
	f := &startFault{code: 126, theirs: true, reason: fmt.Sprintf("exec %s: %v", path, err)}
	if _, missing := os.Stat(dir); missing != nil {
		f.reason = fmt.Sprintf("working directory: %v", missing)
		return f
	}
	switch {
	case errors.Is(err, syscall.ENOENT):
		f.code = 127
		if _, err := os.Stat(path); err == nil {
			f.reason = fmt.Sprintf("exec %s: the interpreter in its first line does not exist", path)
		}
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EPERM):
		f.theirs = false
	}
	return f
}
