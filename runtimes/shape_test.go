package runtimes

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/runtimes/container"
	"attune/tests/kit"
)

// nodeShape is one with everything in it.
func nodeShape() *Shape {
	return &Shape{
		Pack: "nodejs_example", Revision: "r1", PackDir: "/srv/packs/nodejs_example",
		Image:  container.Image{ID: "sha256:11"},
		Digest: "0123456789abcdef0123456789abcdef", EnvDir: "/data/.store/0123456789abcdef0123456789abcdef",
		Network: NetworkOutbound, Limits: Limits{Memory: 256 << 20, CPU: 0.5, Pids: 100, Tmp: 64 << 20},
		Runtime: &Runtime{
			Name:        "node",
			Interpreter: Interpreter{Binary: "node", Args: []string{"--enable-source-maps", "--title={pack_dir}"}},
			Environment: Environment{
				EnvType: EnvNodeModules,
				Mounts:  []EnvironmentMount{{From: "node_modules", At: "{packs_dir}/node_modules"}},
			},
			EnvVars: map[string]EnvVar{
				"NODE_ENV": {Value: "production"},
				"PATH":     {Value: "{env_dir}/node_modules/.bin", Operation: OpPrepend},
				"LANG":     {Value: "en_US.UTF-8", Operation: OpSet},
			},
		},
	}
}

func boxes() map[string]*Box {
	box := Box{
		GatewayID: "gw-1", AgentDir: "/data/.bin/aa", CADir: "/data/.ca/bb", RunDir: "/data/.run/gw-1",
		OCIRuntime: "runsc", NoFile: 1024,
	}
	isolated := box
	isolated.Layout.Isolated = true
	return map[string]*Box{"container": &isolated, "process": &box}
}

// TestInstanceSpec shows every field of an instance.
func TestInstanceSpec(t *testing.T) {
	t.Parallel()
	for kind, box := range boxes() {
		spec := box.Spec(nodeShape(), box.RunDir+"/0011223344556677")
		if os.Geteuid() != 0 { // then its group is our own
			spec.User = "0:0"
		}
		kit.GoldenJSON(t, "instance."+kind+".json", spec)
		if err := spec.Validate(); err != nil {
			t.Errorf("Validate() = %v", err)
		}
	}
}

func TestInstanceWithoutEnvironmentAndNetwork(t *testing.T) {
	t.Parallel()
	shape := nodeShape()
	shape.Digest, shape.EnvDir, shape.Network = "", "", NetworkNone
	for kind, box := range boxes() {
		spec := box.Spec(shape, box.RunDir+"/0011223344556677")
		if err := spec.Validate(); err != nil {
			t.Errorf("Validate() = %v", err)
		}
		if len(spec.Mounts) != 3 || spec.Network != container.NetworkNone {
			t.Errorf("%s: network %s, mounts %+v: want the pack, the agent and the socket only", kind, spec.Network, spec.Mounts)
		}
	}
}

// TestProcessOfAnAction shows command line and variables.
func TestProcessOfAnAction(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"NODE_ENV": "test", "MINE": "{pack_dir}", "ATTUNE_PACK": "forged", "TZ": "Europe/Berlin"}
	reserved := map[string]string{"ATTUNE_PACK": "nodejs_example", "ATTUNE_EXEC_ID": "01"}
	for kind, box := range boxes() {
		process, err := box.Process(nodeShape(), "sub/hello.js", vars, reserved)
		if err != nil {
			t.Fatal(err)
		}
		kit.GoldenJSON(t, "action."+kind+".json", process)
	}
}

func TestInterpreterOfAnAction(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*Shape)
		want   []string
	}{
		{"the image's", func(s *Shape) {}, []string{"node", "--enable-source-maps", "--title=/opt/attune/packs/nodejs_example", "/opt/attune/packs/nodejs_example/actions/a.js"}},
		{"the environment's", func(s *Shape) {
			s.Runtime.Interpreter.Args = nil
			s.Runtime.Environment.InterpreterPath = "{env_dir}/bin/node"
		}, []string{"/opt/attune/runtime_envs/nodejs_example/node/bin/node", "/opt/attune/packs/nodejs_example/actions/a.js"}},
		{"none", func(s *Shape) {
			s.Runtime.Interpreter = Interpreter{}
		}, []string{"/opt/attune/packs/nodejs_example/actions/a.js"}},
	} {
		shape := nodeShape()
		test.change(shape)
		process, err := boxes()["container"].Process(shape, "a.js", nil, nil)
		if diff := cmp.Diff(test.want, process.Argv); err != nil || diff != "" {
			t.Errorf("%s: %v, argv (-want +got):\n%s", test.name, err, diff)
		}
	}
}

// What a value holds is never taken for a variable, and what has no value is an
// error: an action without an environment has no {env_dir}.
func TestVariablesOfARuntime(t *testing.T) {
	t.Parallel()
	box := boxes()["container"]
	for name, change := range map[string]func(*Shape){
		"args":     func(s *Shape) { s.Runtime.Interpreter.Args = []string{"{nonsense}"} },
		"env_vars": func(s *Shape) { s.Digest, s.EnvDir = "", "" },
		"path":     func(s *Shape) { s.Runtime.Environment.InterpreterPath = "{nonsense}" },
	} {
		shape := nodeShape()
		change(shape)
		if process, err := box.Process(shape, "a.js", nil, nil); err == nil || !strings.Contains(err.Error(), "runtime node: ") {
			t.Errorf("%s: Process() = %+v, %v, want an error that names the runtime", name, process, err)
		}
	}
	shape := nodeShape()
	shape.Runtime.Interpreter.Args = nil
	process, err := box.Process(shape, "{env_dir}.js", nil, nil)
	if err != nil || process.Argv[1] != "/opt/attune/packs/nodejs_example/actions/{env_dir}.js" {
		t.Errorf("Process() = %+v, %v", process, err)
	}
}

// An action without network has no use for certificates, and sees none.
func TestCertificatesAreForTheNetwork(t *testing.T) {
	t.Parallel()
	box := boxes()["container"]
	shape := nodeShape()
	shape.Network = NetworkNone
	process, err := box.Process(shape, "a.js", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range process.Env {
		if strings.Contains(v, CADir) {
			t.Errorf("variable %s without a network", v)
		}
	}
}

func TestLimitsFallBackToTheDefaults(t *testing.T) {
	t.Parallel()
	defaults := Limits{Memory: 1, CPU: 2, Pids: 3, Tmp: 4}
	if got := (Limits{}).Or(defaults); got != defaults {
		t.Errorf("Or() = %+v", got)
	}
	want := Limits{Memory: 9, CPU: 8, Pids: 3, Tmp: 4}
	if got := (Limits{Memory: 9, CPU: 8}).Or(defaults); got != want {
		t.Errorf("Or() = %+v, want %+v", got, want)
	}
}
