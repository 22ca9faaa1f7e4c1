package pack

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-multierror"

	"attune/gateway/limit"
	"attune/runtimes"
)

// write makes the files of a pack in dir, on top of a faultless one.
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	ref := filepath.Base(dir)
	all := map[string]string{
		"pack.yaml":        "ref: " + ref + "\nversion: 1.0.0\n",
		"actions/a.yaml":   "ref: " + ref + ".a\nentry_point: a.sh\n",
		"actions/a.sh":     "#!/bin/sh\necho a\n",
		"actions/lib/b.py": "print(1)\n",
	}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		if text == "-" {
			continue
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// faultsOf loads a pack, and gives its faults.
func faultsOf(t testing.TB, dir string, opt LoadOptions) []string {
	t.Helper()
	pack, err := Load(dir, runtimes.Builtin(), opt)
	if err == nil {
		return nil
	}
	all, ok := errors.AsType[*multierror.Error](err)
	if !ok || pack != nil {
		t.Fatalf("Load = %v, %T", pack, err)
	}
	var texts []string
	for _, fault := range all.Errors {
		texts = append(texts, strings.ReplaceAll(fault.Error(), dir, "DIR"))
	}
	return texts
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "shop")
	write(t, dir, map[string]string{
		"actions/a.yaml": "-", "actions/a.sh": "-",
		"pack.yaml": `
ref: shop
name: Shop
version: 1.10
description: sells
author: Ada
email: ada@example.com
keywords: [a]
metadata: {x: 1}
config_schema: {bucket: {type: string, required: true}}
config: {bucket: raw}
dependencies: [core]
runtime_deps: [Python3]
network: outbound
limits: {memory: 128MiB, cpu: 0.5, pids: 32, tmp: 16MiB}
preload: [numpy, os.path]
vars: {A: 1, B: pack}
`,
		"actions/order.yaml": `
ref: shop.order
runner_type: Bash
entry_point: lib/b.py
parameters: {n: {type: integer, default: 1}}
output: {ok: {type: boolean}}
parameter_delivery: stdin
parameter_format: dotenv
output_format: yaml
timeout: 1m30s
isolation: process
preload: []
concurrency: 4
min_warm: 1
max_instances: 3
idle_timeout: 90
rate: {limit: 100, per: 1m, burst: 20}
max_concurrency: 5
limits: {memory: 256MiB}
network: none
vars: {B: action, C: "x"}
retry: {attempts: 5, max: 90, on: [timed-out, action-failed]}
tags: [t]
examples: [{n: 2}, {title: three, parameters: {n: 3}}]
`,
		"actions/b_c-d.yml": "ref: shop.b_c-d\nentry_point: lib/b.PY\nenabled: false\ntimeout: 0.5\n",
		"actions/lib/b.PY":  "",
	})
	pack, err := Load(dir, runtimes.Builtin(), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(pack.Revision) != 32 || pack.Dir != dir || !pack.Enabled || pack.Version != "1.10" || pack.Label != "Shop" ||
		pack.Tags[0] != "a" || pack.Meta["x"] == nil || pack.ConfigSchema["bucket"] == nil || pack.Dependencies[0] != "core" {
		t.Errorf("pack %+v", pack)
	}
	other, order := pack.Actions[0], pack.Actions[1]
	if other.Label != "B c d" || other.Enabled || other.Runtime.Name != "python" || other.Timeout != 500*time.Millisecond ||
		other.OutputFormat != FormatText || other.ParameterFormat != FormatJSON || other.Network != runtimes.NetworkOutbound ||
		other.Limits != pack.Limits || other.Output != nil || other.Parameters == nil {
		t.Errorf("action %+v", other)
	}
	if order.Runtime.Name != "shell" {
		t.Errorf("runner_type is authoritative, but the runtime is %s", order.Runtime.Name)
	}
	if order.Timeout != 90*time.Second || order.Network != runtimes.NetworkNone || order.ParameterFormat != FormatDotenv ||
		order.OutputFormat != FormatYAML || order.Output == nil || !order.Enabled {
		t.Errorf("action %+v", order)
	}
	if want := (runtimes.Limits{Memory: 256 << 20, CPU: 0.5, Pids: 32, Tmp: 16 << 20}); order.Limits != want {
		t.Errorf("limits %+v, want %+v", order.Limits, want)
	}
	if diff := cmp.Diff(Warm{Isolation: "process", Preload: []string{"numpy", "os.path"}}, other.Warm); diff != "" {
		t.Errorf("warm of an action that says nothing (-want +got):\n%s", diff)
	}
	one := 1
	if diff := cmp.Diff(Warm{Isolation: "process", Preload: []string{}, Concurrency: 4, MinWarm: &one, MaxInstances: 3, IdleTimeout: 90 * time.Second}, order.Warm); diff != "" {
		t.Errorf("warm (-want +got):\n%s", diff)
	}
	if want := (limit.Rate{Limit: 100, Per: time.Minute, Burst: 20}); order.Rate != want || order.MaxConcurrency != 5 || !other.Rate.IsZero() || other.MaxConcurrency != 0 {
		t.Errorf("rate %+v and %d at once, want %+v and 5; of an action that says nothing %+v", order.Rate, order.MaxConcurrency, want, other.Rate)
	}
	if diff := cmp.Diff(Retry{Attempts: 3, Min: time.Second, Max: 5 * time.Minute}, other.Retry); diff != "" || other.MaxConcurrency != 0 {
		t.Errorf("retry of an action that says nothing (-want +got):\n%s", diff)
	}
	want := Retry{Attempts: 5, Min: time.Second, Max: 90 * time.Second, On: []string{"action-failed", "timed-out"}}
	if diff := cmp.Diff(want, order.Retry); diff != "" {
		t.Errorf("retry (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"A": "1", "B": "action", "C": "x"}, order.Vars); diff != "" {
		t.Errorf("vars (-want +got):\n%s", diff)
	}
}

func TestPackFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		yaml string
		want []string
	}{
		"missing":       {"-", []string{"pack.yaml: isn't there"}},
		"empty":         {"", []string{"pack.yaml: is empty"}},
		"required keys": {"label: x\n", []string{"pack.yaml: ref is missing: it is the directory's name", "pack.yaml: version is missing, for example version: 1.0.0"}},
		"bad ref":       {"ref: ../x\nversion: 1\n", []string{`pack.yaml:1: ref: invalid ref "../x": a pack's ref is a lower-case letter and up to 62 of a-z, 0-9, _ and -`}},
		"other ref":     {"ref: other\nversion: 1\n", []string{"pack.yaml:1: ref is other, but the directory is demo: they must be equal"}},
		"later": {
			"ref: demo\nversion: 1\ntesting: {}\npreload: ['a b']\nbuild: {index: A, x: 1}\nsystem: [git]\n",
			[]string{
				"pack.yaml:3: testing is not supported yet: leave it out",
				`pack.yaml:5: unknown key "x" in build: there is index, scripts`,
				`pack.yaml:4: preload: "a b" is no name of a module, for example numpy`,
				"pack.yaml:5: build.index must be the name of one of the operator's build.indexes: a lower-case letter and up to 62 of a-z, 0-9, _ and -",
				"pack.yaml:6: a pack can't install packages of the operating system: ask the operator for a runtime whose image: has them (README, Dependencies)",
			},
		},
		"conflicts": {
			"ref: demo\nversion: 1\nlabel: a\nname: b\ntags: [a]\nkeywords: [b]\nmeta: {a: 1}\nmetadata: {a: 2}\nconf_schema: {}\nconfig_schema: {a: {}}\n",
			[]string{
				"pack.yaml:4: label and name are the same thing, but say different ones: keep label",
				"pack.yaml:6: tags and keywords are the same thing, but say different ones: keep tags",
				"pack.yaml:8: meta and metadata are the same thing, but say different ones: keep meta",
				"pack.yaml:10: conf_schema and config_schema are the same thing, but say different ones: keep conf_schema",
			},
		},
		"both spellings alike": {"ref: demo\nversion: 1\nlabel: a\nname: a\ntags: [a]\nkeywords: [a]\n", nil},
		"values": {
			"ref: demo\nversion: 1\nnetwork: open\nenabled: yes\ndependencies: [Core, ok]\nruntime_deps: [pyton]\nconf_schema: {a: {type: x}}\nlimitz: {}\n",
			[]string{
				"pack.yaml:4: enabled must be true or false, but is a string",
				`pack.yaml:8: unknown key "limitz": did you mean "limits"?`,
				"pack.yaml:7: conf_schema: a.type must be array, boolean, integer, null, number, object or string",
				`pack.yaml:5: dependencies: invalid ref "Core": a pack's ref is a lower-case letter and up to 62 of a-z, 0-9, _ and -`,
				`pack.yaml:6: runtime "pyton" doesn't exist: did you mean "python"?`,
				`pack.yaml:3: network "open" doesn't exist: there is none, outbound`,
			},
		},
		"limits": {
			"ref: demo\nversion: 1\nlimits:\n  memory: lots\n  cpu: 0\n  pids: 1.5\n  tmp: 1\n  disk: 1\n",
			[]string{
				`pack.yaml:8: unknown key "disk" in limits: there is cpu, memory, pids, tmp`,
				"pack.yaml:4: limits.memory must be a size from 8.0 MiB to 1.0 TiB, for example 256MiB",
				"pack.yaml:7: limits.tmp must be a size from 64 KiB to 1.0 TiB, for example 256MiB",
				"pack.yaml:5: limits.cpu must be a number of cores, for example 0.5",
				"pack.yaml:6: limits.pids must be a number of processes from 4 to 1048576",
			},
		},
		"tmp is memory": {"ref: demo\nversion: 1\nlimits: {memory: 16MiB, tmp: 32MiB}\n", []string{"pack.yaml:3: limits.tmp is more than limits.memory: files in /tmp count as memory"}},
		"vars": {
			"ref: demo\nversion: 1\nvars:\n  ATTUNE_X: 1\n  a-b: 1\n  HOME: /x\n  OK: 1\n  N: \"\\0\"\n  TRACEPARENT: x\n  TRACESTATE: x\n",
			[]string{
				"pack.yaml:4: vars: names that begin with ATTUNE_ are reserved", "pack.yaml:6: vars: HOME is reserved: every execution has its own",
				"pack.yaml:8: vars: the value of N holds a NUL character",
				"pack.yaml:9: vars: TRACEPARENT is reserved: it says where in a trace an execution is",
				"pack.yaml:10: vars: TRACESTATE is reserved: it says where in a trace an execution is",
				`pack.yaml:5: vars: name "a-b" must begin with a letter or _, and hold letters, digits and _ only`,
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "demo")
			write(t, dir, map[string]string{"pack.yaml": test.yaml})
			if diff := cmp.Diff(test.want, faultsOf(t, dir, LoadOptions{})); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestActionFaults(t *testing.T) {
	t.Parallel()
	const file = "actions/a.yaml"
	tests := map[string]struct {
		yaml string // after the ref
		want []string
	}{
		"no entry point":   {"label: x\n", []string{": entry_point is missing: it is a file in actions/"}},
		"lost entry point": {"entry_point: x.sh\n", []string{`:2: entry_point "x.sh" isn't in actions/`}},
		"absolute":         {"entry_point: /bin/sh\n", []string{`:2: runner_type is missing, and the extension of "/bin/sh" is no runtime's: there is native, node, python, shell`, `:2: entry_point "/bin/sh" must be a path below actions/, without ..`}},
		"dots":             {"entry_point: ../x.sh\n", []string{`:2: entry_point "../x.sh" must be a path below actions/, without ..`}},
		"backslash":        {"entry_point: 'x\\y.sh'\n", []string{`:2: entry_point "x\\y.sh" must be a path below actions/, without ..`}},
		"directory":        {"entry_point: lib\nrunner_type: shell\n", []string{`:2: entry_point "lib" isn't a regular file`}},
		"unknown runtime":  {"entry_point: a.sh\nrunner_type: rubby\n", []string{`:3: runner_type "rubby" doesn't exist: there is native, node, python, shell`}},
		"unknown, other":   {"entry_point: a.sh\nruntime: pythn\n", []string{`:3: runtime "pythn" doesn't exist: did you mean "python"?`}},
		"runtime conflict": {"entry_point: a.sh\nrunner_type: shell\nruntime: python\n", []string{":4: runner_type and runtime are the same thing, but say different ones: keep runner_type"}},
		"no extension":     {"entry_point: lib/x\n", []string{`:2: runner_type is missing, and the extension of "lib/x" is no runtime's: there is native, node, python, shell`, `:2: entry_point "lib/x" isn't in actions/`}},
		"native":           {"entry_point: a.sh\nrunner_type: native\n", []string{`:2: entry_point "a.sh" isn't executable for everybody: chmod a+rx actions/a.sh`}},
		"words": {
			"entry_point: a.sh\nparameter_format: toml\noutput_format: dotenv\nparameter_delivery: env\nisolation: vm\n",
			[]string{
				`:3: parameter_format "toml" doesn't exist: there is dotenv, json, yaml`, `:4: output_format "dotenv" doesn't exist: there is json, jsonl, text, yaml`,
				`:5: parameter_delivery "env" doesn't exist: there is file, stdin`, `:6: isolation "vm" doesn't exist: there is container, process, worker`,
			},
		},
		"later": {
			"entry_point: a.sh\nenabled: true\naffinity: []\n",
			[]string{":4: affinity is not supported yet: leave it out"},
		},
		"retry": {
			"entry_point: a.sh\nmax_concurrency: 0\nretry:\n  attempts: 0\n  min: 0\n  max: soon\n  on: [timed-out, action-faild]\n",
			[]string{
				":3: max_concurrency must be a number from 1 to 100000",
				":5: retry.attempts must be a number from 1 to 100",
				":6: retry.min must be seconds or a duration from 1ms to 24h0m0s, for example 30 or 5m",
				":7: retry.max must be seconds or a duration from 1ms to 24h0m0s, for example 30 or 5m",
				`:8: retry.on: "action-faild" is no failure of an action: did you mean "action-failed"?`,
			},
		},
		"retry in reverse": {
			"entry_point: a.sh\nretry: {min: 2m, max: 1m}\n",
			[]string{":3: retry.max is less than retry.min"},
		},
		"warm": {
			"entry_point: a.sh\nconcurrency: 0\nmin_warm: -1\nmax_instances: 100000\nidle_timeout: 1ms\npreload: [-x, ok]\n",
			[]string{
				`:7: preload: "-x" is no name of a module, for example numpy`,
				":3: concurrency must be a number from 1 to 64", ":5: max_instances must be a number from 1 to 10000",
				":6: idle_timeout must be seconds or a duration from 1s to 168h0m0s, for example 30 or 5m",
				":4: min_warm must be a number from 0 to 10000",
			},
		},
		"worker of a runtime without": {
			"entry_point: a.sh\nisolation: worker\n",
			[]string{":3: isolation worker needs a runtime that calls handlers, and shell has none: use process or container"},
		},
		"warm that can't be": {
			"entry_point: a.sh\nisolation: container\nconcurrency: 2\nmin_warm: 3\nmax_instances: 2\n",
			[]string{
				":5: min_warm 3 is more than max_instances 2: keep at most that",
				":4: concurrency must be 1 with isolation container: an instance serves one execution",
			},
		},
		"rates": {
			"entry_point: a.sh\nrate: {limit: 0}\nmax_concurrency: 0\n",
			[]string{
				":3: rate.limit must be a number of calls from 1 to 10000000, for example rate: {limit: 100, per: 1s}",
				":4: max_concurrency must be a number from 1 to 100000",
			},
		},
		"rate without limit": {"entry_point: a.sh\nrate: {per: 1h}\n", []string{":3: rate.limit must be a number of calls from 1 to 10000000, for example rate: {limit: 100, per: 1s}"}},
		"rate too fast":      {"entry_point: a.sh\nrate:\n  limit: 1\n  per: 10ms\n", []string{":5: rate.per must be seconds or a duration from 1s to 744h0m0s, for example 1s or 1h"}},
		"burst above limit":  {"entry_point: a.sh\nrate: {limit: 2, burst: 3}\n", []string{":3: rate.burst must be a number of calls from 1 to rate.limit, 2"}},
		"timeouts":           {"entry_point: a.sh\ntimeout: 0\n", []string{":3: timeout must be seconds or a duration from 100ms to 24h0m0s, for example 30 or 5m"}},
		"negative":           {"entry_point: a.sh\ntimeout: -1\n", []string{":3: timeout must be seconds or a duration from 100ms to 24h0m0s, for example 30 or 5m"}},
		"endless":            {"entry_point: a.sh\ntimeout: 1e300\n", []string{":3: timeout must be seconds or a duration from 100ms to 24h0m0s, for example 30 or 5m"}},
		"no duration":        {"entry_point: a.sh\ntimeout: soon\n", []string{":3: timeout must be seconds or a duration from 100ms to 24h0m0s, for example 30 or 5m"}},
		"NaN":                {"entry_point: a.sh\ntimeout: nan\n", []string{":3: timeout must be seconds or a duration from 100ms to 24h0m0s, for example 30 or 5m"}},
		"secret": {
			"entry_point: a.sh\nparameters:\n  token:\n    secret: true\n    default: hush\noutput_schema:\n  t: {secret: true}\nexamples: [{}]\n",
			[]string{
				":6: parameters: token.default would show a secret to everybody who may see the pack: leave it out",
				":8: output_schema: secret: true is for parameters: in what an action prints, their values are masked anyway",
			},
		},
		"secret example": {
			"entry_point: a.sh\nparameters:\n  token: {secret: true, required: true}\nexamples:\n  - {}\n  - {parameters: {token: hush}}\n",
			[]string{":7: examples[1] gives the secret token, and is shown to everybody: leave that out"},
		},
		"schema":      {"entry_point: a.sh\nparameters:\n  n:\n    type: int\n  m:\n    requierd: true\n", []string{`:7: unknown key "requierd" in m: did you mean "required"?`}},
		"schema type": {"entry_point: a.sh\nparameters:\n  n:\n    type: int\n", []string{":5: parameters: n.type must be array, boolean, integer, null, number, object or string"}},
		"example": {
			"entry_point: a.sh\nparameters: {n: {type: integer}}\nexamples:\n  - {n: x}\n  - {m: 1}\n  - {parameters: {n: y}}\n  - 1\n",
			[]string{
				":5: examples[0] doesn't fit the parameters: /n must be of type integer", ":6: examples[1] doesn't fit the parameters: /m is not known here",
				":7: examples[2] doesn't fit the parameters: /n must be of type integer", ":8: examples[3] doesn't fit the parameters: it must be an object",
			},
		},
		"output conflict": {"entry_point: a.sh\noutput: {a: {}}\noutput_schema: {b: {}}\n", []string{":3: output_schema and output are the same thing, but say different ones: keep output_schema"}},
		"unknown key":     {"entry_point: a.sh\ntime_out: 3\nx: 1\n", []string{`:3: unknown key "time_out": did you mean "timeout"?`, `:4: unknown key "x": there is concurrency, description, enabled, entry_point, examples, http, idle_timeout, isolation, label, limits, max_concurrency, max_instances, min_warm, name, network, output, output_format, output_schema, parameter_delivery, parameter_format, parameters, preload, rate, ref, retry, runner_type, runtime, tags, timeout, vars`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "demo")
			write(t, dir, map[string]string{file: "ref: demo.a\n" + test.yaml, "pack.yaml": "ref: demo\nversion: 1\n"})
			for i := range test.want {
				test.want[i] = file + test.want[i]
			}
			got := faultsOf(t, dir, LoadOptions{})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestActionRefFaults(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	write(t, dir, map[string]string{
		"actions/b.yaml": "entry_point: a.sh\n",
		"actions/c.yaml": "ref: demo\nentry_point: a.sh\n",
		"actions/d.yaml": "ref: other.d\nentry_point: a.sh\n",
		"actions/e.yml":  "ref: demo.a\nentry_point: a.sh\n",
		"actions/f.yaml": "- x\n",
	})
	want := []string{
		"actions/b.yaml: ref is missing, for example ref: demo.b",
		`actions/c.yaml:1: ref: invalid ref "demo": an action's ref is pack.action, each a lower-case letter and up to 62 of a-z, 0-9, _ and -`,
		"actions/d.yaml:1: ref other.d isn't in this pack: it must begin with demo.",
		"actions/e.yml: ref demo.a is also that of actions/a.yaml",
		"actions/f.yaml:1: must be a mapping of keys, but is a list",
	}
	if diff := cmp.Diff(want, faultsOf(t, dir, LoadOptions{})); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestLaterFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	write(t, dir, map[string]string{"runtimes/r.yaml": "", "triggers/t.yaml": "x: 1", "runtimes/README": ""})
	want := []string{
		"runtimes/r.yaml: runtimes/ is not supported yet: leave it out",
	}
	if diff := cmp.Diff(want, faultsOf(t, dir, LoadOptions{})); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

// A lock file of another tool is a fault where an action needs it, and nobody's
// matter elsewhere.
func TestRefusedLockFile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	write(t, dir, map[string]string{
		"pack.yaml": "ref: demo\nversion: 1\n", "package.json": "{}", "yarn.lock": "",
		"actions/a.yaml": "ref: demo.a\nentry_point: a.sh\n", "actions/a.sh": "true\n",
	})
	if faults := faultsOf(t, dir, LoadOptions{}); faults != nil {
		t.Errorf("a pack without Node: faults = %q", faults)
	}
	write(t, dir, map[string]string{"actions/b.yaml": "ref: demo.b\nentry_point: b.js\n", "actions/b.js": ""})
	faults := faultsOf(t, dir, LoadOptions{})
	if len(faults) != 1 || !strings.HasPrefix(faults[0], "package.json: yarn.lock is not read here: ") || !strings.Contains(faults[0], "package-lock.json") {
		t.Errorf("faults = %q, want the lock file and its cure", faults)
	}
	write(t, dir, map[string]string{"package-lock.json": "{}"})
	if faults := faultsOf(t, dir, LoadOptions{}); faults != nil {
		t.Errorf("beside a package-lock.json: faults = %q", faults)
	}
}
