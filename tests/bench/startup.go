package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"attune/gateway/pack"
	"attune/runtimes"
)

// Runtimes in the place of the shipped ones, whose environments cost nothing to
// build: what is measured is the gateway's own part.
const (
	idlePython = `name: python
image: attune/python
interpreter: {binary: python3, file_extension: .py}
environment: {env_type: scripted, create_command: [/bin/true], verify_command: [/bin/true]}
dependencies: {manifest_file: requirements.txt, install_command: [/bin/true]}
`
	idleShell = `name: shell
image: attune/shell
interpreter: {binary: /bin/sh, file_extension: .sh}
environment: {env_type: scripted, create_command: [/bin/true], verify_command: [/bin/true]}
`
)

// manyPacks writes packs of one action each, half of them in Python.
func manyPacks(h home, n int) error {
	err := h.write(map[string]string{
		"runtimes/python/runtime.yaml": idlePython,
		"runtimes/shell/runtime.yaml":  idleShell,
	})
	for i := range n {
		ref, extension, script, more := fmt.Sprintf("pack%04d", i), ".sh", "cat\n", map[string]string(nil)
		if i%2 == 0 {
			extension, script = ".py", "import sys\nprint(sys.stdin.read())\n"
			more = map[string]string{"requirements.txt": "requests\nnumpy\n"}
		}
		err = errors.Join(err, h.pack(ref, extension, script, more))
	}
	return err
}

// startup are the measurements of one state of the environments.
type startup struct {
	ready, first, again, memory series
}

func newStartup() *startup {
	return &startup{series{unit: "ms"}, series{unit: "ms"}, series{unit: "ms"}, series{unit: "MiB"}}
}

// measureStartup starts a gateway on many packs, whose environments are first
// absent, then ready, and in turns on none at all.
func measureStartup(ctx context.Context, b *bench) (rows []row, err error) {
	load, none, absent, present := series{unit: "ms"}, newStartup(), newStartup(), newStartup()
	var full, empty home
	for _, h := range []struct {
		home  *home
		packs int
	}{{&full, b.packs}, {&empty, 0}} {
		if *h.home, err = newHome(); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, h.home.remove()) }()
		if err := manyPacks(*h.home, h.packs); err != nil {
			return nil, err
		}
	}
	for range b.n {
		if err := errors.Join(full.load(b.packs, &load), b.startOn(ctx, empty, "", 0, none), b.startOn(ctx, full, "absent", b.packs, absent)); err != nil {
			return nil, err
		}
		if err := os.RemoveAll(full.envs()); err != nil { // a status is remembered there, too
			return nil, err
		}
	}
	b.say("load %v, none %+v, absent %+v", load, *none, *absent)
	if err := b.buildAll(ctx, full); err != nil {
		return nil, err
	}
	for range b.n {
		if err := b.startOn(ctx, full, "ready", b.packs, present); err != nil {
			return nil, err
		}
	}
	b.say("ready %+v", *present)
	return startupRows(b.packs, load, none, absent, present), nil
}

func startupRows(n int, load series, none, absent, present *startup) []row {
	const no = "no packs"
	sum := func(s *startup) series {
		total := series{unit: "ms"}
		for i := range load.values {
			total.add(load.values[i] + s.first.values[i])
		}
		return total
	}
	return []row{
		{what: fmt.Sprintf("load the catalog of %d packs", n), got: load},
		{what: "from start to `/readyz`, environments absent", got: absent.ready, against: no, base: none.ready},
		{what: "from start to `/readyz`, environments ready", got: present.ready, against: no, base: none.ready},
		{what: "states of all, absent, first time", got: absent.first, against: no, base: none.first},
		{what: "states of all, absent, again", got: absent.again, against: no, base: none.again},
		{what: "states of all, ready, first time", got: present.first, against: no, base: none.first},
		{what: "states of all, ready, again", got: present.again, against: no, base: none.again},
		{what: "catalog and states together, absent", got: sum(absent), valueGoal: 1000},
		{what: "catalog and states together, ready", got: sum(present), valueGoal: 1000},
		{what: "resident memory, absent", got: absent.memory, against: no, base: none.memory},
		{what: "resident memory, ready", got: present.memory, against: no, base: none.memory},
	}
}

// load reads the catalog as the gateway does.
func (h home) load(packs int, took *series) error {
	registry, err := runtimes.Builtin().With(h.runtimes())
	if err != nil {
		return err
	}
	start := time.Now()
	catalog, err := pack.LoadCatalog(h.packs(), registry, pack.LoadOptions{})
	if err != nil {
		return err
	}
	took.took(time.Since(start))
	if len(catalog.Packs()) != packs {
		return fmt.Errorf("%d of %d packs are served: %v", len(catalog.Packs()), packs, catalog.Broken())
	}
	return nil
}

// startOn measures one start on a home, whose environments are in some state.
func (b *bench) startOn(ctx context.Context, h home, state string, packs int, s *startup) error {
	start := time.Now()
	g, err := b.start(ctx, h, "ATTUNE__ENGINE=process")
	if err != nil {
		return err
	}
	_, _, err = g.call(ctx, "GET", "/readyz")
	s.ready.took(time.Since(start))
	for _, took := range []*series{&s.first, &s.again} {
		if err == nil {
			start := time.Now()
			err = g.states(ctx, state, packs)
			took.took(time.Since(start))
		}
	}
	kib, _ := strconv.Atoi(strings.TrimSuffix(field(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid), "VmRSS", ""), " kB"))
	s.memory.add(float64(kib) / 1024)
	return errors.Join(err, g.stop())
}

// states asks for all environments and wants so many of a state.
func (g *gateway) states(ctx context.Context, state string, want int) error {
	_, body, err := g.call(ctx, "GET", "/api/v1/environments")
	if err != nil {
		return err
	}
	var page struct{ Items []struct{ State string } }
	if err := json.Unmarshal(body, &page); err != nil {
		return err
	}
	count := 0
	for _, item := range page.Items {
		if item.State == state {
			count++
		}
	}
	if count != want {
		return fmt.Errorf("%d of %d environments are %s: %w", count, want, state, errOtherState)
	}
	return nil
}

var errOtherState = errors.New("the others are not")

// buildAll has a gateway build every environment ahead of calls.
func (b *bench) buildAll(ctx context.Context, h home) error {
	start := time.Now()
	g, err := b.start(ctx, h, "ATTUNE__ENGINE=process", "ATTUNE__BUILD__AHEAD=true", "ATTUNE__BUILD__CONCURRENCY=8")
	if err != nil {
		return err
	}
	for {
		err := g.states(ctx, "ready", b.packs)
		if !errors.Is(err, errOtherState) {
			b.say("%d environments built in %s", b.packs, time.Since(start).Round(time.Millisecond))
			return errors.Join(err, g.stop())
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), g.stop())
		}
	}
}
