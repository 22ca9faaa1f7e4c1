package runtimes

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDependencyFaults(t *testing.T) {
	t.Parallel()
	const head = "name: x\nimage: x\nenvironment: {env_type: e, create_command: [a], verify_command: [a]}\n"
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"nothing": {"dependencies: {ping_command: [a]}\n", []string{"r.yaml:4: dependencies name no file: give a manifest_file, or a list of manifests"}},
		"half a short form": {
			"dependencies:\n  install_command: [a]\n  manifests: [{file: a, install_command: [a]}]\n",
			[]string{"r.yaml:4: lock_files and install commands need a manifest_file beside them"},
		},
		"manifests": {
			`dependencies:
  manifests:
    - {file: ../a, install_command: ["{cache_dir}"], includes: ["(", x]}
    - {file: b, refused: {.x: y}, variants: [{install_command: ["{x}"]}]}
`,
			[]string{
				"r.yaml:6: file and lock_files must be names of files at a pack's root",
				"r.yaml:6: {cache_dir} has no value in dependencies.manifests.0.install_command: there is {env_dir}, {interpreter}, {manifest_path}, {pack_dir}, {packs_dir}",
				"r.yaml:6: includes must be regular expressions with a group for the path",
				"r.yaml:6: includes must be regular expressions with a group for the path",
				"r.yaml:7: file and lock_files must be names of files at a pack's root",
				"r.yaml:7: dependencies.manifests.1.install_command is missing",
				"r.yaml:7: needs must be the name of a program, for example uv",
				"r.yaml:7: {x} has no value in dependencies.manifests.1.variants.0.install_command: there is {env_dir}, {interpreter}, {manifest_path}, {pack_dir}, {packs_dir}",
			},
		},
		"index, downloads, packages": {
			`dependencies:
  manifest_file: a
  install_command: [a]
  index: {vars: {A: "{cache_dir}"}, credentials: "{index_password} {env_dir}"}
  cache_vars: {ATTUNE_X: "{cache_dir}", B: "{index_url}"}
  packages: [{files: ../x, format: metadata}, {files: "a[", format: toml}]
`,
			[]string{
				"r.yaml:7: {cache_dir} has no value in dependencies.index.vars.A: there is {index_url}",
				"r.yaml:7: credentials_var must name a variable, and credentials say what is in its file",
				"r.yaml:7: {env_dir} has no value in dependencies.index.credentials: there is {index_address}, {index_basic}, {index_host}, {index_password}, {index_url}, {index_user}",
				`r.yaml:8: variable name "ATTUNE_X" must be letters, digits and _, and not begin with ATTUNE_`,
				"r.yaml:8: {index_url} has no value in dependencies.cache_vars.B: there is {cache_dir}",
				"r.yaml:9: files must be a pattern below the environment, for example lib/*/METADATA",
				"r.yaml:9: files must be a pattern below the environment, for example lib/*/METADATA",
				"r.yaml:9: format must be metadata or package.json",
			},
		},
	} {
		_, err := Load([]byte(head+test.text), "r.yaml")
		if err == nil {
			t.Errorf("%s: Load has no error", name)
			continue
		}
		if diff := cmp.Diff(test.want, strings.Split(err.Error(), "\n")); diff != "" {
			t.Errorf("%s: faults (-want +got):\n%s", name, diff)
		}
	}
}

// TestShortFormComesFirst: a runtime with manifest_file and manifests has both,
// and its variants' commands belong to the short form.
func TestShortFormComesFirst(t *testing.T) {
	t.Parallel()
	runtime := &Runtime{
		Dependencies: Dependencies{
			ManifestFile: "short", LockFiles: []string{"short.lock"}, InstallCommand: []string{"a"},
			Manifests: []Manifest{{File: "long", Settings: []string{"long.toml"}, Refused: map[string]string{"other.lock": "leave it"}}},
		},
		Variants: []Variant{{Needs: "tool", InstallCommand: []string{"b"}}},
	}
	if diff := cmp.Diff([]string{"short", "short.lock", "long", "long.toml"}, runtime.ManifestNames()); diff != "" {
		t.Errorf("ManifestNames (-want +got):\n%s", diff)
	}
	has := func(names ...string) func(string) bool {
		return func(name string) bool { return strings.Contains(" "+strings.Join(names, " ")+" ", " "+name+" ") }
	}
	if m := runtime.ChooseManifest(has("long", "short")); m == nil || m.File != "short" || m.Variants[0].InstallCommand[0] != "b" {
		t.Errorf("ChooseManifest of both = %+v, want the short form", m)
	}
	if m := runtime.ChooseManifest(has("short.lock")); m != nil {
		t.Errorf("ChooseManifest of a lock file = %+v, want none", m)
	}
	m := runtime.ChooseManifest(has("long"))
	if m == nil || m.File != "long" || m.LockFile(has("long")) != "" {
		t.Fatalf("ChooseManifest of the other = %+v", m)
	}
	if why := m.Refusal(has("long", "other.lock")); why != "other.lock is not read here: leave it" {
		t.Errorf("Refusal = %q", why)
	}
	if why := m.Refusal(has("long")); why != "" {
		t.Errorf("Refusal of nothing = %q", why)
	}
}
