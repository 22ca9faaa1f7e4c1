package tests

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// scripted makes a runtime whose environments the packs' own build.sh makes, and
// returns the setting that a gateway finds it by. It needs no package index, and
// a test can hold a build wherever it wants to.
func (h home) scripted(t testing.TB) (setting string) {
	t.Helper()
	write(t, h.packs+"-runtimes/scripted/runtime.yaml", `name: scripted
image: attune/shell
interpreter: {binary: /bin/bash, file_extension: .scripted}
environment:
  env_type: scripted
  create_command: [/bin/bash, "{pack_dir}/build.sh", "{env_dir}", "{pack_dir}"]
  verify_command: [/bin/bash, -c, '[ ! -e "$0/verify.sh" ] || . "$0/verify.sh"', "{pack_dir}", "{env_dir}"]
`, 0o644)
	return "ATTUNE__RUNTIMES_DIR=" + h.packs + "-runtimes"
}

// pass is a line of a script that waits for a gate to be opened.
func pass(gate string) string {
	return fmt.Sprintf("until [ -e /opt/attune/packs/*/%s ]; do sleep 0.05; done\n", gate)
}

// built is the end of a build.sh that made all that it should, and what the
// action then answers.
const built = "echo whole >\"$1/result\"\n"

// scriptedPack is a pack with a build.sh and one action, run, which tells what
// the build has left.
func (h home) scriptedPack(t testing.TB, ref, script string) scriptedPack {
	t.Helper()
	return scriptedPack{ref, h.pack(t, ref, map[string]string{
		"build.sh":             "set -e\n" + script,
		"actions/run.yaml":     "ref: " + ref + ".run\nentry_point: run.scripted\ntimeout: 120\n",
		"actions/run.scripted": "cat /opt/attune/runtime_envs/" + ref + "/scripted/result\n",
	})}
}

type scriptedPack struct{ ref, dir string }

// open lets everything through that waits at a gate.
func (p scriptedPack) open(t testing.TB, gate string) {
	t.Helper()
	write(t, filepath.Join(p.dir, gate), "", 0o644)
}

// serves checks that the action runs, with a whole environment.
func (p scriptedPack) serves(t testing.TB, gateways ...*gateway) {
	t.Helper()
	for _, g := range gateways {
		if got := g.mustInvoke(t, p.ref+".run", "{}").body; got != "whole\n" {
			t.Errorf("POST /invoke/%s.run = %q, want %q", p.ref, got, "whole\n")
		}
	}
}

// calling is a call that is under way.
type calling struct {
	begun time.Time
	ended chan struct{}
	answer
	err error
}

// calls begins a call and comes back at once.
func (g *gateway) calls(t testing.TB, p scriptedPack) *calling {
	t.Helper()
	c := &calling{begun: time.Now(), ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		var response *http.Response
		response, c.err = http.Post(g.url+"/invoke/"+p.ref+".run", "application/json", strings.NewReader("{}"))
		if c.err != nil {
			return
		}
		defer response.Body.Close()
		var body []byte
		body, c.err = io.ReadAll(response.Body)
		c.answer = answer{response.StatusCode, response.Header, string(body)}
	}()
	t.Cleanup(func() { <-c.ended }) // it ends with its gateway, at the latest
	return c
}

// within waits for the answer.
func (c *calling) within(t testing.TB, limit time.Duration) answer {
	t.Helper()
	select {
	case <-c.ended:
	case <-time.After(time.Until(c.begun.Add(limit))):
		t.Fatalf("no answer within %s", limit)
	}
	if c.err != nil {
		t.Fatal(c.err)
	}
	return c.answer
}

// succeeds waits for the result.
func (c *calling) succeeds(t testing.TB) {
	t.Helper()
	if a := c.within(t, 2*time.Minute); a.status != http.StatusOK || a.body != "whole\n" {
		t.Errorf("call = %d %s, want 200 and a whole environment", a.status, a.body)
	}
}

// builder waits until a gateway's builder is in its script, and returns its ID.
func (g *gateway) builder(t testing.TB, p scriptedPack) string {
	t.Helper()
	var running []string
	eventually(t, 20*time.Second, "the builder of "+p.ref+" runs", func() bool {
		running = g.containers(t, "label=attune.role=builder", "label=attune.pack="+p.ref, "status=running")
		return len(running) == 1
	})
	return running[0]
}

// builtOnce checks what no fault of this page may change: there was one builder.
func (p scriptedPack) builtOnce(t testing.TB, since time.Time) {
	t.Helper()
	if got := builds(t, since, p.ref); got != 1 {
		t.Errorf("%d builders of %s, want 1", got, p.ref)
	}
}

// atRest checks that nothing is left of builds: no builder, no attempt, no trash,
// no lease. (redis may be nil.)
func (h home) atRest(t testing.TB, redis *redisServer, gateways ...*gateway) {
	t.Helper()
	var left []string
	look := func() bool {
		left = nil
		for _, g := range gateways {
			left = append(left, g.containers(t, "label=attune.role=builder")...)
			left = append(left, g.containers(t, "label=attune.role=probe")...)
		}
		for _, dir := range []string{".tmp", ".trash"} {
			entries, err := os.ReadDir(filepath.Join(h.envs, dir))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			for _, entry := range entries {
				left = append(left, dir+"/"+entry.Name())
			}
		}
		if redis != nil {
			left = append(left, redis.leases(t)...)
		}
		return len(left) == 0
	}
	// A gateway that has just looked for work may hold a lease for this moment.
	for end := time.Now().Add(5 * time.Second); !look(); {
		if time.Now().After(end) {
			t.Errorf("at rest there are left: %v", left)
			return
		}
	}
}

// generations lists what is published on a volume.
func (h home) generations(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(h.envs, ".store"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// atOnce does the same with several gateways at once.
func atOnce(gateways []*gateway, do func(*gateway)) {
	var all sync.WaitGroup
	for _, g := range gateways {
		all.Go(func() { do(g) })
	}
	all.Wait()
}
