package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// writeFile makes a file in a directory of its own and returns its path.
func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// faultTexts loads a configuration and returns its faults.
func faultTexts(t *testing.T, yaml string, environ ...string) []string {
	t.Helper()
	_, err := LoadConfig(writeFile(t, "attune.yaml", yaml), environ)
	if err == nil {
		return nil
	}
	var texts []string
	for _, fault := range faultsOf(err) {
		texts = append(texts, fault.Error())
	}
	return texts
}

// Ensure each fault names the key, where it came from, and the cure.
func TestConfigFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		yaml    string
		environ []string
		want    string
	}{
		"unknown key":          {yaml: "server:\n  prot: 1\n", want: `attune.yaml:2: server has no key "prot": did you mean "port"?`},
		"unknown section":      {yaml: "\nservr: {port: 1}\n", want: `attune.yaml:2: there is no setting "servr": did you mean "server"?`},
		"unknown variable":     {environ: []string{"ATTUNE__SERVER__PROT=1"}, want: `ATTUNE__SERVER__PROT: server has no key "prot": did you mean "port"?`},
		"section is a scalar":  {yaml: "log: 5\n", want: "log (attune.yaml:1): is not a section: write its keys indented below it"},
		"no value":             {yaml: "server:\n  host:\n", want: "server.host (attune.yaml:2): has no plain value: write one, or remove the key to use the default"},
		"second document":      {yaml: "engine: docker\n---\nengine: process\n", want: "attune.yaml:3: a second document begins here: a file holds one"},
		"list is a scalar":     {yaml: "network:\n  outbound: x\n", want: "network.outbound (attune.yaml:2): is not a list: write [a, b], or [] for none"},
		"map is a list":        {yaml: "build:\n  vars: [a]\n", want: "build.vars (attune.yaml:2): is not a mapping: write NAME: value indented below it, or {} for none"},
		"size":                 {yaml: "server: {body_limit: 6XB}", want: `server.body_limit (attune.yaml:1): "6XB" is not a size: write a whole number with a unit, like 512MiB or 2GiB`},
		"size out of range":    {yaml: "server: {body_limit: 2GiB}", want: "server.body_limit (attune.yaml:1): 2GiB is out of range: give 1KiB to 1GiB"},
		"duration":             {yaml: "server: {read_timeout: soon}", want: `server.read_timeout (attune.yaml:1): "soon" is not a duration: write 250ms, 90s, 1h30m or a number of seconds`},
		"negative duration":    {environ: []string{"ATTUNE__SERVER__READ_TIMEOUT=-5s"}, want: `server.read_timeout (ATTUNE__SERVER__READ_TIMEOUT): "-5s" is not a duration: write 250ms, 90s, 1h30m or a number of seconds`},
		"whole number":         {environ: []string{"ATTUNE__POOL__QUEUE=many"}, want: `pool.queue (ATTUNE__POOL__QUEUE): "many" is not a whole number: write digits only, like 64`},
		"number":               {environ: []string{"ATTUNE__LIMITS__CPU=NaN"}, want: `limits.cpu (ATTUNE__LIMITS__CPU): "NaN" is not a number: write it like 0.5 or 2`},
		"port":                 {environ: []string{"ATTUNE__SERVER__PORT=70000"}, want: "server.port (ATTUNE__SERVER__PORT): 70000 is not a port: give 1 to 65535, or 0 for any free one"},
		"host":                 {yaml: "server: {host: a b}", want: `server.host (attune.yaml:1): "a b" is no address to listen on: give one like 127.0.0.1, ::1 or 0.0.0.0`},
		"engine":               {yaml: "engine: podman", want: `engine (attune.yaml:1): "podman" is unknown: write docker or process`},
		"volume with process":  {yaml: "engine: process\nruntime_envs_dir: envs", want: `runtime_envs_dir (attune.yaml:2): "envs" names a volume, but the engine "process" has none: give a directory, with a slash`},
		"volume name":          {yaml: "runtime_envs_dir: .envs", want: `runtime_envs_dir (attune.yaml:1): ".envs" is neither a directory (with a slash) nor the name of a volume: write ./runtime_envs or runtime_envs`},
		"redis":                {yaml: "redis: {url: 'http://:s3cret@x'}", want: "redis.url (attune.yaml:1): is not the address of a Redis: write redis://[user:password@]host:port/0, rediss://… or unix:///path"},
		"redis without host":   {environ: []string{"ATTUNE__REDIS__URL=redis:///0"}, want: "redis.url (ATTUNE__REDIS__URL): has no host: write redis://[user:password@]host:port/0"},
		"no state":             {yaml: `state_dir: ""`, want: "state_dir (attune.yaml:1): is empty, and there is no redis.url: name a directory for the embedded database"},
		"docker host":          {yaml: "docker: {host: localhost}", want: `docker.host (attune.yaml:1): "localhost" is no address of an engine: write unix:///var/run/docker.sock or tcp://host:2376, or leave it empty`},
		"credentials":          {yaml: "build:\n  vars: {PIP_INDEX_URL: 'https://u:s3cret@h/simple'}", want: "build.vars (attune.yaml:2): PIP_INDEX_URL holds a URL with credentials, which everybody who may inspect the engine's containers could read: use build.indexes with build.index_credentials, or a mirror that needs none"},
		"token in second URL":  {environ: []string{"ATTUNE__BUILD__VARS=PIP_EXTRA_INDEX_URL=https://a/ https://s3cret@b/"}, want: "build.vars (ATTUNE__BUILD__VARS): PIP_EXTRA_INDEX_URL holds a URL with credentials, which everybody who may inspect the engine's containers could read: use build.indexes with build.index_credentials, or a mirror that needs none"},
		"variable name":        {yaml: "build:\n  vars: {a-b: 1}", want: `build.vars (attune.yaml:2): "a-b" is no name of a variable: use letters, digits and _`},
		"reserved variable":    {yaml: "build: {vars: {ATTUNE_X: y}}", want: "build.vars (attune.yaml:1): ATTUNE_X is reserved: names that begin with ATTUNE_ are the gateway's own"},
		"pair without =":       {environ: []string{"ATTUNE__BUILD__VARS=A=1,s3cret"}, want: "build.vars (ATTUNE__BUILD__VARS): pair 2 has no name or no =: write KEY=VALUE,KEY=VALUE; values that hold a comma take the file"},
		"tmp fills the memory": {yaml: "limits: {memory: 64MiB}", want: "limits.tmp (default): 64MiB leaves no memory: /tmp is part of limits.memory, 64MiB; give less"},
		"pool":                 {yaml: "pool: {max_instances: 4}", want: "pool.per_pool (default): 8 is more than pool.max_instances, 4: give at most that"},
		"outbound":             {yaml: "network: {outbound: [Bad]}", want: `network.outbound (attune.yaml:1): "Bad" is no pack: list refs like python_example, or "*" for all`},
		"traces' endpoint":     {yaml: "tracing: {endpoint: 'collector:4318'}", want: "tracing.endpoint (attune.yaml:1): is not the address of an OTLP receiver: write http://host:4318 or https://…"},
		"traces' credentials":  {yaml: "tracing: {endpoint: 'http://u:s3cret@collector:4318'}", want: "tracing.endpoint (attune.yaml:1): holds credentials: put them into the variable OTEL_EXPORTER_OTLP_HEADERS"},
		"sample":               {yaml: "tracing: {sample: 2}", want: "tracing.sample (attune.yaml:1): 2 is no part of all traces: give 0 to 1"},
		"admin host":           {yaml: "admin: {host: 'a b'}", want: `admin.host (attune.yaml:1): "a b" is no address to listen on: give one like 127.0.0.1, or ::1`},
		"admin port":           {yaml: "admin: {port: -1}", want: "admin.port (attune.yaml:1): -1 is not a port: give 1 to 65535, or 0 for none"},
		"admin is server":      {yaml: "admin: {port: 8080}", want: "admin.port (attune.yaml:1): 8080 is server.port, too: give another"},
		"level":                {environ: []string{"ATTUNE__LOG__LEVEL=loud"}, want: `log.level (ATTUNE__LOG__LEVEL): "loud" is unknown: write debug, info, warn or error`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := faultTexts(t, test.yaml, test.environ...)
			if diff := cmp.Diff([]string{test.want}, got); diff != "" {
				t.Errorf("LoadConfig(%q, %q) faults (-want +got):\n%s", test.yaml, test.environ, diff)
			}
		})
	}
}

// Ensure all faults are told at once, and none of them tells a secret.
func TestConfigReportsEverything(t *testing.T) {
	t.Parallel()
	_, err := LoadConfig(writeFile(t, "attune.yaml", `
server: {port: x, prot: 1}
engine: podman
redis: {url: "http://:s3cret@x"}
build: {vars: {A: "http://s3cret@x"}}
`), []string{"ATTUNE__NOPE=1"})
	if err == nil {
		t.Fatal("LoadConfig succeeded")
	}
	text := err.Error()
	if !strings.HasPrefix(text, "the configuration has 6 faults:\n  - ") || strings.Count(text, "\n  - ") != 6 {
		t.Errorf("LoadConfig error = %s; want 6 faults", text)
	}
	if strings.Contains(text, "s3cret") {
		t.Errorf("LoadConfig error tells a secret: %s", text)
	}
}

func TestConfigBrokenYAML(t *testing.T) {
	t.Parallel()
	for yaml, want := range map[string]string{
		"server: {port: 1":                  "attune.yaml:1: isn't YAML: did not find",
		"server:\n\tport: 1\n":              "attune.yaml:2: isn't YAML: found character",
		"a: b: c":                           "attune.yaml: isn't YAML: mapping values",
		"engine: docker\nengine: process\n": `attune.yaml:2: key "engine" is there already`,
	} {
		got := faultTexts(t, yaml)
		if len(got) != 1 || !strings.HasPrefix(got[0], want) || strings.Contains(got[0], "\n") {
			t.Errorf("LoadConfig(%q) faults = %q; want one that begins with %q", yaml, got, want)
		}
	}
}

func TestConfigMissingFile(t *testing.T) {
	t.Parallel()
	_, err := LoadConfig("", []string{"ATTUNE_CONFIG=/nowhere/attune.yaml"})
	want := "configuration file /nowhere/attune.yaml: no such file or directory; name another with --config or ATTUNE_CONFIG"
	if err == nil || err.Error() != want {
		t.Errorf("LoadConfig error = %v; want %s", err, want)
	}
}

// Ensure variables win over the file, and the file over the defaults.
func TestConfigPrecedence(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "attune.yaml", "server:\n  port: 1\n  host: ::1\n# nothing below:\nlog:\n")
	config, err := loadConfig(file, []string{
		"ATTUNE__SERVER__PORT=2", "ATTUNE__SERVER__BODY_LIMIT=5MB", "ATTUNE__BUILD__WAITER=1.5",
		"ATTUNE__NETWORK__OUTBOUND=a, b", "ATTUNE__BUILD__VARS=X=1,Y=a=b", "ATTUNE_EXEC_ID=not ours",
	}, []flagValue{{"--host", "server.host", "127.0.0.2"}})
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.Server.Port, want.Server.Host, want.Server.BodyLimit = 2, "127.0.0.2", 5_000_000
	want.Build.Waiter = Duration(1500 * time.Millisecond)
	want.Network.Outbound = []string{"a", "b"}
	want.Build.Vars = map[string]string{"X": "1", "Y": "a=b"}
	if diff := cmp.Diff(want, config, cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "origins" }, cmp.Ignore())); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	for key, want := range map[string]string{
		"server.port": "ATTUNE__SERVER__PORT", "server.host": "--host", "log.level": "default", "pool.queue": "default",
	} {
		if got := config.Origin(key); got != want {
			t.Errorf("Origin(%s) = %s; want %s", key, got, want)
		}
	}
}

// Ensure paths of the file are relative to it, and others to the working
// directory, so that a file means the same wherever it is used from.
func TestConfigRelativePaths(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "attune.yaml", "packs_base_dir: packs\nruntime_envs_dir: ./envs\nbuild: {ca_bundle: ca.pem}\n")
	config, err := LoadConfig(file, []string{"ATTUNE__STATE_DIR=state"})
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(file)
	got := []string{config.PacksBaseDir, config.RuntimeEnvsDir, config.Build.CABundle, config.StateDir, config.RuntimesDir}
	want := []string{dir + "/packs", dir + "/envs", dir + "/ca.pem", here + "/state", ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}

// Ensure the shipped file loads, names every key with a comment above it, and
// differs from the defaults only where it says so.
func TestShippedConfiguration(t *testing.T) {
	t.Parallel()
	const path = "../../attune.yaml"
	config, err := LoadConfig(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	defaults := DefaultConfig()
	mine := settingsOf(&config)
	var differ []string
	for i, s := range settingsOf(&defaults) {
		if mine[i].yaml() != s.yaml() {
			differ = append(differ, s.Key)
		}
		if config.Origin(s.Key) == "default" {
			t.Errorf("%s is missing in %s", s.Key, path)
		}
		name := s.Key[strings.LastIndex(s.Key, ".")+1:]
		at := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), name+":") })
		if at < 1 || !strings.HasPrefix(strings.TrimSpace(lines[at-1]), "#") {
			t.Errorf("%s has no comment above it in %s", s.Key, path)
		}
	}
	want := []string{"packs_base_dir", "watch", "runtime_envs_dir", "state_dir", "network.outbound"}
	if diff := cmp.Diff(want, differ); diff != "" {
		t.Errorf("settings that differ from the defaults (-want +got):\n%s", diff)
	}
}

// Ensure what config show prints can be loaded again and is the same.
func TestConfigShowRoundTrip(t *testing.T) {
	t.Parallel()
	config, err := LoadConfig("", []string{
		`ATTUNE__BUILD__VARS=A=x "y" #z,B=`, "ATTUNE__LIMITS__CPU=0.5", "ATTUNE__NETWORK__OUTBOUND=*", "ATTUNE__SERVER__HOST=::1",
	})
	if err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	if err := writeConfig(&shown, config); err != nil {
		t.Fatal(err)
	}
	again, err := LoadConfig(writeFile(t, "again.yaml", shown.String()), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, shown.String())
	}
	got := settingsOf(&again)
	for i, s := range settingsOf(&config) {
		if s.yaml() != got[i].yaml() {
			t.Errorf("%s is %s after a round trip; want %s", s.Key, got[i].yaml(), s.yaml())
		}
	}
}

// Ensure no variable makes the loader panic, and none is dropped silently.
func FuzzEnviron(f *testing.F) {
	for _, seed := range []string{
		"ATTUNE__SERVER__PORT=1", "ATTUNE__BUILD__VARS=A=1,B", "ATTUNE__", "ATTUNE__SERVER=", "ATTUNE__LIMITS__CPU=1e999",
		"ATTUNE__NETWORK__OUTBOUND=,,", "ATTUNE__SERVER__BODY_LIMIT=9223372036854775807TiB", "ATTUNE__POOL__IDLE_TIMEOUT=1e300", "=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, entry string) {
		config, err := LoadConfig("", []string{entry})
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, variablePrefix) && err == nil && len(config.origins) != 1 {
			t.Errorf("LoadConfig(%q) neither took the variable nor refused it", entry)
		}
		if err == nil && config.check() != nil {
			t.Errorf("LoadConfig(%q) accepted what the check refuses", entry)
		}
	})
}

// Ensure no file makes the loader panic.
func FuzzYAML(f *testing.F) {
	for _, seed := range []string{"server: {port: 1}", "? a\n: b", "- a", "a: &x [*x]", "<<: {a: 1}", "log:\n  level: |\n    info\n", "!!int x", "server: ~", "\"\": 1", "1: 2"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		config := DefaultConfig()
		applyYAML(settingsOf(&config), map[string]string{}, "attune.yaml", data)
	})
}
