package tests

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"

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

// TestComposeServes brings up the shipped compose file as `make up` does.
func TestComposeServes(t *testing.T) {
	gatewayImage(t)
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
		if left := dockerLines(t, "ps", "-aq", "--filter", "label=com.docker.compose.project="+project); len(left) > 0 {
			t.Errorf("%d containers are left after down", len(left))
		}
		if left := dockerLines(t, "ps", "-aq", "--filter", "label=attune.pack=python_example", "--filter", "volume="+project+"_envs"); len(left) > 0 {
			t.Errorf("%d instances are left after down", len(left))
		}
		dockerLines(t, "volume", "rm", "-f", project+"_envs", project+"_redis_data")
	})
	if out, err := script("up.sh"); err != nil {
		t.Fatalf("scripts/up.sh: %v\n%s", err, out)
	}
	g := &gateway{url: "http://127.0.0.1:" + port}
	for _, pack := range []string{"python_example", "nodejs_example", "shell_example"} {
		if got := g.mustInvoke(t, pack+".hello", `{"name":"Ada"}`).value(t)["greeting"]; got != "Hello, Ada!" {
			t.Errorf("%s: greeting = %v", pack, got)
		}
	}
	if ready := g.get(t, "/readyz").body; !strings.Contains(ready, `"redis","ok":true`) {
		t.Errorf("/readyz = %s", ready)
	}
}

func dockerLines(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("docker", args...).Output()
	if err != nil {
		t.Fatalf("docker %s: %v", strings.Join(args, " "), err)
	}
	return strings.Fields(string(out))
}

// TestImageInAnIntegrationSuite starts the gateway's image by testcontainers, as
// a team does that tests its packs.
func TestImageInAnIntegrationSuite(t *testing.T) {
	gatewayImage(t)
	if _, err := os.Stat("/sys/class/net/docker0"); err == nil {
		// Ports are published here: testcontainers looks for them at the default
		// route when it runs in a container itself.
		t.Setenv("TESTCONTAINERS_HOST_OVERRIDE", "localhost")
	}
	packs, err := filepath.Abs("../packs")
	if err != nil {
		t.Fatal(err)
	}
	volume := fmt.Sprintf("attune-suite-%d", os.Getpid())
	t.Cleanup(func() { dockerLines(t, "volume", "rm", "-f", volume) })
	c, err := testcontainers.Run(t.Context(), "attune/gateway",
		testcontainers.WithCmd("serve", "--insecure", "--host", "0.0.0.0"),
		testcontainers.WithExposedPorts("8080/tcp"),
		testcontainers.WithHostConfigModifier(func(host *container.HostConfig) {
			host.Binds = []string{
				"/var/run/docker.sock:/var/run/docker.sock", packs + ":/opt/attune/packs:ro", volume + ":/opt/attune/runtime_envs",
			}
		}),
		testcontainers.WithWaitStrategy(wait.ForHTTP("/readyz").WithStartupTimeout(30*time.Second)),
	)
	if c != nil {
		defer func() {
			if err := testcontainers.TerminateContainer(c, testcontainers.StopTimeout(20*time.Second)); err != nil {
				t.Error(err)
			}
			if left := dockerLines(t, "ps", "-aq", "--filter", "label=attune.role", "--filter", "volume="+volume); len(left) > 0 {
				t.Errorf("%d instances outlive the gateway", len(left))
			}
		}()
	}
	if err != nil {
		t.Fatal(err)
	}
	url, err := c.Endpoint(t.Context(), "http")
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Post(url+"/invoke/shell_example.hello", "application/json", strings.NewReader(`{"name":"Ada"}`))
	if a := read(t, response, err); a.status != 200 || a.value(t)["greeting"] != "Hello, Ada!" {
		t.Errorf("POST /invoke/shell_example.hello = %d %s", a.status, a.body)
	}
}
