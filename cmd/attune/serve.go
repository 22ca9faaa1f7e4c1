package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-multierror"
	"golang.org/x/sync/errgroup"

	"attune/gateway/pack"
)

// Run serves until the signal to stop, then drains and removes every instance.
func (c *ServeCmd) Run(ctx context.Context, p *program) (err error) {
	config, err := c.load(ctx, p)
	if err != nil {
		return err
	}
	if c.Profile != "" {
		stop, failed := profile(c.Profile)
		if failed != nil {
			return exitError{exitGateway, failed}
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	display, log := p.console(config.Log)
	defer display.Close()
	gateway, err := assemble(ctx, config, p.Environ, display.Show, log)
	if err != nil {
		return exitError{exitGateway, err}
	}
	if err := gateway.serve(ctx); err != nil {
		return exitError{exitGateway, err}
	}
	return nil
}

// serve runs an assembled gateway and closes all of it, whatever happens.
func (g *gateway) serve(ctx context.Context) error {
	address := net.JoinHostPort(g.config.Server.Host, strconv.Itoa(g.config.Server.Port))
	if err := g.server.Listen(address); err != nil {
		return errors.Join(err, g.close())
	}
	admin, err := g.openAdmin(ctx)
	if err != nil {
		return errors.Join(err, g.server.Shutdown(ctx), g.close())
	}
	// Before it says that it is ready: by default the signal would end it.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	g.greet()
	// The parts that record and clean up outlive the listener: calls that drain
	// are still recorded.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var parts errgroup.Group
	parts.Go(func() error { return g.recorder.Run(background) })
	parts.Go(func() error { return g.keys.Run(background) })
	parts.Go(func() error { return g.cache.Run(background) })
	parts.Go(func() error { return g.warmth.Run(background) })
	parts.Go(func() error { return g.receiver.Run(background) })
	parts.Go(func() error { return g.reloadOn(background, hangup) })
	if admin != nil {
		parts.Go(func() error { return admin.run(background) })
	}
	if g.config.Watch {
		parts.Go(func() error { return g.watchPacks(background) })
	}
	parts.Go(func() error { g.reseal(background); return nil })
	if len(g.courier.Secrets) > 0 {
		parts.Go(func() error { return g.courier.Run(background) })
	}
	g.provision.Start(background)
	var jobs errgroup.Group // they end with the calls, and before what they need
	jobs.Go(func() error { return g.queue.Run(ctx) })
	jobs.Go(func() error { return g.schedules.Run(ctx) })
	err = g.server.Serve(ctx)
	g.log.Info("stopping")
	err = errors.Join(err, jobs.Wait())
	g.drain()
	stop()
	return errors.Join(err, parts.Wait(), g.close())
}

// greet says where the gateway listens and what it serves.
func (g *gateway) greet() {
	catalog := g.packs.Catalog()
	for _, broken := range catalog.Broken() {
		g.log.Error("pack has faults and is not served", "pack", broken.Name, "faults", broken.Err.Error())
	}
	g.warn(catalog)
	g.log.Info("ready", "url", "http://"+g.server.Addr().String(), "engine", g.info.Name+" "+g.info.Version,
		"packs", len(catalog.Packs()), "actions", len(catalog.Actions()), "environments", g.cache.Root)
}

// warn tells what packs should change, though they are served.
func (g *gateway) warn(catalog *pack.Catalog) {
	for _, p := range catalog.Packs() {
		for _, warning := range p.Warnings {
			g.log.Warn("pack should be changed", "pack", p.Ref, "fault", warning.Error())
		}
	}
}

// drain ends what still runs after the listener has given up on it.
func (g *gateway) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	g.runner.Drain(ctx)
}

// close gives back all there is, in the reverse order of assembly, and collects
// every failure.
func (g *gateway) close() error {
	var all *multierror.Error
	for i := len(g.closers) - 1; i >= 0; i-- {
		if err := g.closers[i].close(); err != nil {
			all = multierror.Append(all, fmt.Errorf("close %s: %w", g.closers[i].name, err))
		}
	}
	g.closers = nil
	return all.ErrorOrNil()
}

// reloadOn reads the packs again with each signal.
func (g *gateway) reloadOn(ctx context.Context, hangup <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
			g.reload()
		}
	}
}

// reload reads the packs again. A reload is also when a runtime's image is
// looked up anew, and when the instances go that hold a directory which was
// replaced.
func (g *gateway) reload() {
	g.images.Refresh()
	if err := g.packs.Reload(); err != nil {
		g.log.Error("packs could not be read again; serving the ones from before", "error", err)
		return
	}
	g.log.Info("packs were read again", slog.Int("packs", len(g.packs.Catalog().Packs())))
}

// packsChanged follows a change of the catalog, however it came about.
func (g *gateway) packsChanged(before, after *pack.Catalog) {
	g.pools.Renew()
	g.warmth.Look()
	g.warn(after)
	g.receiver.Look(context.Background())
	if g.measures != nil {
		g.measures.forget(before, after)
	}
	g.provision.Changed(context.Background(), before, after)
}
