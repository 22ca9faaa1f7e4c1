package pack

import (
	"encoding/json"
	"testing"

	"attune/runtimes"
)

const packsDir = "../../packs"

// The packs that people copy from have no faults, and show what they say.
func TestShippedPacks(t *testing.T) {
	t.Parallel()
	catalog, err := LoadCatalog(packsDir, runtimes.Builtin(), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range catalog.Broken() {
		t.Errorf("pack %s is broken:\n%v", broken.Name, broken.Err)
	}
	want := map[string]string{ // the runtime of each
		"core.echo": "shell", "core.http_request": "shell", "core.noop": "shell", "core.sleep": "shell",
		"nodejs_example.count_words": "node", "nodejs_example.hello": "node", "nodejs_example.hello_esm": "node", "nodejs_example.list_numbers": "node",
		"python_example.count_words": "python", "python_example.describe_numbers": "python", "python_example.hello": "python", "python_example.http_example": "python",
		"python_example.list_numbers": "python", "python_example.read_counter": "python", "python_example.token_length": "python",
		"shell_example.hello": "shell", "shell_example.page": "shell", "shell_example.read_counter": "shell", "shell_example.token_length": "shell",
		"webhook_example.on_push": "python",
	}
	if hooks := catalog.Hooks(); len(hooks) != 1 || !hooks[0].Enabled || hooks[0].Verify.Preset != "github" {
		t.Errorf("hooks = %v, want GitHub's", hooks)
	}
	for _, schedule := range catalog.Schedules() {
		if schedule.Enabled {
			t.Errorf("schedule %s runs in everybody's gateway: disable it", schedule.Ref)
		}
	}
	actions := catalog.Actions()
	if len(actions) != len(want) {
		t.Errorf("%d actions, want %d", len(actions), len(want))
	}
	for _, action := range actions {
		if got := action.Runtime.Name; got != want[action.Ref.String()] {
			t.Errorf("runtime of %s is %s, want %s", action.Ref, got, want[action.Ref.String()])
		}
		if action.Description == "" || (len(action.Examples) == 0 && action.Ref.Name != "noop") {
			t.Errorf("%s lacks a description or an example", action.Ref)
		}
		if !json.Valid(action.Parameters.JSON()) {
			t.Errorf("schema of %s is no JSON", action.Ref)
		}
	}
}

// The first call of the README.
func TestShippedHelloTakesAName(t *testing.T) {
	t.Parallel()
	catalog, err := LoadCatalog(packsDir, runtimes.Builtin(), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []Ref{"python_example", "nodejs_example", "shell_example"} {
		action, ok := catalog.Action(ActionRef{ref, "hello"})
		if !ok {
			t.Fatalf("no action hello in %s", ref)
		}
		for body, want := range map[string]string{`{"name":"Ada"}`: `{"name":"Ada"}`, ``: `{"name":"World"}`} {
			got, found, err := action.Parameters.Apply([]byte(body))
			if err != nil || found != nil || string(got) != want {
				t.Errorf("Apply(%s) of %s = %s, %v, %v, want %s", body, action.Ref, got, found, err, want)
			}
		}
	}
}
