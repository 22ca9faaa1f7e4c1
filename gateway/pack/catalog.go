package pack

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"attune/runtimes"
	"attune/runtimes/strictyaml"
)

// Catalog is an immutable snapshot of a directory of packs, the broken ones
// included. What it gives out is shared: don't change it.
type Catalog struct {
	packs   []*Pack  // sorted by ref
	broken  []Broken // sorted by name
	byRef   map[Ref]*Pack
	actions map[ActionRef]*Action
	hooks   map[ActionRef]*Hook
}

// Broken is a pack that isn't served.
type Broken struct {
	Name string // of the directory; it may be no valid ref
	Err  error  // a *multierror.Error of every *Fault
}

// LoadCatalog loads every pack in packsDir. Entries that begin with a dot, and
// plain files, aren't packs. The error means that the directory itself can't be
// read; a broken pack is no error.
func LoadCatalog(packsDir string, reg *runtimes.Registry, opt LoadOptions) (*Catalog, error) {
	entries, err := os.ReadDir(packsDir)
	if err != nil {
		return nil, fmt.Errorf("read packs: %w", err)
	}
	entries = slices.DeleteFunc(entries, func(entry os.DirEntry) bool {
		return strings.HasPrefix(entry.Name(), ".") || entry.Type().IsRegular() || entry.Name() == "lost+found"
	})
	packs, errs := make([]*Pack, len(entries)), make([]error, len(entries))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, entry := range entries {
		group.Go(func() error {
			packs[i], errs[i] = Load(filepath.Join(packsDir, entry.Name()), reg, opt)
			return nil
		})
	}
	_ = group.Wait() // the faults are in errs
	catalog := &Catalog{byRef: map[Ref]*Pack{}, actions: map[ActionRef]*Action{}, hooks: map[ActionRef]*Hook{}}
	for i, entry := range entries {
		catalog.add(entry.Name(), packs[i], errs[i])
	}
	catalog.settle()
	return catalog, nil
}

func (c *Catalog) add(name string, pack *Pack, err error) {
	if err != nil {
		c.broken = append(c.broken, Broken{name, err})
		return
	}
	c.byRef[pack.Ref] = pack
}

// With returns a catalog in which one directory of packsDir was read again, and
// the broken packs with it, because they may have waited for this one. All
// others are as they were.
func (c *Catalog) With(packsDir, name string, reg *runtimes.Registry, opt LoadOptions) *Catalog {
	next := &Catalog{byRef: maps.Clone(c.byRef), actions: map[ActionRef]*Action{}, hooks: map[ActionRef]*Hook{}}
	delete(next.byRef, Ref(name))
	names := map[string]bool{name: true}
	for _, broken := range c.broken {
		names[broken.Name] = true
	}
	for name := range names {
		pack, err := Load(filepath.Join(packsDir, name), reg, opt)
		next.add(name, pack, err)
	}
	next.settle()
	return next
}

// settle takes out packs whose dependencies aren't there, until all are, and
// makes the indexes.
func (c *Catalog) settle() {
	for changed := true; changed; {
		changed = false
		for _, ref := range slices.Sorted(maps.Keys(c.byRef)) {
			if err := c.missing(c.byRef[ref]); err != nil {
				delete(c.byRef, ref)
				c.broken = append(c.broken, Broken{string(ref), err})
				changed = true
			}
		}
	}
	for _, pack := range c.byRef {
		c.packs = append(c.packs, pack)
		for _, action := range pack.Actions {
			c.actions[action.Ref] = action
		}
		for _, hook := range pack.Hooks {
			c.hooks[hook.Ref] = hook
		}
	}
	slices.SortFunc(c.packs, func(a, b *Pack) int { return cmp.Compare(a.Ref, b.Ref) })
	slices.SortFunc(c.broken, func(a, b Broken) int { return cmp.Compare(a.Name, b.Name) })
}

func (c *Catalog) missing(pack *Pack) error {
	var faults strictyaml.Faults
	for _, ref := range pack.Dependencies {
		if _, there := c.byRef[ref]; !there {
			faults.Addf(packFile, 0, "needs pack %s, which isn't there or is broken", ref)
		}
	}
	return faults.Err()
}

// Packs lists the packs that are served, the disabled ones included, by ref.
func (c *Catalog) Packs() []*Pack { return c.packs }

// Actions lists the actions of all packs by ref.
func (c *Catalog) Actions() []*Action {
	var all []*Action
	for _, pack := range c.packs {
		all = append(all, pack.Actions...)
	}
	return all
}

// Broken lists the packs that aren't served, by name.
func (c *Catalog) Broken() []Broken { return c.broken }

// BrokenPack finds a pack that isn't served.
func (c *Catalog) BrokenPack(ref Ref) (Broken, bool) {
	i, found := slices.BinarySearchFunc(c.broken, string(ref), func(b Broken, name string) int { return cmp.Compare(b.Name, name) })
	if !found {
		return Broken{}, false
	}
	return c.broken[i], true
}

// Pack finds a pack. Look at its Enabled.
func (c *Catalog) Pack(ref Ref) (*Pack, bool) {
	pack, ok := c.byRef[ref]
	return pack, ok
}

// Action finds an action. Its Enabled is false where its pack is disabled, too.
func (c *Catalog) Action(ref ActionRef) (*Action, bool) {
	action, ok := c.actions[ref]
	return action, ok
}

// Hooks lists the hooks of all packs by ref, the disabled ones included.
func (c *Catalog) Hooks() []*Hook {
	var all []*Hook
	for _, pack := range c.packs {
		all = append(all, pack.Hooks...)
	}
	return all
}

// Hook finds a hook. Its Enabled is false where its action or its pack is
// disabled, too.
func (c *Catalog) Hook(ref ActionRef) (*Hook, bool) {
	hook, ok := c.hooks[ref]
	return hook, ok
}
