package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"golang.org/x/sys/unix"

	"attune/envcache"
	"attune/gateway/execution"
	"attune/gateway/redis"
	"attune/runtimes"
	"attune/runtimes/container"
)

// surgery is the doctor's own little gateway: an engine and the volume, without
// a lock, so that it works beside one that serves.
type surgery struct {
	gateway
	environ []string
}

// newProbes wires the checks that need the other packages.
func newProbes(environ []string) func(Config) Probes {
	return func(config Config) Probes {
		s := &surgery{gateway: gateway{config: config, log: slog.New(slog.DiscardHandler), id: "doctor-" + execution.NewID()}, environ: environ}
		return Probes{
			Engine: s.examineEngine, Registries: s.examineRegistries, Redis: s.examineRedis,
			Close: func() { s.close() }, //nolint:errcheck // a doctor has nothing to lose
		}
	}
}

// examineEngine connects as the gateway would and, on the way, fills in what
// the later probes need.
func (s *surgery) examineEngine(ctx context.Context) []Check {
	if err := s.openEngine(ctx); err != nil {
		return oneCheck("engine", CheckFail, err.Error(),
			"start the container engine (make run installs and starts one on Debian and Ubuntu), or set docker.host; a gateway on the host of a virtual machine engine can't share sockets with containers: use make up there")
	}
	checks := oneCheck("engine", CheckOK, s.info.Name+" "+s.info.Version, "")
	if s.info.APIVersion != "" {
		how := "binds directories of the volume's mountpoint"
		if s.info.SubpathMounts {
			how = "mounts subpaths of volumes"
		}
		checks = append(checks, Check{Name: "API version", Status: CheckOK, Detail: s.info.APIVersion + ", " + how})
	}
	if err := s.open(ctx); err != nil {
		return append(checks, Check{Name: "environments", Status: CheckFail, Detail: err.Error(),
			Cure: "correct runtime_envs_dir; make build puts the agent beside this program"})
	}
	checks = append(checks, s.examineVolumeSpace()...)
	checks = append(checks, s.examineCredentials()...)
	checks = append(checks, s.examineImages(ctx)...)
	return append(checks, s.examineIsolation(ctx)...)
}

// everyImage may be looked at: the doctor makes its own tests.
func everyImage(context.Context, container.Image) error { return nil }

// open prepares the volume.
func (s *surgery) open(ctx context.Context) error {
	var err error
	if s.registry, err = s.config.registry(); err != nil {
		return err
	}
	root, err := s.environmentsRoot(ctx)
	if err != nil {
		return err
	}
	s.leases = envcache.NewFileLeaser(filepath.Join(root, ".locks"))
	box, err := s.box(root, s.environ)
	if err != nil {
		return err
	}
	s.images = execution.NewImages(s.engine, everyImage)
	if s.cache, err = s.newCache(root, "", box, s.environ, nil); err != nil {
		return err
	}
	s.onClose("environments", s.cache.Close)
	return nil
}

// examineVolumeSpace reports the free space of a named volume; a directory's
// has a check of its own.
func (s *surgery) examineVolumeSpace() []Check {
	if !s.config.EnvsInVolume() {
		return nil
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(s.cache.Root, &stat); err != nil {
		return oneCheck("free space", CheckFail, err.Error(), "look at the engine's volume "+s.config.RuntimeEnvsDir)
	}
	free := Bytes(stat.Bavail * uint64(stat.Bsize))
	detail := fmt.Sprintf("%s in volume %s", readableSize(int64(free)), s.config.RuntimeEnvsDir)
	if free < s.config.Build.FreeSpace {
		return oneCheck("free space", CheckFail, detail, fmt.Sprintf("builds need %s: make space, or lower build.free_space", s.config.Build.FreeSpace))
	}
	return oneCheck("free space", CheckOK, detail, "")
}

// examineCredentials looks for memory in which those of indexes can be kept.
func (s *surgery) examineCredentials() []Check {
	const name = "index credentials"
	switch dir, err := s.secretsDir(s.cache.Root); {
	case err != nil:
		return oneCheck(name, CheckFail, err.Error(), memoryCure)
	case dir == "":
		return nil
	default:
		return oneCheck(name, CheckOK, "are kept in memory, at "+filepath.Dir(dir), "")
	}
}

func (s *surgery) examineImages(ctx context.Context) []Check {
	var checks []Check
	for _, rt := range s.registry.All() {
		name := "image of " + rt.Name
		image, err := s.images.Resolve(ctx, rt)
		switch {
		case err == nil:
			checks = append(checks, Check{Name: name, Status: CheckOK, Detail: rt.Image + " " + shortID(image.ID)})
		case errors.Is(err, container.ErrNoImage):
			checks = append(checks, Check{Name: name, Status: CheckWarn, Detail: "the engine has no image " + rt.Image,
				Cure: "make images builds the shipped ones; pull your own, or set image in its runtime.yaml"})
		default:
			checks = append(checks, Check{Name: name, Status: CheckFail, Detail: err.Error(), Cure: "choose another image in its runtime.yaml"})
		}
	}
	return checks
}

// examineIsolation proves with a container that it sees its own directory of
// the volume and nobody else's.
func (s *surgery) examineIsolation(ctx context.Context) []Check {
	const name = "volume isolation"
	if !s.info.Isolated {
		return oneCheck(name, CheckWarn, "engine "+s.info.Name+" isolates nothing", "use engine docker for anything but development")
	}
	rt, ok := s.registry.ByName("shell")
	if !ok {
		return nil
	}
	image, err := s.images.Resolve(ctx, rt)
	if err != nil {
		return oneCheck(name, CheckWarn, "not tested without the image "+rt.Image, "make images")
	}
	if err := s.cache.SelfTest(ctx, image); err != nil {
		return oneCheck(name, CheckFail, err.Error(), "the gateway does not serve with such an engine; report its version")
	}
	return oneCheck(name, CheckOK, "a container sees its own environment and no other", "")
}

// examineRegistries asks each runtime's package index, from where builders ask.
func (s *surgery) examineRegistries(ctx context.Context) []Check {
	if s.cache == nil || !s.info.Isolated {
		return nil
	}
	var checks []Check
	for _, rt := range s.registry.All() {
		if len(rt.Dependencies.PingCommand) == 0 {
			continue
		}
		checks = append(checks, s.examineRegistry(ctx, rt))
	}
	return checks
}

func (s *surgery) examineRegistry(ctx context.Context, rt *runtimes.Runtime) Check {
	check := Check{Name: "registry of " + rt.Name, Status: CheckOK, Detail: "answers builders"}
	image, err := s.images.Resolve(ctx, rt)
	if err != nil {
		check.Status, check.Detail, check.Cure = CheckWarn, "not tested without the image "+rt.Image, "make images"
		return check
	}
	if err := s.cache.Ping(ctx, rt, image); err != nil {
		check.Status, check.Detail = CheckWarn, err.Error()
		check.Cure = "builders need a package index: set a proxy or a mirror in build.vars, and build.ca_bundle behind a proxy that has its own authority"
	}
	return check
}

func (s *surgery) examineRedis(ctx context.Context) []Check {
	client, err := redis.Open(ctx, s.config.Redis.URL)
	if err != nil {
		return oneCheck("redis", CheckFail, err.Error(), "start Redis, or correct redis.url")
	}
	defer client.Close()
	return oneCheck("redis", CheckOK, "answers", "")
}

// shortID is how people see an image's ID.
func shortID(id string) string {
	const algorithm, digits = len("sha256:"), 12
	if len(id) < algorithm+digits {
		return id
	}
	return id[algorithm : algorithm+digits]
}
