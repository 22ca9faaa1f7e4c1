package envcache

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"attune/runtimes"
	"attune/runtimes/container"
	"attune/tests/kit"
)

// TestSpecs shows every field of the containers that are made for environments.
func TestSpecs(t *testing.T) {
	t.Parallel()
	for _, layout := range []runtimes.Layout{{Isolated: true}, {}} {
		c := &Cache{
			Options: Options{
				Root: "/data", Layout: layout, GatewayID: "gw-1", AgentDir: "/data/.bin/aa", CADir: "/data/.ca/bb",
				Vars:    map[string]string{"UV_INDEX_URL": "https://mirror/simple", "PIP_CERT": "/own.pem"},
				Network: container.NetworkOutbound,
				Limits:  Limits{Timeout: 90*time.Second + 1, MaxBytes: 2 << 30, Memory: 1 << 30, CPU: 1.5},
			},
			volume: volume{root: "/data"},
		}
		recipe := pinned(t)
		in, err := recipe.inputs(identity, c.Vars)
		if err != nil {
			t.Fatal(err)
		}
		recipe.PackDir = "/packs/python_example"
		d := digested{digest: someDigest, inputs: in}
		builder, err := c.builderSpec(recipe, d, someDigest+".0a0b0c0d", time.Unix(1700000000, 0))
		if err != nil {
			t.Fatal(err)
		}
		probe, err := c.probeSpec(recipe, d.digest, c.volume.attempt(someDigest+".0a0b0c0d"))
		if err != nil {
			t.Fatal(err)
		}
		name, random, _ := strings.Cut(probe.Name, someDigest+"-")
		if len(random) != 8 {
			t.Errorf("the probe is called %s", probe.Name)
		}
		probe.Name = name + someDigest + "-RANDOM"
		kind := "process"
		if layout.Isolated {
			kind = "container"
		}
		if os.Geteuid() != 0 { // then it is our own
			builder.User, probe.User = "65532:65532", "65532:65532"
		}
		kit.GoldenJSON(t, "builder."+kind+".json", builder)
		kit.GoldenJSON(t, "probe."+kind+".json", probe)
		for _, spec := range []container.Spec{builder, probe} {
			if err := spec.Validate(); err != nil {
				t.Errorf("Validate() = %v", err)
			}
			if !slices.IsSorted(spec.Env) {
				t.Errorf("variables are not sorted: %q", spec.Env)
			}
		}
	}
}

func TestUnknownVariableOfACommandIsToldByName(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	recipe := r.recipe(t, "true")
	recipe.Runtime.Environment.CreateCommand = []string{"{no_such_thing}"}
	failed := mustFail(t, r.gateway(t, nil), recipe)
	if !strings.Contains(failed.Error(), "no_such_thing") {
		t.Errorf("failure = %v", failed)
	}
	r.nothingLeft(t)
}
