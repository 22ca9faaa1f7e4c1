package runtimes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/runtimes/agent"
)

// TestWarmSectionFaults checks what a warm section may not say.
func TestWarmSectionFaults(t *testing.T) {
	t.Parallel()
	const head = "name: x\nimage: x\ninterpreter: {binary: x, file_extension: .x}\n"
	tests := map[string]struct {
		text string
		want string
	}{
		"a name in use":     {strings.Replace(head, "name: x", "name: commands", 1) + "warm: {worker: a.py}", "can't be called commands"},
		"unknown key":       {head + "warm: {wroker: a.py}", `unknown key "wroker" in warm: did you mean "worker"?`},
		"empty":             {head + "warm: {vars: [A]}", "warm names no program: give a parent, a stock or a worker"},
		"outside":           {head + "warm: {worker: ../x/a.py}", `"../x/a.py" must be the name of a file in the runtime's folder`},
		"absolute":          {head + "warm: {worker: /etc/passwd}", `"/etc/passwd" must be the name of a file in the runtime's folder`},
		"hidden":            {head + "warm: {worker: .a}", `".a" must be the name of a file in the runtime's folder`},
		"missing":           {head + "warm: {worker: b.py}", "b.py can't be read from the runtime's folder"},
		"a symlink out":     {head + "warm: {worker: out.py}", "out.py can't be read from the runtime's folder"},
		"a directory":       {head + "warm: {worker: dir}", "dir can't be read from the runtime's folder"},
		"too large":         {head + "warm: {worker: large}", "large can't be read from the runtime's folder"},
		"both":              {head + "warm: {parent: a.py, stock: a.py}", "stock can't be had together with a parent"},
		"a stock too large": {head + "warm: {stock: a.py, stock_count: 99}", "stock_count must be from 1 to 16"},
		"a stock of none":   {head + "warm: {worker: a.py, stock_count: 2}", "stock_count needs a stock or a parent"},
		"arguments of none": {head + "warm: {parent: a.py, stock_args: [x]}", "stock_args need a stock"},
		"a variable":        {head + "warm: {stock: a.py, stock_args: ['{pack_dir}']}", "{pack_dir} has no value in warm.stock_args: there is {program}"},
		"a bad pattern":     {head + "warm: {worker: a.py, vars: ['[']}", `"[" is no pattern of variables' names`},
		"no interpreter":    {"name: x\nimage: x\nwarm: {worker: a.py}", "warm programs need an interpreter.binary"},
		"the action's file": {"name: x\nimage: x\ninterpreter: {binary: x, args: ['{action_file}']}\nwarm: {worker: a.py}", "{action_file} has no value for warm programs"},
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "outside.py"), "", 0o644)
	folder := filepath.Join(dir, "x")
	if err := os.MkdirAll(filepath.Join(folder, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(folder, "a.py"), "", 0o644)
	writeFile(t, filepath.Join(folder, "large"), strings.Repeat("x", maxWarmFile+1), 0o644)
	if err := os.Symlink("../outside.py", filepath.Join(folder, "out.py")); err != nil {
		t.Fatal(err)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root, err := os.OpenRoot(folder)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			_, err = load([]byte(test.text), "x/runtime.yaml", root.FS())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("load() = %v, want %q", err, test.want)
			}
		})
	}
	if _, err := Load([]byte(head+"warm: {worker: a.py}"), "r.yaml"); err == nil {
		t.Error("Load without a folder finds a warm program")
	}
}

func TestWarmProgramsOfTheOperator(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeRuntime(t, dir, "ruby", "name: ruby\nimage: x\ninterpreter: {binary: ruby, file_extension: .rb}\nwarm: {worker: w.rb, vars: [RUBY*]}\n")
	writeFile(t, filepath.Join(dir, "ruby", "w.rb"), "loop {}", 0o600)
	registry, err := Builtin().With(dir)
	if err != nil {
		t.Fatal(err)
	}
	agentFile := filepath.Join(dir, "built")
	writeFile(t, agentFile, "agent", 0o700)
	volume := filepath.Join(dir, "volume")
	place, err := InstallPrograms(volume, agentFile, registry.All())
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{
		AgentFile: 0o555, "ruby": os.ModeDir | 0o755, "ruby/w.rb": 0o444, "python/parent.py": 0o444, "python/worker.py": 0o444,
		"node/stock.js": 0o444, "node/worker.js": 0o444,
	} {
		if info, err := os.Stat(filepath.Join(place, name)); err != nil || info.Mode() != mode {
			t.Errorf("Stat(%s) = %v, %v, want mode %v", name, info, err, mode)
		}
	}
	if again, err := InstallPrograms(volume, agentFile, registry.All()); err != nil || again != place {
		t.Errorf("InstallPrograms() again = %s, %v, want %s", again, err, place)
	}
	if other, err := InstallPrograms(volume, agentFile, Builtin().All()); err != nil || other == place {
		t.Errorf("InstallPrograms() of other programs = %s, %v, want another place", other, err)
	}
}

// A copy of a shipped runtime.yaml is how an image is pinned: it needs no copies of
// the programs.
func TestCopyOfAShippedRuntimeHasItsPrograms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text, err := shipped.ReadFile("python/runtime.yaml")
	if err != nil {
		t.Fatal(err)
	}
	writeRuntime(t, dir, "python", strings.Replace(string(text), "attune/python", "pinned", 1))
	writeFile(t, filepath.Join(dir, "python", "worker.py"), "# own", 0o644)
	registry, err := Builtin().With(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := registry.ByName("python")
	before, _ := Builtin().ByName("python")
	if got.Image != "pinned" || string(got.Warm.Files["worker.py"]) != "# own" || string(got.Warm.Files["parent.py"]) != string(before.Warm.Files["parent.py"]) {
		t.Errorf("With() has image %s, worker %.20q, parent of %d bytes", got.Image, got.Warm.Files["worker.py"], len(got.Warm.Files["parent.py"]))
	}
}

// TestSetup checks what agents are told to keep ready.
func TestSetup(t *testing.T) {
	t.Parallel()
	shape := func(runtime string, isolation Isolation) *Shape {
		r, _ := Builtin().ByName(runtime)
		return &Shape{
			Pack: "p", PackDir: "/srv/packs/p", EnvDir: "/data/.store/1", Runtime: r, Isolation: isolation, Slots: 3,
			Preload: []string{"numpy", `a"b`}, Vars: map[string]string{"PYTHONHASHSEED": "0"},
		}
	}
	box := &Box{AgentDir: "/data/.bin/aa", Layout: Layout{Isolated: true}}
	const python = "/opt/attune/runtime_envs/p/python/bin/python3"
	setup := box.Setup(shape("python", ""))
	if setup.Slots != 3 || setup.Stock != nil || setup.StockCount != 2 {
		t.Errorf("Setup() of python = %+v, want a parent, a stock of 2 and 3 slots", setup)
	}
	if diff := cmp.Diff([]string{python, "-u", "/opt/attune/bin/python/parent.py"}, setup.Parent.Argv); diff != "" {
		t.Errorf("the parent's argv (-want +got):\n%s", diff)
	}
	env := strings.Join(setup.Parent.Env, "\n")
	for want, there := range map[string]bool{`ATTUNE_PRELOAD=["numpy","a\"b"]`: true, "ATTUNE_PACK=p": true, "PYTHONHASHSEED": false, "ATTUNE_EXEC_ID": false} {
		if strings.Contains(env, want) != there {
			t.Errorf("the parent's environment has %q: %t, want %t\n%s", want, !there, there, env)
		}
	}
	if setup.Parent.Dir != "/opt/attune/packs/p" {
		t.Errorf("the parent's directory = %s", setup.Parent.Dir)
	}
	for isolation, count := range map[Isolation]int{IsolationProcess: 2, IsolationContainer: 1} {
		setup := box.Setup(shape("node", isolation))
		if setup.Parent != nil || setup.StockCount != count {
			t.Fatalf("Setup() of node, %s = %+v, want a stock of %d", isolation, setup, count)
		}
		const stock = "/opt/attune/bin/node/stock.js"
		if diff := cmp.Diff([]string{"node", "--require", stock, stock}, setup.Stock.Argv); diff != "" {
			t.Errorf("the stock's argv (-want +got):\n%s", diff)
		}
	}
	for name, got := range map[string]agent.Setup{
		"a worker": box.Setup(shape("python", IsolationWorker)), "a shell": box.Setup(shape("shell", "")), "a program": box.Setup(shape("native", "")),
	} {
		if diff := cmp.Diff(agent.Setup{Slots: 3}, got); diff != "" {
			t.Errorf("Setup() of %s (-want +got):\n%s", name, diff)
		}
	}
}

func TestWorkerProgram(t *testing.T) {
	t.Parallel()
	r, _ := Builtin().ByName("python")
	box := &Box{AgentDir: "/data/.bin/aa"}
	got := box.WorkerProgram(&Shape{
		Pack: "p", PackDir: "/srv/packs/p", EnvDir: "/data/.store/1", Runtime: r,
		Isolation: IsolationWorker, Vars: map[string]string{"PYTHONHASHSEED": "0"},
	})
	if diff := cmp.Diff([]string{"/data/.store/1/bin/python3", "-u", "/data/.bin/aa/python/worker.py"}, got.Argv); diff != "" {
		t.Errorf("argv (-want +got):\n%s", diff)
	}
	if got.Dir != "/srv/packs/p" || !strings.Contains(strings.Join(got.Env, "\n"), "PYTHONHASHSEED=0\n") {
		t.Errorf("WorkerProgram() = %+v", got)
	}
}
