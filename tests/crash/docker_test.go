package crash

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"attune/envcache"
	"attune/runtimes/container"
	"attune/runtimes/container/containertest"
)

// newDockerRig is a rig whose builders are real containers.
func newDockerRig(t *testing.T, l leases) *rig {
	t.Helper()
	engine := containertest.RequireDocker(t)
	r := newRig(t, l)
	r.config.Image = containertest.RequireImage(t, engine).Ref
	r.hosts[0].engine, r.hosts[0].socket = engine, ""
	for _, dir := range []string{r.root, r.packs, filepath.Dir(r.root), filepath.Dir(r.packs)} {
		if err := os.Chmod(dir, 0o755); err != nil { // the builder is an ordinary user
			t.Fatal(err)
		}
	}
	r.owns = func(c container.Container) bool { return r.digests()[c.Labels()[container.LabelDigest]] > 0 }
	t.Cleanup(func() { r.removeOwn(engine) })
	return r
}

// removeOwn removes what a failed test has left at an engine of many.
func (r *rig) removeOwn(engine container.Engine) {
	ctx := context.WithoutCancel(r.t.Context())
	for digest := range r.digests() {
		found, err := engine.Find(ctx, map[string]string{container.LabelDigest: digest})
		if err != nil {
			r.t.Errorf("look for what is left: %v", err)
		}
		for _, c := range found {
			r.t.Errorf("container %s is left (removed: %v)", c.Name(), c.Remove(ctx))
		}
	}
}

// Real containers, at each point once.
func TestI4ReadyAfterAnyCrashWithDocker(t *testing.T) {
	t.Parallel()
	for _, point := range envcache.Points {
		t.Run(string(point), func(t *testing.T) {
			t.Parallel()
			r := newDockerRig(t, byRedis)
			g := r.stoppedAt(point)
			next := r.gateway(nil)
			g.kill()
			r.readyBy(next, r.pack(1), time.Now().Add(4*bound)) // real containers take their time
			r.rest(next)
		})
	}
}

// A builder that tries to write wherever it can reaches nothing but its attempt,
// also when its gateway is killed and another takes it over.
func TestI9BuilderTouchesOnlyItsAttempt(t *testing.T) {
	t.Parallel()
	r := newDockerRig(t, byFile)
	r.config.Script = `for d in / /etc /usr/bin /var/tmp /opt /opt/attune /opt/attune/bin /opt/attune/packs /opt/attune/runtime_envs \
	/opt/attune/runtime_envs/demo {env_dir}/.. {env_dir}/../.. {pack_dir} {pack_dir}/.. {env_dir}/.store ` + r.root + ` ` + r.packs + `; do
	if touch "$d/hostile" 2>/dev/null; then echo "$d" >>written; fi
	if rm -rf "$d"/deps.txt "$d"/.store 2>/dev/null; then :; fi
done
ln -s ../../../.store out 2>/dev/null && rm out
` + script
	r.readyBy(r.gateway(nil), r.packOf("neighbour", 1), time.Now().Add(4*bound))
	if err := os.Chmod(r.pack(1).dir, 0o777); err != nil { // only the mount is in the way
		t.Fatal(err)
	}
	before := tree(t, r.root, r.packs, agentDir)
	g := r.stops(r.pack(1), envcache.PointStarted)
	next := r.gateway(nil)
	g.kill()
	env := r.readyBy(next, r.pack(1), time.Now().Add(4*bound))
	if written, err := os.ReadFile(filepath.Join(env.Dir, "written")); err == nil {
		t.Errorf("I9: the builder wrote to %q", written)
	}
	after := tree(t, r.root, r.packs, agentDir)
	for path, was := range before {
		if is, there := after[path]; !there || is != was {
			t.Errorf("I9: %s was %s, and is %s", path, was, is)
		}
	}
	for path := range after {
		if strings.Contains(path, "hostile") {
			t.Errorf("I9: the builder made %s", path)
		}
	}
	r.rest(next)
}

// tree is what files there are, and when they were changed last. What a gateway
// itself keeps writing is left out.
func tree(t *testing.T, roots ...string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			info, err := entry.Info()
			if err == nil {
				found[path] = info.Mode().String() + " " + info.ModTime().String()
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}
