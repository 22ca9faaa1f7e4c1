package envcache

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"attune/runtimes"
	"attune/runtimes/container"
)

// secretive is a recipe that asks for an index with credentials, and a cache
// that offers some.
func (r *rig) secretive(t *testing.T, script string) (*Cache, *Recipe) {
	t.Helper()
	recipe := r.recipe(t, script)
	recipe.Index = "internal"
	recipe.Runtime.Dependencies.Index = runtimes.IndexUse{
		Vars: map[string]string{"INDEX": "{index_url}"}, CredentialsVar: "CREDENTIALS",
		Credentials: "{index_host} {index_address} {index_user} {index_password} {index_basic}\n",
	}
	return r.gateway(t, func(o *Options) {
		o.Vars = map[string]string{"INDEX": "https://usual"}
		o.Indexes = map[string]Index{
			"internal":        {URL: "https://all.example/x"},
			"internal.sh":     {URL: "https://one.example:8443/a/b", User: "me", Password: "s3/cret"},
			"internal.python": {URL: "https://python.example/x"},
		}
	}), recipe
}

func TestIndexReachesTheBuilderAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var specs []container.Spec
	r.engine.set(func(e *spyEngine) {
		e.create = func(spec container.Spec) error {
			specs = append(specs, spec)
			return nil
		}
	})
	c, recipe := r.secretive(t, `echo "$INDEX" >index; wc -c <"$CREDENTIALS" >size; stat -c %a "$CREDENTIALS" >mode; cat "$CREDENTIALS"; echo "s3%2Fcret at https://me:s3%2Fcret@one.example"`)
	recipe.Runtime.Environment.VerifyCommand = []string{"/bin/sh", "-c", `test -z "$CREDENTIALS$INDEX"`}
	env := mustEnsure(t, c, recipe)
	for name, want := range map[string]string{"index": "https://one.example:8443/a/b\n", "mode": "400\n", "size": "64\n"} {
		if got := read(t, filepath.Join(env.Dir, name)); got != want {
			t.Errorf("the builder's %s = %q, want %q", name, got, want)
		}
	}
	log, err := c.BuildLog(recipe)
	if want := "one.example //one.example:8443/a/b/ me *** ***\n*** at https://***@one.example\n"; err != nil || !strings.Contains(string(log), want) {
		t.Errorf("BuildLog() = %s, %v, want %q in it", log, err, want)
	}
	if len(specs) != 2 {
		t.Fatalf("%d containers, want builder and probe", len(specs))
	}
	for _, spec := range specs {
		all := strings.Join(append(append(spec.Env, spec.Entrypoint...), spec.Name), " ")
		for name, label := range maps.All(spec.Labels) {
			all += name + label
		}
		if strings.Contains(all, "s3/cret") || strings.Contains(all, "bWU6czMv") {
			t.Errorf("the engine is told the password: %s", all)
		}
	}
	_, marker, _ := strings.Cut(read(t, filepath.Join(env.Dir, markerFile)), `"install"`) // its create command says it all
	if strings.Contains(marker, "one.example") || strings.Contains(marker, "cret") || !strings.Contains(marker, "internal.sh") {
		t.Errorf("marker = %s, want the index's name and nothing else of it", marker)
	}
	if left, err := os.ReadDir(c.volume.memory); err != nil || len(left) > 0 {
		t.Errorf("credentials are left: %v, %v", left, err)
	}
	if info, err := os.Stat(c.volume.memory); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("everybody may look at the credentials' directory: %v", err)
	}
}

// TestSecretsGoWithTheirProgram: once a builder has ended, its credentials are
// not there any more, whatever becomes of the gateway then.
func TestSecretsGoWithTheirProgram(t *testing.T) {
	t.Parallel()
	for script, built := range map[string]bool{`test -s "$CREDENTIALS"`: true, `test -s "$CREDENTIALS" && exit 3`: false} {
		r := newRig(t)
		c, recipe := r.secretive(t, script)
		left := map[Point]int{}
		c.Fault = func(at Point) {
			if at == PointStarted || at == PointExited {
				entries, err := os.ReadDir(c.volume.memory)
				if err != nil {
					t.Error(err)
				}
				left[at] = len(entries)
			}
		}
		if built {
			mustEnsure(t, c, recipe)
		} else {
			mustFail(t, c, recipe)
		}
		if want := map[Point]int{PointStarted: 1, PointExited: 0}; !maps.Equal(left, want) {
			t.Errorf("%s: credentials on the volume: %v, want %v", script, left, want)
		}
	}
}

// TestSecretsGoWithAFailedBuild, too, and with a builder that never was.
func TestSecretsGoWithAFailedBuild(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, recipe := r.secretive(t, `test -s "$CREDENTIALS" && cat "$CREDENTIALS" && exit 3`)
	if failed := mustFail(t, c, recipe); strings.Contains(failed.Reason+failed.Log, "s3/cret") || !strings.Contains(failed.Log, "***") {
		t.Errorf("failure = %+v, want a log without the password", failed)
	}
	r.engine.set(func(e *spyEngine) { e.create = func(container.Spec) error { return container.ErrUnavailable } })
	change(t, recipe)
	mustFail(t, c, recipe)
	if left, err := os.ReadDir(c.volume.memory); err != nil || len(left) > 0 {
		t.Errorf("credentials are left: %v, %v", left, err)
	}
	r.nothingLeft(t)
}

func TestIndexIsPartOfTheDigest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, recipe := r.secretive(t, "true")
	digests := map[string]string{}
	note := func(name string) {
		in, err := c.inputs(recipe, identity)
		if err != nil {
			t.Fatal(err)
		}
		if other, taken := digests[in.digest()]; taken {
			t.Errorf("%s has the digest of %s", name, other)
		}
		digests[in.digest()] = name
	}
	note("internal")
	c.Indexes["internal.sh"] = Index{URL: "https://one.example:8443/a/c", User: "me", Password: "s3/cret"}
	note("another URL")
	in, _ := c.inputs(recipe, identity)
	c.Indexes["internal.sh"] = Index{URL: "https://one.example:8443/a/c", User: "you", Password: "new"}
	if again, err := c.inputs(recipe, identity); err != nil || again.digest() != in.digest() {
		t.Errorf("new credentials make a new digest (%v)", err)
	}
	delete(c.Indexes, "internal.sh")
	note("the index of all runtimes")
	recipe.Index = ""
	note("the usual index")
}

func TestIndexesThatCannotBe(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*Cache, *Recipe)
		want   string
	}{
		"not offered":    {func(_ *Cache, r *Recipe) { r.Index = "other" }, "index other, which the operator does not offer: build.indexes has internal, internal.python, internal.sh"},
		"no settings":    {func(_ *Cache, r *Recipe) { r.Runtime.Dependencies.Index = runtimes.IndexUse{} }, "runtime sh can't be told which index to use"},
		"no credentials": {func(_ *Cache, r *Recipe) { r.Runtime.Dependencies.Index.CredentialsVar = "" }, "takes credentials, which runtime sh can't be given"},
	} {
		r := newRig(t)
		c, recipe := r.secretive(t, "true")
		test.change(c, recipe)
		if failed := mustFail(t, c, recipe); failed.Infrastructure || !strings.Contains(failed.Reason, test.want) {
			t.Errorf("%s: failure = %+v, want %q", name, failed, test.want)
		}
		r.engine.wantBuilders(t, 0)
	}
}

func TestScriptsAreOffUnlessAsked(t *testing.T) {
	t.Parallel()
	recipe := shipped(t, "node", map[string]string{"package.json": "{}"})
	install := func() string {
		in, err := recipe.inputs(identity, nil)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(in.Install, " ")
	}
	if got := install(); !strings.HasSuffix(got, " --ignore-scripts") {
		t.Errorf("install = %s, want no scripts", got)
	}
	recipe.Scripts = true
	if got := install(); !strings.HasPrefix(got, "npm install ") || strings.Contains(got, "--ignore-scripts") {
		t.Errorf("install = %s, want scripts", got)
	}
	write(t, filepath.Join(recipe.PackDir, "package-lock.json"), "{}")
	recipe.Scripts = false
	if got := install(); !strings.HasPrefix(got, "npm ci ") || !strings.HasSuffix(got, " --ignore-scripts") {
		t.Errorf("with a lock file: install = %s, want npm ci without scripts", got)
	}
}

// TestNoMemoryNoCredentials: they are never on a disk.
func TestNoMemoryNoCredentials(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, recipe := r.secretive(t, "true")
	c.volume.memory = ""
	if failed := mustFail(t, c, recipe); !failed.Infrastructure || !strings.Contains(failed.Error(), "no memory") {
		t.Errorf("failure = %v", failed)
	}
	r.engine.wantBuilders(t, 0)
	r.nothingLeft(t)
}
