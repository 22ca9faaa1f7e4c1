package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-multierror"
)

// Config is everything an operator can decide. Three sources fill it, each over
// the one before: the defaults, one YAML file (attune.yaml documents every key),
// and variables: server.port is ATTUNE__SERVER__PORT. In a variable a list is
// separated by commas, and so are the KEY=VALUE pairs of a map.
//
// Relative paths in the file are relative to the file, others to the working
// directory; a loaded Config holds absolute ones only.
type Config struct {
	Server ServerConfig `yaml:"server"`

	// PacksBaseDir holds one directory per pack. Default /opt/attune/packs.
	PacksBaseDir string `yaml:"packs_base_dir"`
	// Watch reads the packs again whenever their files change, which is for
	// development. Default false: on SIGHUP and when one is registered.
	Watch bool `yaml:"watch"`
	// RuntimeEnvsDir holds the environments: a directory (it contains a slash)
	// or the name of a volume of the engine. Default /opt/attune/runtime_envs.
	RuntimeEnvsDir string `yaml:"runtime_envs_dir"`
	// RuntimesDir holds further runtimes, one directory with a runtime.yaml
	// each. Empty (the default) = the shipped runtimes only.
	RuntimesDir string `yaml:"runtimes_dir"`
	// StateDir holds the embedded database, which is used while redis.url is
	// empty. Default /var/lib/attune.
	StateDir string `yaml:"state_dir"`

	Redis RedisConfig `yaml:"redis"`

	// Engine runs the containers: "docker" (the default), or "process", which
	// isolates nothing and is for development and tests.
	Engine string `yaml:"engine"`

	Docker      DockerConfig      `yaml:"docker"`
	Build       BuildConfig       `yaml:"build"`
	Limits      LimitsConfig      `yaml:"limits"`
	Pool        PoolConfig        `yaml:"pool"`
	Network     NetworkConfig     `yaml:"network"`
	Secrets     SecretsConfig     `yaml:"secrets"`
	Executions  ExecutionsConfig  `yaml:"executions"`
	Hooks       HooksConfig       `yaml:"hooks"`
	Queue       QueueConfig       `yaml:"queue"`
	Idempotency IdempotencyConfig `yaml:"idempotency"`
	Callbacks   CallbacksConfig   `yaml:"callbacks"`
	Log         LogConfig         `yaml:"log"`

	// Metrics counts what the gateway does, for Prometheus: GET /metrics. Default
	// true.
	Metrics bool          `yaml:"metrics"`
	Tracing TracingConfig `yaml:"tracing"`
	Admin   AdminConfig   `yaml:"admin"`

	origins map[string]string // dotted key → "attune.yaml:12", "ATTUNE__…" or "--port"; absent = default
}

// ServerConfig is about the HTTP listener.
type ServerConfig struct {
	// Host is the address to listen on. Default 127.0.0.1; any address that
	// other machines can reach needs an API key, or serve --insecure.
	Host string `yaml:"host"`
	// Port to listen on. Default 8080; 0 = any free port.
	Port int `yaml:"port"`
	// BodyLimit bounds the body of a request. Default 6MiB.
	BodyLimit Bytes `yaml:"body_limit"`
	// ReadTimeout bounds reading one request. Default 10s.
	ReadTimeout Duration `yaml:"read_timeout"`
	// DrainTimeout is how long running calls may go on after the signal to
	// stop. Default 30s; 0 = they are cancelled at once.
	DrainTimeout Duration `yaml:"drain_timeout"`
	// ConnectionsPerIP bounds the open connections of one client address.
	// Default 1024; 0 = not bounded, as behind a proxy.
	ConnectionsPerIP int `yaml:"connections_per_ip"`
	// RequireKeys asks for an API key also while there is none. Default false:
	// from the first key on.
	RequireKeys bool `yaml:"require_keys"`
	// Anonymous lists what may be called without a key where the rest needs one:
	// pack.action, pack.*, or *. Default none.
	Anonymous []string `yaml:"anonymous"`
}

// RedisConfig says where replicas share their state.
type RedisConfig struct {
	// URL of Redis: redis://, rediss:// or unix://. Empty (the default) = no
	// Redis: file leases and the embedded database, for one gateway.
	URL string `yaml:"url" secret:"url"`
}

// DockerConfig is about the engine "docker".
type DockerConfig struct {
	// Host is the engine's address, unix:///… or tcp://…. Empty (the default)
	// = the engine client's own choice.
	Host string `yaml:"host"`
	// Runtime is the OCI runtime of instances, for example runsc. Empty (the
	// default) = the engine's default.
	Runtime string `yaml:"runtime"`
}

// BuildConfig is about builds of environments.
type BuildConfig struct {
	// CABundle is the certificate authorities that installers trust: "auto"
	// (the default: this machine's, where found), "none" (the image's own), or
	// the path of a PEM file.
	CABundle string `yaml:"ca_bundle"`
	// Vars are process variables of the builder: indexes, mirrors, proxies.
	// Everybody who may inspect the engine's containers can read them, so URLs
	// with credentials are refused. Default none.
	Vars map[string]string `yaml:"vars"`
	// Indexes are package indexes that packs may choose by build.index in their
	// pack.yaml: NAME → URL, or NAME.RUNTIME → URL for one runtime alone.
	// Default none.
	Indexes map[string]string `yaml:"indexes"`
	// IndexCredentials are user:password of indexes: NAME as in indexes → the
	// path of a file that holds them on one line, or env:VARIABLE. Default none.
	IndexCredentials map[string]string `yaml:"index_credentials"`
	// CacheBytes bounds the downloads that are kept for later builds, of all
	// packs together. Default 1GiB; 0 = none are kept.
	CacheBytes Bytes `yaml:"cache_bytes"`
	// Share is how old the versions may be that an installer chose for another
	// pack with the same dependencies, for that pack's environment to be copied.
	// Where a lock file chooses them, age doesn't matter. Default 24h; 0 = never.
	Share Duration `yaml:"share"`
	// Network of builders: "outbound" (the default), or "none" where packs
	// bring what they need.
	Network string `yaml:"network"`
	// Timeout ends a build. Default 15m.
	Timeout Duration `yaml:"timeout"`
	// Memory of one builder. Default 2GiB.
	Memory Bytes `yaml:"memory"`
	// CPU of one builder, in cores. Default 2.
	CPU float64 `yaml:"cpu"`
	// Ahead starts the builds of what isn't ready when the gateway starts and
	// when packs change. Default true; false = when it is called for.
	Ahead bool `yaml:"ahead"`
	// Concurrency is how many builds run at once. Default 2.
	Concurrency int `yaml:"concurrency"`
	// Queue is how many builds may wait for their turn. Default 32; beyond it
	// calls are answered "overloaded".
	Queue int `yaml:"queue"`
	// Waiter is how long a call waits for a build before it is told to come
	// back. Default 25s.
	Waiter Duration `yaml:"waiter"`
	// FreeSpace is what must be free at runtime_envs_dir before a build starts.
	// Default 512MiB; 0 = not checked.
	FreeSpace Bytes `yaml:"free_space"`
	// MaxBytes bounds one environment. Default 2GiB.
	MaxBytes Bytes `yaml:"max_bytes"`
	// MaxFiles bounds the files of one environment. Default 200000.
	MaxFiles int64 `yaml:"max_files"`
	// Lease is for how long a builder's lease lives without renewal; renewed
	// every third of it. Default 30s.
	Lease Duration `yaml:"lease"`
	// Poll is how often a waiting call looks at another gateway's build, at
	// first. Default 250ms.
	Poll Duration `yaml:"poll"`
	// MaxPoll is how often it does at last. Default 2s.
	MaxPoll Duration `yaml:"max_poll"`
	// Keep is how many generations of an environment stay, the serving one
	// among them: as many can be gone back to. Default 2.
	Keep int `yaml:"keep"`
	// PruneAfter is how long another generation stays that nobody uses.
	// Default 1h.
	PruneAfter Duration `yaml:"prune_after"`
}

// LimitsConfig bounds actions. Memory, CPU, Pids and Tmp are what a pack gets
// that declares none.
type LimitsConfig struct {
	// Memory of an instance, its /tmp included; swap is never added. Default 256MiB.
	Memory Bytes `yaml:"memory"`
	// CPU in cores. Default 1.
	CPU float64 `yaml:"cpu"`
	// Pids counts processes and threads of an instance. Default 128.
	Pids int64 `yaml:"pids"`
	// Tmp is the size of /tmp, which is in memory. Default 64MiB.
	Tmp Bytes `yaml:"tmp"`
	// Files is how many descriptors a process may open. Default 1024.
	Files int64 `yaml:"files"`
	// MaxTimeout caps the timeout of every action and call. Default 15m.
	MaxTimeout Duration `yaml:"max_timeout"`
	// Result bounds an action's output as far as it is the result. Default 6MiB.
	Result Bytes `yaml:"result"`
	// LogBytes is how much of stdout and of stderr is kept as the log of an
	// execution. Default 1MiB.
	LogBytes Bytes `yaml:"log_bytes"`
}

// PoolConfig is about warm instances.
type PoolConfig struct {
	// MaxInstances bounds the instances of this gateway. Default 512; 0 = no
	// bound.
	MaxInstances int `yaml:"max_instances"`
	// Memory bounds the sum of the instances' limits.memory: "auto" (the
	// default: eight times this machine's, because an instance that waits uses a
	// small part of its limit), a size, or 0 = no bound.
	Memory string `yaml:"memory"`
	// CPU bounds the sum of the instances' limits.cpu. Default 0 = no bound: an
	// instance that waits uses none.
	CPU float64 `yaml:"cpu"`
	// PerPool bounds the instances of one pool: of actions of one pack that may
	// share them. An action's max_instances may be less. Default 8.
	PerPool int `yaml:"per_pool"`
	// IdleTimeout removes an instance that has had nothing to do, unless its
	// action says another. Default 5m.
	IdleTimeout Duration `yaml:"idle_timeout"`
	// Queue is how many calls may wait for an instance. Default 1024; beyond it
	// calls are answered "overloaded".
	Queue int `yaml:"queue"`
}

// NetworkConfig says what actions may reach.
type NetworkConfig struct {
	// Outbound lists the packs whose "network: outbound" is granted; "*" = all.
	// Default none: actions that ask for the network are refused.
	Outbound []string `yaml:"outbound"`
}

// SecretsConfig is about the stored secrets of packs.
type SecretsConfig struct {
	// KeyFile holds the keys that seal them, one a line as attune secret keygen
	// makes them: the first writes, all of them read. Empty (the default) = none:
	// nothing can be stored.
	KeyFile string `yaml:"key_file"`
	// Key is the keys themselves, separated by commas: only as the variable
	// ATTUNE__SECRETS__KEY, in place of KeyFile.
	Key string `yaml:"key" secret:"all"`
}

// ExecutionsConfig is about the record of calls.
type ExecutionsConfig struct {
	// Keep is how many executions are remembered. Default 10000.
	Keep int `yaml:"keep"`
	// MaxAge forgets older executions. Default 168h.
	MaxAge Duration `yaml:"max_age"`
}

// QueueConfig is about asynchronous executions.
type QueueConfig struct {
	// Concurrency is how many of them this gateway runs at once. Default 32.
	Concurrency int `yaml:"concurrency"`
	// PerKey is how many jobs of one API key run at once, on all gateways.
	// Default 0 = any number.
	PerKey int `yaml:"per_key"`
	// Max is how many may wait and run, on all gateways. Default 100000; beyond
	// it calls are answered "overloaded".
	Max int `yaml:"max"`
	// MaxAge is for how long a job is put off by what is no attempt of it: an
	// environment that is being built, an engine that is away. Then it is dead.
	// Default 24h.
	MaxAge Duration `yaml:"max_age"`
	// Lease is for how long the jobs of a gateway that died are left alone.
	// Default 15s.
	Lease Duration `yaml:"lease"`
	// Poll is how often a gateway looks for jobs that others have taken or put
	// back; its own it starts at once. Default 200ms.
	Poll Duration `yaml:"poll"`
}

// LogConfig is about the gateway's own log, which goes to stderr.
type LogConfig struct {
	// Level is the least that is logged: debug, info (the default), warn, error.
	Level string `yaml:"level"`
	// Format is "human", "json", or "auto" (the default): human on a terminal,
	// JSON otherwise.
	Format string `yaml:"format"`
}

// DefaultConfig returns what an operator gets who decides nothing.
func DefaultConfig() Config {
	return Config{
		Server: ServerConfig{
			Host: "127.0.0.1", Port: 8080, BodyLimit: 6 * MiB,
			ReadTimeout: seconds(10), DrainTimeout: seconds(30), ConnectionsPerIP: 1024,
		},
		PacksBaseDir:   "/opt/attune/packs",
		RuntimeEnvsDir: "/opt/attune/runtime_envs",
		StateDir:       "/var/lib/attune",
		Engine:         EngineDocker,
		Build: BuildConfig{
			CABundle: CABundleAuto, Network: "outbound",
			Timeout: minutes(15), Memory: 2 * GiB, CPU: 2, Ahead: true, Concurrency: 2, Queue: 32,
			Waiter: seconds(25), CacheBytes: GiB, Share: Duration(24 * time.Hour), FreeSpace: 512 * MiB, MaxBytes: 2 * GiB, MaxFiles: 200_000,
			Lease: seconds(30), Poll: Duration(250 * time.Millisecond), MaxPoll: seconds(2),
			Keep: 2, PruneAfter: Duration(time.Hour),
		},
		Limits: LimitsConfig{
			Memory: 256 * MiB, CPU: 1, Pids: 128, Tmp: 64 * MiB, Files: 1024,
			MaxTimeout: minutes(15), Result: 6 * MiB, LogBytes: MiB,
		},
		Pool:       PoolConfig{MaxInstances: 512, Memory: MemoryAuto, PerPool: 8, IdleTimeout: minutes(5), Queue: 1024},
		Executions: ExecutionsConfig{Keep: 10_000, MaxAge: Duration(168 * time.Hour)},
		Hooks:      HooksConfig{Keep: 500, MaxAge: Duration(168 * time.Hour), Body: 64 * KiB},
		Queue: QueueConfig{
			Concurrency: 32, Max: 100_000, MaxAge: Duration(24 * time.Hour), Lease: seconds(15), Poll: Duration(200 * time.Millisecond),
		},
		Idempotency: defaultIdempotency(),
		Log:         LogConfig{Level: "info", Format: "auto"},
		Metrics:     true,
		Tracing:     TracingConfig{Sample: 1},
		Admin:       AdminConfig{Host: "127.0.0.1"},
	}
}

// ConfigVariable names the variable that names the configuration file, where
// no --config does.
const ConfigVariable = "ATTUNE_CONFIG"

// LoadConfig reads the configuration: defaults, then the file at path (or the
// one that ATTUNE_CONFIG names; neither = no file), then the ATTUNE__ variables
// of environ. The error lists every fault at once: the key, where its value
// came from, and the cure.
func LoadConfig(path string, environ []string) (Config, error) {
	return loadConfig(path, environ, nil)
}

// loadConfig is LoadConfig with the flags of a command on top: dotted key →
// value, named as --flag in faults.
func loadConfig(path string, environ []string, flags []flagValue) (Config, error) {
	config := DefaultConfig()
	config.origins = map[string]string{}
	faults := &multierror.Error{ErrorFormat: formatFaults}
	file := configFile(path, environ)
	settings := settingsOf(&config)
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return config, fmt.Errorf("configuration file %s: %w; name another with --config or %s", file, bare(err), ConfigVariable)
		}
		collect(faults, applyYAML(settings, config.origins, filepath.Base(file), data))
	}
	collect(faults, applyEnviron(settings, config.origins, environ))
	collect(faults, applyFlags(settings, config.origins, flags))
	unset := faultyKeys(faults)
	if err := config.absolutePaths(file); err != nil {
		return config, err
	}
	for _, fault := range config.check() {
		if !unset[fault.Key] { // a value that could not be read is one fault, not two
			collect(faults, []Fault{fault})
		}
	}
	return config, faults.ErrorOrNil()
}

// configFile returns the path of the configuration file; empty = none.
func configFile(path string, environ []string) string {
	if path != "" {
		return path
	}
	value, _ := lookup(environ, ConfigVariable)
	return value
}

// lookup finds a variable; the last of several counts, as in a shell.
func lookup(environ []string, name string) (value string, found bool) {
	for _, entry := range environ {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value, found = v, true
		}
	}
	return value, found
}

// bare takes the path off a file error whose text names it already.
func bare(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// Origin tells where a key's value came from: "attune.yaml:12", a variable, a
// flag, or "default".
func (c Config) Origin(key string) string {
	if origin, ok := c.origins[key]; ok {
		return origin
	}
	return "default"
}
