package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"attune/envcache"
	"attune/runtimes"
	"attune/runtimes/container/docker"
	"attune/runtimes/container/process"
)

// engineTimeout bounds the first words with an engine.
const engineTimeout = 10 * time.Second

// openEngine connects to the configured engine.
func (g *gateway) openEngine(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	switch g.config.Engine {
	case EngineProcess:
		g.engine = process.New(process.Options{Logger: g.log})
	default:
		engine, err := docker.New(ctx, docker.Options{Host: g.config.Docker.Host, Logger: g.log})
		if err != nil {
			return fmt.Errorf("%w; see attune doctor", err)
		}
		g.engine = engine
	}
	g.containers = g.engine // until they are counted
	g.onClose("engine", g.engine.Close)
	var err error
	if g.info, err = g.engine.Info(ctx); err != nil {
		return err
	}
	g.layout = runtimes.Layout{Isolated: g.info.Isolated}
	return nil
}

// environmentsRoot is runtime_envs_dir as a directory; the name of a volume is
// resolved by the engine.
func (g *gateway) environmentsRoot(ctx context.Context) (string, error) {
	root := g.config.RuntimeEnvsDir
	if g.config.EnvsInVolume() {
		engine, ok := g.engine.(*docker.Engine)
		if !ok {
			return "", fmt.Errorf("runtime_envs_dir (%s) names a volume, and engine %s has none: name a directory",
				g.config.Origin("runtime_envs_dir"), g.info.Name)
		}
		return engine.VolumePath(ctx, root)
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", fmt.Errorf("runtime_envs_dir (%s): %w", g.config.Origin("runtime_envs_dir"), err)
	}
	return filepath.EvalSymlinks(root)
}

// takeIdentity finds out which gateway this is. The ID is kept in state_dir, so
// that a gateway knows the containers of its former life as its own; its lock
// on the volume tells others that it lives.
func (g *gateway) takeIdentity(ctx context.Context, root string) error {
	id, err := identity(filepath.Join(g.config.StateDir, "gateway-id"))
	if err != nil {
		return fmt.Errorf("state_dir (%s): %w", g.config.Origin("state_dir"), err)
	}
	g.id = id
	g.leases = envcache.NewFileLeaser(filepath.Join(root, ".locks"))
	lease, err := g.leases.Acquire(ctx, gatewayLock(id), 0)
	if errors.Is(err, envcache.ErrLeaseTaken) {
		return fmt.Errorf("another gateway runs with state_dir %s: stop it, or give each its own", g.config.StateDir)
	}
	if err != nil {
		return err
	}
	g.onClose("gateway lock", func() error { return lease.Release(context.Background()) })
	return nil
}

func gatewayLock(id string) string { return "gateway." + id }

// identity reads the ID in a file, which is made with a new one if need be.
func identity(path string) (string, error) {
	content, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(content)); err == nil && len(id) == 16 {
		return id, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	random := make([]byte, 8)
	rand.Read(random) // never fails: it crashes the program instead
	id := hex.EncodeToString(random)
	return id, os.WriteFile(path, []byte(id+"\n"), 0o600)
}

// removeLeftovers removes the containers of this gateway's former life and of
// others that have died: those whose lock on this volume nobody holds.
func (g *gateway) removeLeftovers(ctx context.Context, root string) error {
	dead := map[string]bool{g.id: true}
	gone := func(id string) bool {
		if known, ok := dead[id]; ok {
			return known
		}
		dead[id] = g.lockIsFree(ctx, root, id)
		return dead[id]
	}
	removed, err := runtimes.RemoveLeftovers(ctx, g.containers, gone)
	if removed > 0 {
		g.log.Info("containers of a dead gateway removed", "count", removed)
	}
	return errors.Join(err, g.removeRunDirs(ctx, root))
}

// lockIsFree tells whether a gateway that has worked on this volume is dead. One
// that never has is somebody else's matter.
func (g *gateway) lockIsFree(ctx context.Context, root, id string) bool {
	if _, err := os.Stat(filepath.Join(root, ".locks", gatewayLock(id)+".lock")); err != nil {
		return false
	}
	lease, err := g.leases.Acquire(ctx, gatewayLock(id), 0)
	if err != nil {
		return false
	}
	if err := lease.Release(ctx); err != nil {
		g.log.Warn("lock of a dead gateway could not be released", "gateway", id, "error", err)
	}
	return true
}

// removeRunDirs deletes the control sockets' directories of dead gateways.
func (g *gateway) removeRunDirs(ctx context.Context, root string) error {
	entries, err := os.ReadDir(filepath.Join(root, ".run"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if id := entry.Name(); id == g.id || g.lockIsFree(ctx, root, id) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(root, ".run", id)))
		}
	}
	return err
}
