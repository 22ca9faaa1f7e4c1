package main

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"attune/gateway/key"
	"attune/gateway/pack"
	"attune/gateway/secret"
)

// Values of Config.Engine.
const (
	EngineDocker  = "docker"
	EngineProcess = "process"
)

// Special values of BuildConfig.CABundle.
const (
	CABundleAuto = "auto"
	CABundleNone = "none"
)

var (
	volumeName   = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`) // the engine's grammar
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	runtimeName  = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*$`)
	hostName     = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?$`)
	// credentials finds user or user:password in the URLs of a text.
	credentials = regexp.MustCompile(`://[^/\s?#]*@`)
)

// configCheck collects what is wrong with values that could be read.
type configCheck struct {
	config *Config
	faults []Fault
}

// check returns every fault of the values, in the order of the struct.
func (c *Config) check() []Fault {
	k := &configCheck{config: c}
	k.server()
	k.places()
	k.engine()
	k.build()
	k.limits()
	k.rest()
	k.calls()
	k.operations()
	return k.faults
}

func (k *configCheck) fault(key, format string, args ...any) {
	k.faults = append(k.faults, Fault{Key: key, Origin: k.config.Origin(key), Reason: fmt.Sprintf(format, args...)})
}

func (k *configCheck) server() {
	s := k.config.Server
	if net.ParseIP(s.Host) == nil && !hostName.MatchString(s.Host) {
		k.fault("server.host", "%q is no address to listen on: give one like 127.0.0.1, ::1 or 0.0.0.0", s.Host)
	}
	if s.Port < 0 || s.Port > 65535 {
		k.fault("server.port", "%d is not a port: give 1 to 65535, or 0 for any free one", s.Port)
	}
	k.size("server.body_limit", s.BodyLimit, KiB, GiB)
	k.duration("server.read_timeout", s.ReadTimeout, time.Second, time.Hour)
	k.duration("server.drain_timeout", s.DrainTimeout, 0, time.Hour)
	for _, ref := range s.Anonymous {
		if _, err := key.ParseScope(key.Invoke + ":" + ref); err != nil {
			k.fault("server.anonymous", `%q is no action: list pack.action, pack.*, or "*" for all`, ref)
		}
	}
	k.count("server.connections_per_ip", int64(s.ConnectionsPerIP), 0, 1_000_000)
}

// places checks directories and addresses of state.
func (k *configCheck) places() {
	c := k.config
	if c.PacksBaseDir == "" {
		k.fault("packs_base_dir", "is empty: name the directory that holds the packs")
	}
	if !c.EnvsInVolume() {
		if c.RuntimeEnvsDir == "/" {
			k.fault("runtime_envs_dir", "is the root of the file system: name a directory of its own")
		}
	} else if !volumeName.MatchString(c.RuntimeEnvsDir) {
		k.fault("runtime_envs_dir", "%q is neither a directory (with a slash) nor the name of a volume: write ./runtime_envs or runtime_envs", c.RuntimeEnvsDir)
	}
	if c.StateDir == "" && c.Redis.URL == "" {
		k.fault("state_dir", "is empty, and there is no redis.url: name a directory for the embedded database")
	}
	k.redis()
	k.secrets()
}

// secrets never shows a key.
func (k *configCheck) secrets() {
	s := k.config.Secrets
	if s.Key == "" {
		return
	}
	if !strings.HasPrefix(k.config.Origin("secrets.key"), variablePrefix) {
		k.fault("secrets.key", "stands in a file that is no place for it: put it into one of its own, and name that in secrets.key_file; or into the variable ATTUNE__SECRETS__KEY")
	}
	if s.KeyFile != "" {
		k.fault("secrets.key", "is set beside secrets.key_file: keep one of them")
	}
	if _, err := secret.ParseKeys(s.Key); err != nil {
		k.fault("secrets.key", "holds no keys that can be used: %v", err)
	}
}

// redis checks the form alone, and never shows the URL: it may hold a password.
func (k *configCheck) redis() {
	if k.config.Redis.URL == "" {
		return
	}
	parsed, err := url.Parse(k.config.Redis.URL)
	switch {
	case err != nil || !slices.Contains([]string{"redis", "rediss", "unix"}, parsed.Scheme):
		k.fault("redis.url", "is not the address of a Redis: write redis://[user:password@]host:port/0, rediss://… or unix:///path")
	case parsed.Scheme != "unix" && parsed.Hostname() == "":
		k.fault("redis.url", "has no host: write redis://[user:password@]host:port/0")
	case parsed.Scheme == "unix" && parsed.Path == "":
		k.fault("redis.url", "has no path: write unix:///run/redis/redis.sock")
	}
}

func (k *configCheck) engine() {
	c := k.config
	k.oneOf("engine", c.Engine, EngineDocker, EngineProcess)
	if c.Engine == EngineProcess && c.EnvsInVolume() {
		k.fault("runtime_envs_dir", "%q names a volume, but the engine \"process\" has none: give a directory, with a slash", c.RuntimeEnvsDir)
	}
	if host := c.Docker.Host; host != "" && !strings.HasPrefix(host, "unix:///") && !strings.HasPrefix(host, "tcp://") {
		k.fault("docker.host", "%q is no address of an engine: write unix:///var/run/docker.sock or tcp://host:2376, or leave it empty", host)
	}
	if name := c.Docker.Runtime; name != "" && !runtimeName.MatchString(name) {
		k.fault("docker.runtime", "%q is no name of an OCI runtime: write one that the engine has, like runsc, or leave it empty", name)
	}
}

func (k *configCheck) build() {
	b := k.config.Build
	if b.CABundle == "" {
		k.fault("build.ca_bundle", "is empty: write auto, none, or the path of a PEM file")
	}
	k.buildVars()
	k.indexes()
	k.size("build.cache_bytes", b.CacheBytes, 0, 1024*TiB)
	k.duration("build.share", b.Share, 0, 10_000*time.Hour)
	k.oneOf("build.network", b.Network, "outbound", "none")
	k.duration("build.timeout", b.Timeout, time.Second, 24*time.Hour)
	k.size("build.memory", b.Memory, 64*MiB, TiB)
	k.cores("build.cpu", b.CPU)
	k.count("build.concurrency", int64(b.Concurrency), 1, 256)
	k.count("build.queue", int64(b.Queue), 0, 100_000)
	k.duration("build.waiter", b.Waiter, 0, time.Hour)
	k.size("build.free_space", b.FreeSpace, 0, 1024*TiB)
	k.size("build.max_bytes", b.MaxBytes, MiB, 1024*TiB)
	k.count("build.max_files", b.MaxFiles, 100, 100_000_000)
	k.duration("build.lease", b.Lease, 300*time.Millisecond, time.Hour)
	k.duration("build.poll", b.Poll, time.Millisecond, time.Minute)
	k.duration("build.max_poll", b.MaxPoll, time.Duration(b.Poll), time.Minute)
	k.count("build.keep", int64(b.Keep), 1, 16)
	k.duration("build.prune_after", b.PruneAfter, 0, 10_000*time.Hour)
}

// buildVars never shows a value: it may hold a password.
func (k *configCheck) buildVars() {
	vars := k.config.Build.Vars
	for _, name := range sortedKeys(vars) {
		switch {
		case !variableName.MatchString(name):
			k.fault("build.vars", "%q is no name of a variable: use letters, digits and _", name)
		case strings.HasPrefix(name, "ATTUNE_"):
			k.fault("build.vars", "%s is reserved: names that begin with ATTUNE_ are the gateway's own", name)
		case credentials.MatchString(vars[name]):
			k.fault("build.vars", "%s holds a URL with credentials, which everybody who may inspect the engine's containers could read: use build.indexes with build.index_credentials, or a mirror that needs none", name)
		case strings.ContainsAny(vars[name], "\x00\r\n"):
			k.fault("build.vars", "%s holds a line break or a NUL: write it on one line", name)
		}
	}
}

func (k *configCheck) limits() {
	l := k.config.Limits
	k.size("limits.memory", l.Memory, 16*MiB, 1024*TiB)
	k.cores("limits.cpu", l.CPU)
	k.count("limits.pids", l.Pids, 16, 4_000_000)
	k.size("limits.tmp", l.Tmp, MiB, 1024*TiB)
	if l.Tmp >= l.Memory {
		k.fault("limits.tmp", "%s leaves no memory: /tmp is part of limits.memory, %s; give less", l.Tmp, l.Memory)
	}
	k.count("limits.files", l.Files, 64, 1_000_000)
	k.duration("limits.max_timeout", l.MaxTimeout, pack.MinTimeout, pack.MaxTimeout)
	k.size("limits.result", l.Result, KiB, GiB)
	k.size("limits.log_bytes", l.LogBytes, KiB, GiB)
}

func (k *configCheck) rest() {
	c := k.config
	k.count("pool.max_instances", int64(c.Pool.MaxInstances), 0, 100_000)
	if _, err := c.Pool.memory(); err != nil {
		k.fault("pool.memory", "%v; or write auto", err)
	}
	if c.Pool.CPU < 0 {
		k.fault("pool.cpu", "%v is out of range: give a number of cores, or 0 for no bound", c.Pool.CPU)
	}
	k.count("pool.per_pool", int64(c.Pool.PerPool), 1, 100_000)
	if c.Pool.MaxInstances > 0 && c.Pool.PerPool > c.Pool.MaxInstances {
		k.fault("pool.per_pool", "%d is more than pool.max_instances, %d: give at most that", c.Pool.PerPool, c.Pool.MaxInstances)
	}
	k.duration("pool.idle_timeout", c.Pool.IdleTimeout, time.Second, 7*24*time.Hour)
	k.count("pool.queue", int64(c.Pool.Queue), 0, 1_000_000)
	for _, ref := range c.Network.Outbound {
		if _, err := pack.ParseRef(ref); err != nil && ref != "*" {
			k.fault("network.outbound", `%q is no pack: list refs like python_example, or "*" for all`, ref)
		}
	}
	k.count("executions.keep", int64(c.Executions.Keep), 1, 10_000_000)
	k.duration("executions.max_age", c.Executions.MaxAge, time.Minute, 10*365*24*time.Hour)
	k.count("hooks.keep", int64(c.Hooks.Keep), 1, 100_000)
	k.duration("hooks.max_age", c.Hooks.MaxAge, time.Minute, 10*365*24*time.Hour)
	k.size("hooks.body", c.Hooks.Body, 0, 6*MiB)
	k.queue()
	k.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	k.oneOf("log.format", c.Log.Format, "auto", "human", "json")
}

func (k *configCheck) queue() {
	q := k.config.Queue
	k.count("queue.concurrency", int64(q.Concurrency), 1, 10_000)
	k.count("queue.per_key", int64(q.PerKey), 0, 100_000)
	k.count("queue.max", int64(q.Max), 1, 10_000_000)
	k.duration("queue.max_age", q.MaxAge, time.Minute, 10_000*time.Hour)
	k.duration("queue.lease", q.Lease, time.Second, time.Hour)
	k.duration("queue.poll", q.Poll, time.Millisecond, time.Minute)
}

func (k *configCheck) oneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		last := len(allowed) - 1
		k.fault(key, "%q is unknown: write %s or %s", value, strings.Join(allowed[:last], ", "), allowed[last])
	}
}

func (k *configCheck) size(key string, value, least, most Bytes) {
	if value < least || value > most {
		k.fault(key, "%s is out of range: give %s to %s", value, least, most)
	}
}

func (k *configCheck) duration(key string, value Duration, least, most time.Duration) {
	if d := time.Duration(value); d < least || d > most {
		k.fault(key, "%s is out of range: give %s to %s", value, Duration(least), Duration(most))
	}
}

func (k *configCheck) cores(key string, value float64) {
	if value < 0.01 || value > 1024 {
		k.fault(key, "%v is out of range: give 0.01 to 1024 cores", value)
	}
}

func (k *configCheck) count(key string, value, least, most int64) {
	if value < least || value > most {
		k.fault(key, "%d is out of range: give %d to %d", value, least, most)
	}
}

// EnvsInVolume tells whether runtime_envs_dir names a volume of the engine.
func (c Config) EnvsInVolume() bool { return !strings.Contains(c.RuntimeEnvsDir, "/") }

// absolutePaths resolves relative paths: those of the file against its
// directory, the others against the working directory.
func (c *Config) absolutePaths(file string) error {
	paths := map[string]*string{
		"packs_base_dir": &c.PacksBaseDir, "runtimes_dir": &c.RuntimesDir, "state_dir": &c.StateDir,
		"secrets.key_file": &c.Secrets.KeyFile, "callbacks.secret_file": &c.Callbacks.SecretFile,
	}
	if !c.EnvsInVolume() {
		paths["runtime_envs_dir"] = &c.RuntimeEnvsDir
	}
	if bundle := c.Build.CABundle; bundle != CABundleAuto && bundle != CABundleNone {
		paths["build.ca_bundle"] = &c.Build.CABundle
	}
	for name, place := range c.Build.IndexCredentials {
		if !strings.HasPrefix(place, variableMark) {
			path, err := c.absolute(file, "build.index_credentials", place)
			if err != nil {
				return err
			}
			c.Build.IndexCredentials[name] = path
		}
	}
	for key, path := range paths {
		absolute, err := c.absolute(file, key, *path)
		if err != nil {
			return err
		}
		*path = absolute
	}
	return nil
}

// absolute resolves the path that is a key's value.
func (c *Config) absolute(file, key, path string) (string, error) {
	if path == "" || filepath.IsAbs(path) {
		return path, nil
	}
	if file != "" && strings.HasPrefix(c.Origin(key), filepath.Base(file)+":") {
		path = filepath.Join(filepath.Dir(file), path)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("working directory: %w", err)
	}
	return absolute, nil
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
