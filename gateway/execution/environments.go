package execution

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"attune/envcache"
	"attune/gateway/pack"
	"attune/runtimes"
)

// ErrNoEnvironment says that there is no such pack, or that it has no
// environment of that runtime.
var ErrNoEnvironment = errors.New("there is no such environment")

// Inventory tells about the environments of a catalog's packs.
type Inventory struct {
	Catalog func() *pack.Catalog
	Cache   *envcache.Cache
	Images  *Images
	Logger  *slog.Logger
}

// imageTimeout bounds the question for an image on behalf of a listing.
const imageTimeout = 5 * time.Second

// knownTimeout bounds those questions for one Known together.
const knownTimeout = time.Second

// Recipes lists what the catalog's enabled packs need, in the order of packs. A
// runtime whose image can't be resolved now is left out, and logged.
func (i *Inventory) Recipes() []*envcache.Recipe {
	var recipes []*envcache.Recipe
	for _, p := range i.Catalog().Packs() {
		recipes = append(recipes, i.recipesOf(p)...)
	}
	return recipes
}

// recipesOf lists what one pack needs; nothing if it is disabled.
func (i *Inventory) recipesOf(p *pack.Pack) []*envcache.Recipe {
	var recipes []*envcache.Recipe
	if !p.Enabled {
		return nil
	}
	for _, rt := range runtimesOf(p) {
		if r := i.recipe(p, rt); r != nil {
			recipes = append(recipes, r)
		}
	}
	return recipes
}

// runtimesOf lists the runtimes with environments that a pack's actions use.
func runtimesOf(p *pack.Pack) []*runtimes.Runtime {
	var list []*runtimes.Runtime
	seen := map[string]bool{}
	for _, a := range p.Actions {
		if a.Enabled && a.Runtime.HasEnvironment() && !seen[a.Runtime.Name] {
			seen[a.Runtime.Name] = true
			list = append(list, a.Runtime)
		}
	}
	return list
}

func (i *Inventory) recipe(p *pack.Pack, rt *runtimes.Runtime) *envcache.Recipe {
	ctx, cancel := context.WithTimeout(context.Background(), imageTimeout)
	defer cancel()
	image, err := i.Images.Resolve(ctx, rt)
	if err != nil {
		i.Logger.Warn("environment can't be told: no image", "pack", p.Ref, "runtime", rt.Name, "error", err)
		return nil
	}
	return recipe(p, rt, image)
}

// List tells where every environment stands.
func (i *Inventory) List() []envcache.Status {
	list := []envcache.Status{}
	for _, r := range i.Recipes() {
		status := i.status(r)
		status.Packages = nil
		list = append(list, status)
	}
	return list
}

// Known is List for who asks again and again: quick, and silent about what it
// leaves out, the runtimes whose image isn't known and can't be found in a moment.
func (i *Inventory) Known() []envcache.Status {
	ctx, cancel := context.WithTimeout(context.Background(), knownTimeout)
	defer cancel()
	var list []envcache.Status
	for _, p := range i.Catalog().Packs() {
		if !p.Enabled {
			continue
		}
		for _, rt := range runtimesOf(p) {
			if image, err := i.Images.Resolve(ctx, rt); err == nil {
				list = append(list, i.status(recipe(p, rt, image)))
			}
		}
	}
	return list
}

// Show tells all about one environment.
func (i *Inventory) Show(ref, runtime string) (envcache.Status, bool) {
	r := i.find(ref, runtime)
	if r == nil {
		return envcache.Status{}, false
	}
	return i.whole(r), true
}

// Log returns what the last build of an environment printed.
func (i *Inventory) Log(ref, runtime string) ([]byte, bool) {
	r := i.find(ref, runtime)
	if r == nil {
		return nil, false
	}
	content, err := i.Cache.BuildLog(r)
	return content, err == nil
}

// Subscribe follows the builds of an environment; false if there is none.
func (i *Inventory) Subscribe(ref, runtime string) (*envcache.Subscription, bool) {
	if i.find(ref, runtime) == nil {
		return nil, false
	}
	return i.Cache.Subscribe(ref, runtime), true
}

// Build starts a build, whatever the back-off says. ErrNoEnvironment.
func (i *Inventory) Build(ref, runtime string) (envcache.Status, error) {
	return i.change(ref, runtime, i.Cache.Build)
}

// Rebuild starts a build of the same inputs beside the serving generation.
// ErrNoEnvironment.
func (i *Inventory) Rebuild(ref, runtime string) (envcache.Status, error) {
	return i.change(ref, runtime, i.Cache.Rebuild)
}

// Rollback makes an earlier generation serve; an empty digest is the one before.
// ErrNoEnvironment, envcache.ErrNoGeneration.
func (i *Inventory) Rollback(ref, runtime, digest string) (envcache.Status, error) {
	return i.change(ref, runtime, func(r *envcache.Recipe) error { return i.Cache.Rollback(r, digest) })
}

func (i *Inventory) change(ref, runtime string, f func(*envcache.Recipe) error) (envcache.Status, error) {
	r := i.find(ref, runtime)
	if r == nil {
		return envcache.Status{}, ErrNoEnvironment
	}
	if err := f(r); err != nil {
		return envcache.Status{}, err
	}
	return i.whole(r), nil
}

// Verify compares the serving generation with what was published.
// ErrNoEnvironment, envcache.ErrNotBuilt.
func (i *Inventory) Verify(ctx context.Context, ref, runtime string) (envcache.Verification, error) {
	r := i.find(ref, runtime)
	if r == nil {
		return envcache.Verification{}, ErrNoEnvironment
	}
	return i.Cache.Verify(ctx, r)
}

// Prune deletes the generations that nobody needs; see envcache.Cache.Prune. What
// could not be deleted is an error only where nothing could.
func (i *Inventory) Prune(ctx context.Context, all bool) ([]envcache.Pruned, error) {
	pruned, err := i.Cache.Prune(ctx, all)
	if err != nil && len(pruned) > 0 {
		i.Logger.Warn("not all old environments could be pruned", "error", err)
		err = nil
	}
	return pruned, err
}

// Remove forgets an environment, also that of a pack which isn't served any
// more. ErrNoEnvironment.
func (i *Inventory) Remove(ctx context.Context, ref, runtime string) error {
	if i.find(ref, runtime) == nil && !i.Cache.Has(ref, runtime) {
		return ErrNoEnvironment
	}
	return i.Cache.Remove(ctx, ref, runtime)
}

// whole is a status with what a listing leaves out.
func (i *Inventory) whole(r *envcache.Recipe) envcache.Status {
	s := i.status(r)
	generations, err := i.Cache.Generations(r)
	if err != nil {
		i.Logger.Warn("generations can't be read", "pack", r.Pack, "runtime", r.Runtime.Name, "error", err)
	}
	s.Generations = generations
	return s
}

func (i *Inventory) status(r *envcache.Recipe) envcache.Status {
	s, err := i.Cache.Status(r)
	if err != nil {
		i.Logger.Warn("environment can't be read", "pack", r.Pack, "runtime", r.Runtime.Name, "error", err)
		s.State, s.Reason = envcache.StateFailed, "the environment can't be read; the gateway's log says why"
	}
	return s
}

func (i *Inventory) find(ref, runtime string) *envcache.Recipe {
	p, ok := i.Catalog().Pack(pack.Ref(ref))
	if !ok {
		return nil
	}
	for _, rt := range runtimesOf(p) {
		if rt.Name == runtime {
			return i.recipe(p, rt)
		}
	}
	return nil
}
