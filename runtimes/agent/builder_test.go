package agent_test

import (
	"encoding/json"
	"strings"
	"testing"

	"attune/runtimes/agent"
	"attune/runtimes/container"
	"attune/runtimes/container/containertest"
)

// builder carries out plans as PID 1 of a builder container: not root, no
// capabilities, read-only root.
func (b *bench) builder(t *testing.T) {
	for _, test := range []struct {
		name, script string
		timeout      int
		code         int
		want         []string
	}{
		{"success", `id -u; env | grep -c PLAN; echo $$ > made; cat made`, 60, 0, []string{"65533\n0\n"}},
		{"failure", `exit 9`, 60, 9, []string{"==> create failed: exit status 9\n"}},
		{"timeout", `(setsid sleep 1000 &); sleep 1000`, 1, agent.ExitTimeout, []string{"==> create failed: timeout\n"}},
		{"orphans are reaped", `for i in 1 2 3; do (true &); done; sleep 0.2; ! grep -l zombie /proc/[0-9]*/status`, 60, 0, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := json.Marshal(agent.Plan{TimeoutSeconds: test.timeout, Steps: []agent.Step{{
				Name: "create", Dir: "/tmp",
				Alternatives: []agent.Alternative{{Needs: "no-such-tool", Argv: []string{"no-such-tool"}}, {Argv: []string{"sh", "-c", test.script}}},
			}}})
			if err != nil {
				t.Fatal(err)
			}
			spec := b.spec(t.TempDir())
			spec.Entrypoint, spec.User, spec.CapAdd = []string{"/run/attune-agent", "build"}, "65533:65533", nil
			spec.Labels[container.LabelRole] = container.RoleBuilder
			spec.Env = []string{agent.PlanVariable + "=" + string(plan), "PATH=/usr/bin:/bin"}
			exit, output := containertest.Run(t, b.engine, spec)
			if exit.Code != test.code {
				t.Errorf("builder: exit %+v, want %d; output %q", exit, test.code, output)
			}
			for _, want := range test.want {
				if !strings.Contains(output, want) {
					t.Errorf("builder's output = %q, want %q in it", output, want)
				}
			}
		})
	}
}
