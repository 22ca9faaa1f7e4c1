package tests

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"attune/runtimes/container/containertest"
)

// gatewayImage puts the programs of the present sources into attune/gateway.
func gatewayImage(t *testing.T) {
	t.Helper()
	containertest.RequireDocker(t)
	for _, args := range [][]string{{"make", "--no-print-directory", "linux-programs"}, {"images/build.sh", "gateway", "redis"}} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// requireCompose skips without Compose, but fails where an engine is required.
func requireCompose(t *testing.T) {
	t.Helper()
	if exec.Command("docker", "compose", "version").Run() == nil {
		return
	}
	if _, err := exec.LookPath("docker-compose"); err == nil {
		return
	}
	const missing = "NO COMPOSE, so docker-compose.yaml is not tested: scripts/compose.sh version installs it"
	if os.Getenv("ATTUNE_REQUIRE_DOCKER") != "" || os.Getenv("CI") != "" {
		t.Fatal(missing)
	}
	t.Skip(missing)
}

// TestComposeServes brings up the shipped compose file as `make up` does.
func TestComposeServes(t *testing.T) {
	requireCompose(t)
	gatewayImage(t)
	followEngine()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	free.Close()
	project := fmt.Sprintf("attunetest%d", os.Getpid())
	script := func(name string) (string, error) {
		cmd := exec.Command("scripts/" + name)
		cmd.Dir = ".."
		cmd.Env = append(os.Environ(), "COMPOSE_PROJECT_NAME="+project, "ATTUNE_PORT="+port, "ATTUNE_VOLUME="+project+"_envs")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	t.Cleanup(func() {
		if out, err := script("down.sh"); err != nil {
			t.Errorf("scripts/down.sh: %v\n%s", err, out)
		}
		for _, kind := range []string{"container", "network"} {
			if left := dockerLines(t, kind, "ls", "-q", "--filter", "label=com.docker.compose.project="+project); len(left) > 0 {
				t.Errorf("after down there is still %s %v", kind, left)
			}
		}
		if left := onVolume(t, project+"_envs"); len(left) > 0 {
			t.Errorf("containers of the gateway are left after down: %v", left)
		}
		// Down keeps the volumes: what it names is there to be removed.
		dockerLines(t, "volume", "rm", project+"_envs", project+"_redis_data", project+"_secrets")
	})
	since := time.Now() // it builds ahead
	if out, err := script("up.sh"); err != nil {
		t.Fatalf("scripts/up.sh: %v\n%s", err, out)
	}
	g := &gateway{url: "http://127.0.0.1:" + port}
	for range 2 {
		for _, pack := range []string{"python_example", "nodejs_example", "shell_example"} {
			if got := g.mustInvoke(t, pack+".hello", `{"name":"Ada"}`).value(t)["greeting"]; got != "Hello, Ada!" {
				t.Errorf("POST /invoke/%s.hello: greeting = %v", pack, got)
			}
		}
	}
	if ready := g.get(t, "/readyz").body; !strings.Contains(ready, `"redis","ok":true`) {
		t.Errorf("GET /readyz = %s", ready)
	}
	instances := onVolume(t, project+"_envs", "label=attune.role=instance")
	if len(instances) < 3 {
		t.Fatalf("%d instances after three packs were called", len(instances))
	}
	known(dockerLines(t, "inspect", "--format", `{{index .Config.Labels "attune.gateway"}}`, instances[0])[0])
	for _, pack := range []string{"python_example", "nodejs_example"} {
		if got := builds(t, since, pack); got != 1 {
			t.Errorf("%d builders of %s, want 1", got, pack)
		}
	}
}
