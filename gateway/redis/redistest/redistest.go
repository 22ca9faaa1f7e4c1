// Package redistest gives tests a real Redis: one container for all tests of a
// package, which keep apart by keys of their own.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"attune/runtimes/container/containertest"
	"attune/runtimes/container/docker"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
	tcredis "github.com/testcontainers/testcontainers-go/modules/redis"
)

// image is made by images/build.sh; nothing is pulled.
const image = "attune/redis"

// serverURL names a server to test against instead of a container: another
// version, or Valkey.
const serverURL = "ATTUNE_TEST_REDIS_URL"

// Labels of the container, by which a later run finds what a killed one left.
const (
	labelTest = "attune.test"
	labelPID  = "attune.test.pid"
	thisTest  = "redis"
)

// server is the one of this process.
var server struct {
	once      sync.Once
	container *tcredis.RedisContainer
	url       string
	err       error
}

// Main runs the tests and removes the server, if one was started. TestMain exits
// with what it returns.
func Main(m *testing.M) (code int) {
	if err := configure(); err != nil {
		fmt.Fprintln(os.Stderr, "configure testcontainers:", err)
		return 1
	}
	code = m.Run()
	if server.container == nil {
		return code
	}
	stop := testcontainers.TerminateContainer(server.container, testcontainers.StopTimeout(time.Second))
	if err := errors.Join(stop, sweep(context.Background())); err != nil {
		fmt.Fprintln(os.Stderr, "remove the Redis container:", err)
		return 1
	}
	return code
}

// configure sets what testcontainers reads, where it isn't set.
func configure() error {
	// Its reaper needs an image that can't be had everywhere. Main and sweep do
	// the work.
	settings := map[string]string{"TESTCONTAINERS_RYUK_DISABLED": "true"}
	// In a container it looks for published ports at the gateway. But an engine
	// that has its bridge here, beside us, publishes them here as well.
	if _, err := net.InterfaceByName("docker0"); err == nil {
		settings["TESTCONTAINERS_HOST_OVERRIDE"] = "localhost"
	}
	for name, value := range settings {
		if _, set := os.LookupEnv(name); set {
			continue
		}
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

// URL of the server, which is started for the first who asks. Without Docker the
// test is skipped or fails, as containertest.RequireDocker says.
func URL(t testing.TB) string {
	t.Helper()
	if url := os.Getenv(serverURL); url != "" {
		return url
	}
	containertest.RequireDocker(t)
	server.once.Do(func() { server.err = start(context.Background()) })
	if server.err != nil {
		t.Fatalf("start Redis (images/build.sh makes its image): %v", server.err)
	}
	return server.url
}

func start(ctx context.Context) error {
	err := sweep(ctx)
	if err != nil {
		return err
	}
	server.container, err = tcredis.Run(ctx, image,
		testcontainers.WithLabels(map[string]string{labelTest: thisTest, labelPID: strconv.Itoa(os.Getpid())}),
		testcontainers.WithLogger(log.TestLogger(silent{})))
	if err != nil {
		return err
	}
	server.url, err = server.container.ConnectionString(ctx)
	return err
}

// silent drops the log of testcontainers, which would come between our lines.
type silent struct{ testing.TB }

func (silent) Helper()             {}
func (silent) Logf(string, ...any) {}

// sweep removes the servers that nobody else will: of this process, and of those
// that are dead.
func sweep(ctx context.Context) (err error) {
	engine, err := docker.New(ctx, docker.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	found, err := engine.Find(ctx, map[string]string{labelTest: thisTest})
	if err != nil {
		return err
	}
	for _, left := range found {
		pid, err := strconv.Atoi(left.Labels()[labelPID])
		if alive := err == nil && !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH); alive && pid != os.Getpid() {
			continue
		}
		if err := left.Remove(ctx); err != nil {
			return err
		}
	}
	return nil
}
