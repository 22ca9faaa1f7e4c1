package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// subject is something that is called: an action, or what actions are compared
// with.
type subject struct {
	name string // of the rows

	// An action: a script of its own pack and more lines of its file.
	script   script
	keys     string
	manifest map[string]string

	// A baseline: a command on this machine, or, with an image, in a container
	// that is there already; DIR is where the scripts are.
	argv  string
	image string
	setup string // commands that prepare the container
}

// script is a program in the form that an isolation wants.
type script struct{ extension, code string }

// All do the same: they read JSON, and answer with it.
var (
	pythonScript  = script{".py", "import json, sys\n\njson.dump(json.load(sys.stdin), sys.stdout)\n"}
	pythonHandler = script{".py", "def main(params, context):\n    return params\n"}
	nodeScript    = script{".js", "const fs = require('fs');\n\nprocess.stdout.write(JSON.stringify(JSON.parse(fs.readFileSync(0, 'utf8'))));\n"}
	nodeHandler   = script{".js", "module.exports = (params) => params;\n"}
	shellScript   = script{".sh", "IFS= read -r parameters\nprintf '%s\\n' \"$parameters\"\n"}
	numpyScript   = script{".py", "import json, sys\n\nimport numpy\n\njson.dump({name: float(numpy.float64(value)) for name, value in json.load(sys.stdin).items()}, sys.stdout)\n"}
)

// parameters are what every call sends, and gets back.
const parameters = `{"a":1,"b":2}`

const (
	fiberEcho    = "plain Fiber echo"
	dockerRun    = "`docker run` of `python3 script.py`"
	dockerExec   = "`docker exec` of `python3 script.py`"
	barePython   = "`python3 script.py` on this machine"
	insidePython = "`python3 script.py` in a container"
	insideNumpy  = "`python3` with numpy in a container"
	insideNode   = "`node script.js` in a container"
	bareShell    = "`sh script.sh` on this machine"
)

const runArgs = "run --rm --interactive --network none --volume DIR:/work:ro --entrypoint "

var subjects = []subject{
	{name: fiberEcho},
	{name: dockerRun, argv: "docker " + runArgs + "python3 attune/python /work/python.py"},
	{name: dockerExec, image: "attune/python", argv: "docker exec --interactive ID python3 /tmp/python.py"},
	{name: barePython, argv: "python3 DIR/python.py"},
	{name: bareShell, argv: "sh DIR/shell.sh"},
	{name: insidePython, image: "attune/python", argv: "python3 python.py"},
	{name: insideNode, image: "attune/node", argv: "node node.js"},
	{name: insideNumpy, image: "attune/python", argv: "/tmp/venv/bin/python3 numpied.py",
		setup: "uv venv -q /tmp/venv && uv pip install -q --compile-bytecode --python /tmp/venv/bin/python3 numpy"},

	{name: "process, shell", script: shellScript},
	{name: "process, shell, flooded", script: shellScript, keys: "max_instances: 4\n"},
	{name: "process, Python", script: pythonScript},
	{name: "process, Python, 4 slots", script: pythonScript, keys: "concurrency: 4\n"},
	{name: "process, Python, preload numpy", script: numpyScript, keys: "preload: [numpy]\n",
		manifest: map[string]string{"requirements.txt": "numpy\n"}},
	{name: "process, Node", script: nodeScript},
	{name: "worker, Python", script: pythonHandler, keys: "isolation: worker\n"},
	{name: "worker, Python, 4 slots", script: pythonHandler, keys: "isolation: worker\nconcurrency: 4\n"},
	{name: "worker, Node", script: nodeHandler, keys: "isolation: worker\n"},
	{name: "worker, Node, 4 slots", script: nodeHandler, keys: "isolation: worker\nconcurrency: 4\n"},
	{name: "container, Python", script: pythonScript, keys: "isolation: container\nmin_warm: 2\n"},
	{name: "container, Python, no stock", script: pythonScript, keys: "isolation: container\nmin_warm: 0\n"},
	{name: "process, Python, min_warm 1", script: pythonScript, keys: "min_warm: 1\n"},
	{name: "worker, Python, min_warm 1", script: pythonHandler, keys: "isolation: worker\nmin_warm: 1\n"},
}

// subjectOf finds a subject by its name.
func subjectOf(name string) subject {
	i := slices.IndexFunc(subjects, func(s subject) bool { return s.name == name })
	return subjects[i] // a test looks up every name
}

// pack is the ref of an action's own pack; empty = it is none.
func (s subject) pack() string {
	if s.script.code == "" {
		return ""
	}
	return strings.NewReplacer(",", "", " ", "_").Replace(strings.ToLower(s.name))
}

// bareScripts are the files of bare commands.
var bareScripts = map[string]string{
	"python.py": pythonScript.code, "numpied.py": numpyScript.code, "node.js": nodeScript.code, "shell.sh": shellScript.code,
	"parameters": parameters,
}

// target makes the calls of a load to one subject.
type target interface {
	run(ctx context.Context, l load, within time.Duration) (sample, error)
	close() error
}

// rig holds the gateway on all actions that are measured, and the targets that
// have been used so far.
type rig struct {
	b        *bench
	gateway  *gateway
	targets  map[string]target
	prepared map[string]error // why a subject can't be measured
}

// pack writes the pack of a subject.
func (s subject) write(h home) error {
	if s.pack() == "" {
		return nil
	}
	more := map[string]string{"actions/run.yaml": "ref: " + s.pack() + ".run\nentry_point: run" + s.script.extension +
		"\noutput_format: json\n" + s.keys}
	maps.Copy(more, s.manifest)
	return h.pack(s.pack(), s.script.extension, s.script.code, more)
}

// measure makes the calls of a load to a subject, after a warm-up the first
// time. An error is why it can't be measured.
func (r *rig) measure(ctx context.Context, name string, l load, within time.Duration) (sample, error) {
	if err := r.prepared[name]; err != nil {
		return sample{}, err
	}
	t, ok := r.targets[name]
	if !ok {
		var err error
		if t, err = r.open(ctx, subjectOf(name)); err == nil {
			r.targets[name] = t
			_, err = t.run(ctx, load{callers: 1, calls: 3}, time.Minute) // builds what isn't there
		}
		if err != nil {
			r.prepared[name] = err
			return sample{}, err
		}
	}
	if l.flood != "" {
		return r.flooded(ctx, t, l, within)
	}
	// The same load, so that there are as many instances as it takes.
	if l.pause == 0 {
		if _, err := t.run(ctx, l, within/4); err != nil {
			return sample{}, err
		}
	}
	return t.run(ctx, l, within)
}

// flooded runs a load while others call another subject as fast as they can. It
// begins when the instances for them are there.
func (r *rig) flooded(ctx context.Context, t target, l load, within time.Duration) (sample, error) {
	other, err := r.open(ctx, subjectOf(l.flood))
	if err != nil {
		return sample{}, err
	}
	flood := load{callers: l.flooders, calls: math.MaxInt32}
	if _, err := other.run(ctx, flood, time.Second); err != nil {
		return sample{}, err
	}
	ended := make(chan error, 1)
	go func() {
		_, err := other.run(ctx, flood, within)
		ended <- err
	}()
	s, err := t.run(ctx, l, within)
	return s, errors.Join(err, <-ended)
}

func (r *rig) open(ctx context.Context, s subject) (target, error) {
	switch {
	case s.pack() != "":
		if err := r.gateway.serves(ctx, s.pack()); err != nil {
			return nil, err
		}
		return httpTarget{url: r.gateway.url + "/invoke/" + s.pack() + ".run"}, nil
	case s.name == fiberEcho:
		url, stop, err := startEcho()
		return httpTarget{url, stop}, err
	case s.image != "":
		id, err := box(ctx, s.image, bareScripts, s.setup)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(s.argv, "docker ") {
			argv := strings.Fields(strings.ReplaceAll(s.argv, "ID", id))
			return commandTarget{argv, func() error { return removeBox(id) }}, nil
		}
		return insideTarget{id, s.argv}, nil
	}
	dir, err := bareFiles(bareScripts)
	remove := func() error { return os.RemoveAll(dir) }
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	return commandTarget{strings.Fields(strings.ReplaceAll(s.argv, "DIR", dir)), remove}, nil
}

func (r *rig) close() error {
	var err error
	for _, t := range r.targets {
		err = errors.Join(err, t.close())
	}
	return err
}

// serves tells why a gateway does not serve a pack.
func (g *gateway) serves(ctx context.Context, ref string) error {
	_, body, err := g.call(ctx, "GET", "/api/v1/packs/"+ref)
	if err != nil {
		return err
	}
	var pack struct{ Faults []string }
	if err := json.Unmarshal(body, &pack); err != nil {
		return err
	}
	if len(pack.Faults) > 0 {
		return errors.New(strings.Join(pack.Faults, "; "))
	}
	return nil
}

// httpTarget is called by HTTP, each caller over its own connection.
type httpTarget struct {
	url  string
	stop func() error // nil = it is not ours
}

func (t httpTarget) run(ctx context.Context, l load, within time.Duration) (sample, error) {
	return l.run(ctx, within, func() (caller, error) { return dialHTTP(t.url, []byte(parameters)) })
}

func (t httpTarget) close() error {
	if t.stop == nil {
		return nil
	}
	return t.stop()
}

// commandTarget is a program of this machine.
type commandTarget struct {
	argv []string
	stop func() error
}

func (t commandTarget) run(ctx context.Context, l load, within time.Duration) (sample, error) {
	return l.run(ctx, within, func() (caller, error) { return command{ctx, t.argv, parameters + "\n"}, nil })
}

func (t commandTarget) close() error { return t.stop() }

// insideTarget is a program in a container.
type insideTarget struct{ container, argv string }

// insideCalls are enough: what they take is hundreds of times the loop around them.
const insideCalls = 20

func (t insideTarget) run(ctx context.Context, l load, within time.Duration) (sample, error) {
	if l.callers > 1 {
		return sample{}, fmt.Errorf("%s is called by one at a time", t.argv)
	}
	return inside(ctx, t.container, t.argv, min(l.calls, insideCalls))
}

func (t insideTarget) close() error { return removeBox(t.container) }
