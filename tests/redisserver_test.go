package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"attune/runtimes/container/containertest"
	"attune/tests/kit/proxy"
)

// redisServer is a Redis of one test, which may do with it what it likes.
type redisServer struct {
	id      string
	proxies []*proxy.Proxy
}

// newRedis starts one that ends with the test; it may be given arguments.
func newRedis(t testing.TB, arguments ...string) *redisServer {
	t.Helper()
	containertest.RequireDocker(t)
	sweepRedis(t)
	r := &redisServer{}
	r.id = dockerLines(t, append([]string{"run", "-d", "--publish", "127.0.0.1::6379",
		"--label", redisLabel, "--label", redisLabel + ".pid=" + strconv.Itoa(os.Getpid()), "attune/redis"}, arguments...)...)[0]
	t.Cleanup(func() { dockerLines(t, "rm", "-fv", r.id) })
	r.answers(t)
	return r
}

const redisLabel = "attune.test.faults"

// sweepRedis removes what killed runs of the tests have left.
func sweepRedis(t testing.TB) {
	t.Helper()
	found := dockerLines(t, "ps", "-a", "--no-trunc", "--filter", "label="+redisLabel, "--format", `{{.ID}}|{{.Label "`+redisLabel+`.pid"}}`)
	for _, line := range found {
		id, owner, _ := strings.Cut(line, "|")
		if pid, err := strconv.Atoi(owner); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			dockerLines(t, "rm", "-fv", id)
		}
	}
}

// via is the address of the server behind a proxy of its own: it stays the same
// over a restart. Replies are waited for less long than by default, so that
// faults are quick; more go-redis options may follow.
func (r *redisServer) via(t testing.TB) (setting string, p *proxy.Proxy) {
	t.Helper()
	p = proxy.Start(t, "tcp", r.address(t))
	r.proxies = append(r.proxies, p)
	return "ATTUNE__REDIS__URL=redis://" + p.Address() + "/0?read_timeout=300ms&dial_timeout=300ms", p
}

func (r *redisServer) address(t testing.TB) string {
	t.Helper()
	return dockerLines(t, "port", r.id, "6379/tcp")[0]
}

// answers waits until the server does.
func (r *redisServer) answers(t testing.TB) {
	t.Helper()
	eventually(t, 20*time.Second, "Redis answers", func() bool {
		out, err := exec.Command("docker", "exec", r.id, "redis-cli", "PING").Output()
		return err == nil && strings.TrimSpace(string(out)) == "PONG"
	})
}

// kill ends the server as the kernel would.
func (r *redisServer) kill(t testing.TB) {
	t.Helper()
	dockerLines(t, "kill", r.id)
}

// restart starts a killed server, which has forgotten everything, unless it was
// given --appendonly yes.
func (r *redisServer) restart(t testing.TB) {
	t.Helper()
	dockerLines(t, "start", r.id)
	r.answers(t)
	for _, p := range r.proxies {
		p.Target(r.address(t)) // the engine has chosen another port
	}
}

// cli runs a command at the server, past all proxies.
func (r *redisServer) cli(t testing.TB, command ...string) []string {
	t.Helper()
	return dockerLines(t, append([]string{"exec", r.id, "redis-cli"}, command...)...)
}

// leases lists the keys of leases that are held.
func (r *redisServer) leases(t testing.TB) []string {
	t.Helper()
	return r.cli(t, "KEYS", "attune:lease:*")
}

// asked runs something and waits until a gateway has asked for a lease since.
// Only that uses SET.
func (r *redisServer) asked(t testing.TB, times int, something func()) {
	t.Helper()
	r.cli(t, "CONFIG", "RESETSTAT")
	something()
	eventually(t, 20*time.Second, fmt.Sprintf("a lease is asked for %d times", times), func() bool {
		for _, line := range r.cli(t, "INFO", "commandstats") {
			if calls, found := strings.CutPrefix(line, "cmdstat_set:calls="); found {
				calls, _, _ = strings.Cut(calls, ",")
				n, err := strconv.Atoi(calls)
				return err == nil && n >= times
			}
		}
		return false
	})
}
