package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"attune/runtimes/container"
)

// Sizes of what is measured.
const (
	restPacks = 100
	openCalls = 1000
	warmPacks = 200
)

// waitScript sleeps as long as its caller says.
var waitScript = script{".sh", "IFS= read -r parameters\nsleep \"$(expr \"$parameters\" : '.*:\\([0-9]*\\)}')\"\necho '{}'\n"}

// measureMemory measures what the gateway and its instances hold, and whether
// they hold it.
func measureMemory(ctx context.Context, b *bench) ([]row, error) {
	rest, each := series{unit: "MiB"}, series{unit: "KiB"}
	agent, python := series{unit: "MiB"}, series{unit: "MiB"}
	var answered series
	for range b.n {
		err := errors.Join(
			b.atRest(ctx, &rest),
			b.waiting(ctx, &each, &answered),
			b.idle(ctx, &agent, &python))
		if err != nil {
			return nil, err
		}
		b.say("at rest %v, per waiting call %v, agent %v, idle Python %v", rest, each, agent, python)
	}
	rows := []row{
		{what: fmt.Sprintf("gateway at rest with %d packs, resident", restPacks), got: rest, valueGoal: 40},
		{what: fmt.Sprintf("gateway, more for each of %d calls that wait, resident", openCalls), got: each, valueGoal: 20},
		{what: fmt.Sprintf("%d calls open on one action: answered", openCalls), got: answered, valueLeast: openCalls},
		{what: "agent of an instance, resident", got: agent, valueGoal: 6},
		{what: "idle Python instance, its container without page cache", got: python, valueGoal: 25},
	}
	warm, err := b.manyWarm(ctx)
	return append(rows, warm...), err
}

// memory is the resident set of a gateway.
func (g *gateway) memory() float64 { return resident(g.cmd.Process.Pid) }

// resident is a process's resident set in MiB; 0 = there is no such process here.
func resident(pid int) float64 {
	kib, _ := strconv.Atoi(strings.TrimSuffix(field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS", ""), " kB"))
	return float64(kib) / 1024
}

// atRest starts a gateway on many packs and lets it be.
func (b *bench) atRest(ctx context.Context, got *series) error {
	return b.with(ctx, func(h home) error { return manyPacks(h, restPacks) }, func(g *gateway) error {
		if _, _, err := g.call(ctx, "GET", "/api/v1/environments"); err != nil {
			return err
		}
		if err := pauseFor(ctx, 3*time.Second); err != nil {
			return err
		}
		got.add(g.memory())
		return nil
	})
}

// waiting opens a thousand calls of one action: the first of them occupy its
// instances for some seconds, and the others wait.
func (b *bench) waiting(ctx context.Context, each, answered *series) error {
	const busy = 8 // pool.per_pool
	prepare := func(h home) error { return h.pack("wait", waitScript.extension, waitScript.code, nil) }
	return b.with(ctx, prepare, func(g *gateway) error {
		url := g.url + "/invoke/wait.run"
		var warm, calls errgroup.Group
		for range busy {
			warm.Go(func() error { return callOnce(url, `{"seconds":1}`) })
		}
		if err := warm.Wait(); err != nil {
			return err
		}
		before := g.memory()
		open := func(seconds int) {
			calls.Go(func() error { return callOnce(url, fmt.Sprintf(`{"seconds":%d}`, seconds)) })
		}
		for range busy {
			open(4)
		}
		if err := pauseFor(ctx, time.Second); err != nil {
			return err
		}
		for range openCalls - busy {
			open(0)
		}
		if err := pauseFor(ctx, 2*time.Second); err != nil {
			return err
		}
		each.add((g.memory() - before) * 1024 / openCalls)
		if err := calls.Wait(); err != nil {
			return err
		}
		answered.add(openCalls)
		return nil
	}, fmt.Sprintf("ATTUNE__POOL__PER_POOL=%d", busy))
}

// callOnce makes one call over a connection of its own.
func callOnce(url, body string) error {
	c, err := dialHTTP(url, []byte(body))
	if err != nil {
		return err
	}
	return errors.Join(c.call(), c.Close())
}

// idle looks at a Python instance that has been called once.
func (b *bench) idle(ctx context.Context, agent, python *series) error {
	s := subjectOf("process, Python")
	return b.with(ctx, s.write, func(g *gateway) error {
		if err := callOnce(g.url+"/invoke/"+s.pack()+".run", parameters); err != nil {
			return err
		}
		if err := pauseFor(ctx, 2*time.Second); err != nil {
			return err
		}
		ids, err := instances(ctx, s.pack())
		if err != nil || len(ids) == 0 {
			return errors.Join(err, errors.New("there is no instance to look at"))
		}
		pid, err := docker(ctx, "inspect", "--format", "{{.State.Pid}}", ids[0])
		if err != nil {
			return err
		}
		n, _ := strconv.Atoi(strings.TrimSpace(pid)) // 0 is no process
		if mib := resident(n); mib > 0 {             // the engine's processes may be elsewhere
			agent.add(mib)
		}
		bytes, err := containerMemory(ctx, ids[0])
		python.add(float64(bytes) / (1 << 20))
		return err
	})
}

// manyWarm calls as many packs once, each of which then has an instance, and
// once more.
func (b *bench) manyWarm(ctx context.Context) ([]row, error) {
	var again, memory series
	memory.unit = "MiB"
	prepare := func(h home) error {
		var err error
		for i := range warmPacks {
			err = errors.Join(err, h.pack(fmt.Sprintf("warm%03d", i), shellScript.extension, shellScript.code, nil))
		}
		return err
	}
	err := b.with(ctx, prepare, func(g *gateway) error {
		for range 2 {
			var calls errgroup.Group
			calls.SetLimit(4)
			for i := range warmPacks {
				calls.Go(func() error { return callOnce(fmt.Sprintf("%s/invoke/warm%03d.run", g.url, i), parameters) })
			}
			if err := calls.Wait(); err != nil {
				return err
			}
		}
		running := 0
		for i := range warmPacks {
			ids, err := instances(ctx, fmt.Sprintf("warm%03d", i))
			if err != nil {
				return err
			}
			running += len(ids)
		}
		again.add(float64(running))
		memory.add(g.memory())
		return nil
	}, fmt.Sprintf("ATTUNE__POOL__MAX_INSTANCES=%d", 2*warmPacks))
	return []row{
		{what: fmt.Sprintf("%d packs called twice: warm instances", warmPacks), got: again, valueLeast: warmPacks},
		{what: "gateway with them, resident", got: memory},
	}, err
}

// instances are the containers of a pack.
func instances(ctx context.Context, pack string) ([]string, error) {
	out, err := docker(ctx, "ps", "--quiet", "--no-trunc", "--filter", "label="+container.LabelPack+"="+pack,
		"--filter", "label="+container.LabelRole+"="+container.RoleInstance)
	return strings.Fields(out), err
}

// containerMemory is what the engine says a container uses, without the page
// cache: usage minus total_cache (cgroup v1) or file (v2). The engine's own
// command leaves a part of the cache in.
func containerMemory(ctx context.Context, id string) (bytes uint64, err error) {
	socket := strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://")
	if !filepath.IsAbs(socket) {
		socket = "/var/run/docker.sock"
	}
	engine := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	request, err := http.NewRequestWithContext(ctx, "GET", "http://engine/containers/"+id+"/stats?stream=false&one-shot=true", nil)
	if err != nil {
		return 0, err
	}
	response, err := engine.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var stats struct {
		Memory struct {
			Usage uint64
			Stats map[string]uint64
		} `json:"memory_stats"`
	}
	if err := json.NewDecoder(response.Body).Decode(&stats); err != nil {
		return 0, fmt.Errorf("stats of a container: %w", err)
	}
	cache, v1 := stats.Memory.Stats["total_cache"]
	if !v1 {
		cache = stats.Memory.Stats["file"]
	}
	if stats.Memory.Usage <= cache {
		return 0, fmt.Errorf("stats of a container: usage %d, cache %d", stats.Memory.Usage, cache)
	}
	return stats.Memory.Usage - cache, nil
}

func pauseFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
