package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Loads of the queue.
var (
	accepting = load{name: "16 callers", callers: 16, calls: 20000}
	idle      = load{name: "one caller, every 50 ms", callers: 1, calls: 100, pause: 50 * time.Millisecond}
)

// measureQueue measures how many asynchronous calls are taken in a second, and how
// long one takes from the call to its result while nothing else happens: a
// program that does nothing, without a container around it.
func measureQueue(ctx context.Context, b *bench) ([]row, error) {
	var rows []row
	for _, store := range []string{"embedded", "Redis"} {
		accepted, sync, async := series{unit: "/s"}, series{unit: "ms"}, series{unit: "ms"}
		for range b.n {
			if err := b.queueOnce(ctx, store, &accepted, &sync, &async); err != nil {
				return nil, fmt.Errorf("%s: %w", store, err)
			}
			b.say("%s: accepted %v, synchronous %v, asynchronous %v", store, accepted, sync, async)
		}
		rows = append(rows,
			row{what: "accepted calls, " + store + ", " + accepting.name, got: accepted, valueLeast: map[string]float64{"Redis": 3000}[store]},
			row{what: "from call to result, " + store + ", " + idle.name + ", p50", got: async, against: "the same call, synchronous", base: sync, valueGoal: 20},
		)
	}
	return rows, nil
}

// queueOnce measures each once, on a fresh gateway. What is accepted is put off by
// an hour, so that the runs don't take the machine from what is measured.
func (b *bench) queueOnce(ctx context.Context, store string, accepted, sync, async *series) (err error) {
	settings := []string{"ATTUNE__ENGINE=process", "ATTUNE__QUEUE__MAX=10000000", "ATTUNE__LOG__LEVEL=info"}
	if store == "Redis" {
		url, stop, err := startRedis(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
		settings = append(settings, "ATTUNE__REDIS__URL="+url)
	}
	prepare := func(h home) error { return h.pack("idle", ".sh", "exit 0\n", nil) }
	return b.with(ctx, prepare, func(g *gateway) error {
		if _, _, err := g.call(ctx, "POST", "/invoke/idle.run"); err != nil { // the instance is there
			return err
		}
		for _, m := range []struct {
			into   *series
			load   load
			figure figure
			query  string
			prefer []string
		}{
			{sync, idle, p50, "", nil},
			{async, idle, p50, "", []string{"Prefer: wait=10"}},
			{accepted, accepting, rate, "?delay=1h", []string{"Prefer: respond-async"}},
		} {
			s, err := m.load.run(ctx, 8*time.Second, func() (caller, error) {
				return dialHTTP(g.url+"/invoke/idle.run"+m.query, []byte("{}"), m.prefer...)
			})
			if err != nil {
				return err
			}
			m.into.add(m.figure.of(s))
		}
		return nil
	}, settings...)
}

// startRedis starts a server that keeps its log on the disk, as the gateway's
// Compose file has it.
func startRedis(ctx context.Context) (url string, stop func() error, err error) {
	run := func(arguments ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "docker", arguments...).Output()
		if err != nil {
			return "", fmt.Errorf("docker %s: %w", arguments[0], err)
		}
		return strings.TrimSpace(string(out)), nil
	}
	id, err := run("run", "-d", "--publish", "127.0.0.1::6379", "attune/redis", "--appendonly", "yes")
	if err != nil {
		return "", nil, err
	}
	stop = func() error { return exec.Command("docker", "rm", "-fv", id).Run() }
	address, err := run("port", id, "6379/tcp")
	for ; err == nil; time.Sleep(50 * time.Millisecond) {
		if pong, _ := run("exec", id, "redis-cli", "PING"); pong == "PONG" {
			address, _, _ = strings.Cut(address, "\n")
			return "redis://" + address, stop, nil
		}
		err = ctx.Err()
	}
	return "", nil, errors.Join(err, stop())
}
