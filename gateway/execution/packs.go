package execution

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"attune/gateway/pack"
	"attune/runtimes"
)

// Packs are the packs that the gateway serves: a catalog that is replaced as a
// whole. Its methods may be called concurrently.
type Packs struct {
	Dir      string // packs_base_dir, absolute
	Registry *runtimes.Registry

	changing sync.Mutex
	catalog  atomic.Pointer[pack.Catalog]
	changed  func(before, after *pack.Catalog)
}

// LoadPacks reads the packs for the first time. A pack with faults is in the
// catalog as broken.
func LoadPacks(dir string, registry *runtimes.Registry) (*Packs, error) {
	p := &Packs{Dir: dir, Registry: registry, changed: func(_, _ *pack.Catalog) {}}
	catalog, err := pack.LoadCatalog(dir, registry, pack.LoadOptions{})
	if err != nil {
		return nil, err
	}
	p.catalog.Store(catalog)
	return p, nil
}

// OnChange says what follows a change of the catalog, before the next one. Call
// it before all but Catalog.
func (p *Packs) OnChange(f func(before, after *pack.Catalog)) { p.changed = f }

// Catalog is the present snapshot.
func (p *Packs) Catalog() *pack.Catalog { return p.catalog.Load() }

// Reload reads all packs again. After an error the ones from before are served.
func (p *Packs) Reload() error {
	return p.change(func(*pack.Catalog) (*pack.Catalog, error) {
		return pack.LoadCatalog(p.Dir, p.Registry, pack.LoadOptions{})
	})
}

func (p *Packs) change(next func(before *pack.Catalog) (*pack.Catalog, error)) error {
	p.changing.Lock()
	defer p.changing.Unlock()
	before := p.Catalog()
	after, err := next(before)
	if err != nil {
		return err
	}
	p.catalog.Store(after)
	p.changed(before, after)
	return nil
}

// read reads one pack again, the faultless only.
func (p *Packs) read(name string, force bool) (created bool, err error) {
	err = p.change(func(before *pack.Catalog) (*pack.Catalog, error) {
		_, known := before.Pack(pack.Ref(name))
		if known && !force {
			return nil, ErrRegistered
		}
		created = !known
		// By itself first: one with faults must not put the served one out.
		if _, err := pack.Load(filepath.Join(p.Dir, name), p.Registry, pack.LoadOptions{}); err != nil {
			return nil, err
		}
		after := before.With(p.Dir, name, p.Registry, pack.LoadOptions{})
		if broken, is := after.BrokenPack(pack.Ref(name)); is {
			return nil, broken.Err
		}
		return after, nil
	})
	return created, err
}

// component returns the name of a pack's directory: path is that name, or the
// absolute path of the directory, as packs_base_dir is for the gateway.
func (p *Packs) component(path string) (string, error) {
	if filepath.IsAbs(path) {
		relative, err := filepath.Rel(p.Dir, path)
		if err != nil {
			return "", ErrOutsidePacks
		}
		path = relative
	}
	name := filepath.Clean(path)
	if name == "" || strings.HasPrefix(name, ".") || strings.ContainsRune(name, filepath.Separator) {
		return "", ErrOutsidePacks
	}
	if info, err := os.Stat(filepath.Join(p.Dir, name)); err != nil || !info.IsDir() {
		return "", ErrOutsidePacks
	}
	return name, nil
}

// gone lists the packs of before whose directory isn't there any more. One that
// is broken is still somebody's.
func (p *Packs) gone(before, after *pack.Catalog) []*pack.Pack {
	var gone []*pack.Pack
	for _, old := range before.Packs() {
		if _, there := after.Pack(old.Ref); there {
			continue
		}
		if !p.exists(string(old.Ref)) {
			gone = append(gone, old)
		}
	}
	return gone
}

// exists tells whether a pack has a directory, whatever is in it. Where that
// can't be told it has.
func (p *Packs) exists(ref string) bool {
	_, err := os.Lstat(filepath.Join(p.Dir, ref))
	return !errors.Is(err, fs.ErrNotExist)
}

// empty: a directory without any pack is more likely one that isn't mounted than
// one whose packs were all deleted, and nothing is concluded from it.
func empty(catalog *pack.Catalog) bool {
	return len(catalog.Packs())+len(catalog.Broken()) == 0
}

// Provisioner has the environments of packs built before anybody calls, and
// cleans up after packs that go.
type Provisioner struct {
	Packs     *Packs
	Inventory *Inventory
	Ahead     bool // build at start and after changes; else only what is registered or called
}

// Start removes what deleted packs have left, begins the builds of all that
// isn't ready, and doesn't wait for them.
func (p *Provisioner) Start(ctx context.Context) {
	if !empty(p.Packs.Catalog()) {
		if err := p.Inventory.Cache.RemoveDeserted(ctx, p.Packs.exists); err != nil {
			p.Inventory.Logger.Warn("environments of deleted packs could not be removed", "error", err)
		}
	}
	if p.Ahead {
		p.Inventory.Cache.Plan(p.Inventory.Recipes())
	}
}

// Changed follows a change of the catalog: what is needed now is built, what
// nobody asks for is let go, and of packs that went nothing stays that a
// namesake could inherit.
func (p *Provisioner) Changed(ctx context.Context, before, after *pack.Catalog) {
	p.Inventory.Cache.Retain(p.Inventory.Recipes())
	for _, gone := range p.Packs.gone(before, after) {
		if empty(after) {
			break
		}
		for _, rt := range runtimesOf(gone) {
			if err := p.Inventory.Cache.Remove(ctx, string(gone.Ref), rt.Name); err != nil {
				p.Inventory.Logger.Warn("environment of a deleted pack could not be removed", "pack", gone.Ref, "runtime", rt.Name, "error", err)
			}
		}
	}
	p.Start(ctx)
}

// Register reads the pack in a directory below packs_base_dir, has its
// environments built and answers at once with each one's state. path is the
// name of the directory, or its absolute path. A pack that is known already is
// read again with force only.
//
// Errors: ErrOutsidePacks, ErrRegistered, a *multierror.Error of the pack's
// faults; then nothing has changed.
func (p *Provisioner) Register(_ context.Context, path string, force bool) (Registration, error) {
	name, err := p.Packs.component(path)
	if err != nil {
		return Registration{}, err
	}
	created, err := p.Packs.read(name, force)
	if err != nil {
		return Registration{}, err
	}
	registered, there := p.Packs.Catalog().Pack(pack.Ref(name))
	if !there {
		return Registration{}, fmt.Errorf("pack %s was removed right after it was registered", name)
	}
	recipes := p.Inventory.recipesOf(registered)
	p.Inventory.Cache.Plan(recipes)
	result := Registration{Pack: registered, Created: created}
	for _, r := range recipes {
		result.Environments = append(result.Environments, p.Inventory.whole(r))
	}
	return result, nil
}
