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

// Recipes lists what the catalog's enabled packs need, in the order of packs. A
// runtime whose image can't be resolved now is left out, and logged.
func (i *Inventory) Recipes() []*envcache.Recipe {
	var recipes []*envcache.Recipe
	for _, p := range i.Catalog().Packs() {
		if !p.Enabled {
			continue
		}
		for _, rt := range runtimesOf(p) {
			if r := i.recipe(p, rt); r != nil {
				recipes = append(recipes, r)
			}
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
		list = append(list, i.status(r))
	}
	return list
}

// Show tells about one environment.
func (i *Inventory) Show(ref, runtime string) (envcache.Status, bool) {
	r := i.find(ref, runtime)
	if r == nil {
		return envcache.Status{}, false
	}
	return i.status(r), true
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
