package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"attune/envcache"
	"attune/gateway/api"
	"attune/gateway/callback"
	"attune/gateway/delivery"
	"attune/gateway/execution"
	"attune/gateway/hook"
	"attune/gateway/idempotency"
	"attune/gateway/key"
	"attune/gateway/limit"
	"attune/gateway/pack"
	"attune/gateway/queue"
	"attune/gateway/redis"
	"attune/gateway/schedule"
	"attune/gateway/secret"
	"attune/gateway/sqlite"
	"attune/gateway/trace"
	"attune/runtimes"
	"attune/runtimes/container"
)

// killGrace is what an action gets between SIGTERM and SIGKILL.
const killGrace = time.Second

// gateway is the program's parts, put together. Nothing of it runs before
// serve; close gives everything back.
type gateway struct {
	config Config
	log    *slog.Logger
	id     string
	info   container.Info
	engine container.Engine
	// containers is the engine with its calls counted: what all parts use.
	containers container.Engine
	measures   *measures     // nil = nothing is counted
	tracer     *trace.Tracer // nil = nothing is drawn
	layout     runtimes.Layout
	registry   *runtimes.Registry
	leases     *envcache.FileLeaser
	redis      *redis.Client // nil without redis.url
	store      execution.Store
	jobs       queue.Store
	hooks      hook.Store
	times      schedule.Store
	vault      *secret.Vault
	keys       *key.Keeper
	rates      limit.Limiter
	repeats    *idempotency.Keys // of calls that may be repeated
	courier    *callback.Courier

	packs     *execution.Packs
	images    *execution.Images
	cache     *envcache.Cache
	inventory *execution.Inventory
	provision *execution.Provisioner
	recorder  *execution.Recorder
	pools     *runtimes.Pools
	runner    *execution.Runner
	queue     *queue.Queue
	receiver  *delivery.Receiver
	schedules *schedule.Clockwork
	warmth    *execution.Warmth
	server    *api.Server
	isolation isolation

	closers []closer // in the order of assembly
}

// closer is a part that must be given back.
type closer struct {
	name  string
	close func() error
}

func (g *gateway) onClose(name string, f func() error) {
	g.closers = append(g.closers, closer{name, f})
}

// assemble builds a gateway from its configuration. On an error nothing is left.
func assemble(ctx context.Context, config Config, environ []string, events func(envcache.Event), log *slog.Logger) (_ *gateway, err error) {
	g := &gateway{config: config, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
		}
	}()
	if g.registry, err = config.registry(); err != nil {
		return nil, err
	}
	if g.packs, err = execution.LoadPacks(config.PacksBaseDir, g.registry); err != nil {
		return nil, fmt.Errorf("packs_base_dir (%s): %w", config.Origin("packs_base_dir"), err)
	}
	if err = g.openEngine(ctx); err != nil {
		return nil, err
	}
	root, err := g.environmentsRoot(ctx)
	if err != nil {
		return nil, err
	}
	if err = g.takeIdentity(ctx, root); err != nil {
		return nil, err
	}
	if err = g.openMeasures(); err != nil {
		return nil, err
	}
	if err = g.openState(ctx); err != nil {
		return nil, err
	}
	if err = g.buildParts(root, environ, events); err != nil {
		return nil, err
	}
	if err = g.removeLeftovers(ctx, root); err != nil {
		return nil, err
	}
	return g, g.proveIsolation(ctx)
}

// openState opens what keeps executions, secrets and API keys: Redis where it is
// configured, and the embedded database otherwise.
func (g *gateway) openState(ctx context.Context) error {
	if url := g.config.Redis.URL; url != "" {
		client, err := redis.New(url)
		if err != nil {
			return err
		}
		g.onClose("redis", client.Close)
		g.hooks = client.Hooks()
		g.redis, g.store, g.vault = client, client.Store(), &secret.Vault{Store: client.Secrets()}
		g.jobs = client.Jobs()
		if err := g.openAPIKeys(ctx, client.Keys(), limit.NewShared(client.Limiter(), g.log)); err != nil {
			return err
		}
		g.times = client.Schedules()
		g.repeats = g.idempotencyKeys(client.Idempotency())
		return errors.Join(g.openKeys(), g.openCourier(client.Callbacks()))
	}
	store, err := sqlite.Open(filepath.Join(g.config.StateDir, databaseFile))
	if err != nil {
		return fmt.Errorf("state_dir (%s): %w", g.config.Origin("state_dir"), err)
	}
	g.onClose("state", store.Close)
	g.store, g.jobs, g.vault = store, store.Jobs(), &secret.Vault{Store: store.Secrets()}
	g.hooks = store.Hooks()
	if err := g.openAPIKeys(ctx, store.Keys(), limit.NewMemory()); err != nil {
		return err
	}
	g.times = store.Schedules()
	g.repeats = g.idempotencyKeys(store.Idempotency())
	return errors.Join(g.openKeys(), g.openCourier(store.Callbacks()))
}

// buildParts makes everything that a call passes through.
func (g *gateway) buildParts(root string, environ []string, events func(envcache.Event)) error {
	box, err := g.box(root, environ)
	if err != nil {
		return err
	}
	built := func(e envcache.Event) {
		events(e)
		g.built(e)
		g.warmth.Event(e)
	}
	secrets, err := g.secretsDir(root)
	if err != nil {
		return fmt.Errorf("build.index_credentials (%s): %w: %s", g.config.Origin("build.index_credentials"), err, memoryCure)
	}
	if g.cache, err = g.newCache(root, secrets, box, environ, built); err != nil {
		return err
	}
	g.onClose("environments", g.cache.Close)
	memory, err := g.config.Pool.memory()
	if err != nil {
		return err
	}
	g.pools = runtimes.NewPools(g.containers, box, runtimes.PoolLimits{
		Total: g.config.Pool.MaxInstances, Memory: memory, CPU: g.config.Pool.CPU, PerPool: g.config.Pool.PerPool,
		Queue: g.config.Pool.Queue, IdleTimeout: time.Duration(g.config.Pool.IdleTimeout),
	}, g.log)
	g.onClose("instances", g.pools.Close)
	g.images = execution.NewImages(g.containers, g.admit)
	g.inventory = &execution.Inventory{Catalog: g.packs.Catalog, Cache: g.cache, Images: g.images, Logger: g.log}
	g.provision = &execution.Provisioner{Packs: g.packs, Inventory: g.inventory, Ahead: g.config.Build.Ahead}
	g.packs.OnChange(g.packsChanged)
	g.recorder = execution.NewRecorder(g.store, execution.Retention{
		MaxAge: time.Duration(g.config.Executions.MaxAge), Keep: g.config.Executions.Keep,
		Gateway: g.id, Longest: time.Duration(g.config.Limits.MaxTimeout),
	}, g.log)
	limits := g.config.Limits
	g.runner = execution.NewRunner(execution.Options{
		Catalog: g.packs.Catalog, Environments: g.cache, Instances: g.pools, Images: g.images,
		Box: box, Recorder: g.recorder, Secrets: g.vault, Tracer: g.tracer, GatewayID: g.id, Outbound: g.outbound, Log: g.log,
		Limits: execution.Limits{
			MaxTimeout: time.Duration(limits.MaxTimeout), Result: int64(limits.Result),
			Log: int64(limits.LogBytes), Grace: killGrace,
			Defaults: runtimes.Limits{Memory: int64(limits.Memory), CPU: limits.CPU, Pids: limits.Pids, Tmp: int64(limits.Tmp)},
		},
	})
	g.queue = g.newQueue()
	if g.receiver, err = g.newReceiver(); err != nil {
		return err
	}
	g.schedules = g.newSchedules()
	g.warmth = execution.NewWarmth(g.runner, g.cache, g.pools.Keep)
	if g.server, err = g.newServer(); err != nil {
		return err
	}
	g.observe()
	return nil
}

func (g *gateway) newCache(root, secrets string, box *runtimes.Box, environ []string, events func(envcache.Event)) (*envcache.Cache, error) {
	build := g.config.Build
	indexes, err := build.readIndexes(environ)
	if err != nil {
		return nil, fmt.Errorf("build.index_credentials (%s): %w", g.config.Origin("build.index_credentials"), err)
	}
	options := envcache.Options{
		Root: root, Layout: g.layout, Engine: g.containers, GatewayID: g.id,
		AgentDir: box.AgentDir, CADir: box.CADir, Vars: build.Vars, Indexes: indexes, Network: container.Network(build.Network),
		Limits: envcache.Limits{
			Concurrency: build.Concurrency, Queue: build.Queue, Timeout: time.Duration(build.Timeout),
			Waiter: time.Duration(build.Waiter), Lease: time.Duration(build.Lease),
			PollMin: time.Duration(build.Poll), PollMax: time.Duration(build.MaxPoll),
			FreeSpace: int64(build.FreeSpace), MaxBytes: int64(build.MaxBytes), MaxFiles: build.MaxFiles,
			Memory: int64(build.Memory), CPU: build.CPU, Keep: build.Keep, PruneAfter: time.Duration(build.PruneAfter),
			CacheBytes: int64(build.CacheBytes), Share: time.Duration(build.Share),
		},
		SecretsDir: secrets, Log: g.log, Events: events,
	}
	options.Local, options.Shared = g.leasers()
	if g.redis != nil {
		options.References = g.redis.References(g.id, 3*options.Limits.Lease)
	}
	return envcache.New(options)
}

func (g *gateway) newQueue() *queue.Queue {
	q := g.config.Queue
	return queue.New(queue.Options{
		Store: g.jobs, Records: g.recorder, Runner: g.runner, Catalog: g.packs.Catalog, Secrets: g.vault, Gateway: g.id, Log: g.log, Ended: g.courier.Ended,
		Limits: queue.Limits{
			Concurrency: q.Concurrency, PerKey: q.PerKey, Max: q.Max, MaxAge: time.Duration(q.MaxAge),
			Lease: time.Duration(q.Lease), Poll: time.Duration(q.Poll), Drain: time.Duration(g.config.Server.DrainTimeout),
		},
	})
}

func (g *gateway) newServer() (*api.Server, error) {
	server := g.config.Server
	connections := server.ConnectionsPerIP
	if connections == 0 {
		connections = -1 // the api's word for "not bounded"
	}
	options := api.Options{
		Invoker: g.runner, Catalog: g.packs.Catalog, Environments: g.inventory, Registrar: g.provision, Store: g.recorder,
		Secrets: g.vault, Queue: g.queue, Schedules: g.schedules, Callbacks: g.callbacks(), Idempotency: g.repeats, Keys: g.keys, RequireKeys: server.RequireKeys, Anonymous: g.config.anonymous(), Limiter: g.rates,
		Hooks: g.receiver, Health: g, Tracer: g.tracer, NewID: execution.NewID, Logger: g.log, Version: version,
		Limits: api.Limits{
			Body: int(server.BodyLimit), ReadTimeout: time.Duration(server.ReadTimeout),
			WriteTimeout:     time.Duration(g.config.Limits.MaxTimeout) + time.Minute,
			ConnectionsPerIP: connections,
			Drain:            max(time.Duration(server.DrainTimeout), time.Nanosecond), // 0 is "at once" here, "the default" there
		},
	}
	if g.measures != nil {
		options.Metrics = g.measures
	}
	return api.New(options)
}

// box installs the agent and the certificate bundle on the volume, where
// instances and builders find them.
func (g *gateway) box(root string, environ []string) (*runtimes.Box, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	box := &runtimes.Box{
		Layout: g.layout, GatewayID: g.id, RunDir: filepath.Join(root, ".run", g.id),
		OCIRuntime: g.config.Docker.Runtime, NoFile: g.config.Limits.Files,
	}
	agent := filepath.Join(filepath.Dir(program), runtimes.AgentFile)
	if box.AgentDir, err = runtimes.InstallPrograms(filepath.Join(root, ".bin"), agent, g.registry.All()); err != nil {
		return nil, fmt.Errorf("install the agent, which belongs beside this program: %w", err)
	}
	if err := runtimes.InstallCommands(box.AgentDir); err != nil {
		return nil, fmt.Errorf("install the commands for actions: %w", err)
	}
	bundle := g.config.Build.FindCABundle(environ)
	if bundle == "" {
		return box, nil
	}
	if _, err := countCertificates(bundle); err != nil {
		return nil, fmt.Errorf("build.ca_bundle (%s): %s: %w", g.config.Origin("build.ca_bundle"), bundle, err)
	}
	box.CADir, err = runtimes.InstallFile(filepath.Join(root, ".ca"), bundle, runtimes.CAFile, 0o444)
	return box, err
}

// outbound tells whether the operator lets a pack reach the network.
func (g *gateway) outbound(ref pack.Ref) bool {
	list := g.config.Network.Outbound
	return slices.Contains(list, "*") || slices.Contains(list, string(ref))
}
