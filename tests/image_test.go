package tests

import (
	"fmt"
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
)

// TestImageInAnIntegrationSuite starts the gateway's image by testcontainers, as
// a team does that tests its packs.
func TestImageInAnIntegrationSuite(t *testing.T) {
	gatewayImage(t)
	packs, err := filepath.Abs("../packs")
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := exec.Command("../scripts/ca-bundle.sh").Output()
	if err != nil {
		t.Fatal(err)
	}
	volume := fmt.Sprintf("attune-suite-%d", os.Getpid())
	dockerLines(t, "volume", "create", volume)
	t.Cleanup(func() { dockerLines(t, "volume", "rm", volume) })
	c, err := testcontainers.Run(t.Context(), "attune/gateway",
		testcontainers.WithCmd("serve", "--insecure", "--host", "0.0.0.0"),
		testcontainers.WithExposedPorts("8080/tcp"),
		testcontainers.WithHostConfigModifier(func(host *container.HostConfig) {
			host.Binds = []string{
				"/var/run/docker.sock:/var/run/docker.sock", packs + ":/opt/attune/packs:ro", volume + ":/opt/attune/runtime_envs",
				// What this host trusts, for the builders, as in docker-compose.yaml.
				strings.TrimSpace(string(trusted)) + ":/etc/attune/ca-bundle.pem:ro",
			}
		}),
		testcontainers.WithWaitStrategy(wait.ForHTTP("/readyz").WithStartupTimeout(30*time.Second)),
	)
	t.Cleanup(func() {
		if err := testcontainers.TerminateContainer(c, testcontainers.StopTimeout(20*time.Second)); err != nil {
			t.Error(err)
		}
		if left := onVolume(t, volume); len(left) > 0 {
			dockerLines(t, append([]string{"rm", "-f"}, left...)...)
			t.Errorf("%d containers outlive the gateway: %v", len(left), left)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	url, err := c.Endpoint(t.Context(), "http")
	if err != nil {
		t.Fatal(err)
	}
	for _, action := range []string{"shell_example.hello", "python_example.hello"} {
		response, err := http.Post(url+"/invoke/"+action, "application/json", strings.NewReader(`{"name":"Ada"}`))
		if a := read(t, response, err); a.status != http.StatusOK || a.value(t)["greeting"] != "Hello, Ada!" {
			t.Errorf("POST /invoke/%s = %d %s", action, a.status, a.body)
		}
	}
	if instances := onVolume(t, volume, "label=attune.role=instance"); len(instances) < 2 {
		t.Errorf("%d instances after two packs were called", len(instances))
	}
}
