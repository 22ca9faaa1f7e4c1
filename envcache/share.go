package envcache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A generation may be a copy of one that was built for another pack, where both
// are of equal inputs: all that a digest is made over but whose it is and how
// often it was rebuilt. Nothing of it is trusted that wasn't published.
//
//   - Its builder has seen the files in the digest and nothing else of its pack
//     (view.go), and began without downloads: those of a pack hold what its
//     earlier builds left there. Only such a generation is marked pure.
//   - What is copied is what was listed when it was published: every file's
//     content is compared. A file that differs ends it, and the pack is built.
//   - So the copy is that of equal bytes, in an image of the same ID, that an
//     interpreter has shown to work, and needs no container to show it again.
//     It lies elsewhere: one that holds its own path isn't taken.
//
// Files are copied, not linked: on one inode packs could watch and lock each
// other, and what harms one would harm all.

// labelPure marks a builder that makes a generation from its inputs alone.
const labelPure = "attune.pure"

// Origin says whose build a generation is a copy of. The pack is not part of the
// marker, for every pack's code can read its own.
type Origin struct {
	Digest string `json:"digest"` // of the generation that was copied
	Pack   string `json:"pack,omitempty"`
	// ResolvedAt is when an installer chose the versions, for the first of these
	// copies.
	ResolvedAt time.Time `json:"resolved_at"`
}

// likeness is equal for generations that one build can serve.
func (in inputs) likeness() string {
	in.Identity, in.Pack, in.Epoch = "", "", 0
	return in.digest()
}

// resolvedAt is when an installer chose what is in a generation.
func (m *Marker) resolvedAt() time.Time {
	if m.Origin != nil {
		return m.Origin.ResolvedAt
	}
	return m.builtAt()
}

// errDiffers says that a generation isn't what was published.
var errDiffers = errors.New("it is not what was published")

// errPlaced says that a generation works only where it lies.
var errPlaced = errors.New("a file of it names the path where it lies")

// share publishes a copy of another pack's generation, if there is one that may
// be taken. It reports false where the pack is to be built: that is the answer to
// every fault of the source.
func (c *Cache) share(ctx context.Context, f *flight, d digested) (shared bool, err error) {
	source, release := c.source(f.recipe, d)
	if source == nil {
		return false, nil
	}
	defer release()
	c.Fault(PointSource)
	if builder, err := c.adoptable(ctx, d.digest); builder != nil || err != nil {
		return false, nil //nolint:nilerr // whoever makes a builder asks the engine again
	}
	started := time.Now()
	c.at(f, PhaseCopy, nil)
	output := newBuildLog(func(line string) { c.tell(f, PhaseCopy, line, nil) })
	fmt.Fprintf(output, "%sthe same as pack %s has, whose versions were chosen at %s: copying its environment %s\n",
		announcement, source.Inputs.Pack, source.resolvedAt().UTC().Format(time.RFC3339), source.Digest)
	attempt, err := c.attemptAt(d.digest)
	if err != nil {
		return false, err
	}
	err = c.copyOf(ctx, source, f.recipe, d, attempt, started)
	c.Fault(PointCopied)
	copied := err == nil
	if copied {
		c.at(f, PhasePublish, nil)
		_, err = c.volume.publish(c.volume.attempt(attempt), d.digest)
	}
	c.Fault(PointPublished)
	lost := err != nil && !c.volume.hasAttempt(attempt)
	// A published attempt has moved, a redundant one has not.
	if err := c.volume.discardAttempt(attempt); err != nil {
		c.Log.Warn("leftovers of a copy stay for the reaper", "digest", d.digest, "error", err)
	}
	switch {
	case err == nil:
		c.keepLog(d.digest, output)
		c.Log.Info("environment was copied from another pack's", "pack", f.recipe.Pack, "runtime", f.recipe.Runtime.Name,
			"digest", d.digest, "from", source.Inputs.Pack, "from_digest", source.Digest, "resolved_at", source.resolvedAt())
		return true, nil
	case lost:
		return false, errAgain // another gateway's reaper took it for abandoned
	case copied, ctx.Err() != nil, full(err):
		return false, err
	}
	c.refuseSource(source, err)
	fmt.Fprintf(output, "%snot copied: %v\n", announcement, err)
	return false, nil
}

// refuseSource says why a pack is built although another has the same. Damage is
// told as env verify would tell it; that a path is in it, is its installer's way.
func (c *Cache) refuseSource(source *Marker, why error) {
	log := c.Log.With("pack", source.Inputs.Pack, "runtime", source.Inputs.Runtime, "digest", source.Digest, "error", why)
	switch _, err := os.Lstat(c.volume.generation(source.Digest)); {
	case errors.Is(why, errPlaced):
		log.Debug("an environment can't be copied for another pack")
	case errors.Is(err, fs.ErrNotExist):
		// Removed by hand, or by a gateway that couldn't be told of this one.
	case errors.Is(why, errDiffers):
		log.Error("an environment is damaged, and was not copied for another pack: rebuild it")
	default:
		log.Warn("an environment could not be copied for another pack")
	}
}

// source finds the generation that a recipe's may be copied of, and holds it; nil
// if it has to be built.
func (c *Cache) source(r *Recipe, d digested) (*Marker, func()) {
	if c.Limits.Share <= 0 || !r.shareable(d.inputs) {
		return nil, nil
	}
	// Who asks for a rebuild wants what an installer makes now.
	if w, err := c.volume.wish(r.Pack, r.Runtime.Name); err != nil || w.Rebuilt == d.digest {
		return nil, nil
	}
	for _, m := range c.candidates(d.inputs.likeness()) {
		if !c.fresh(r, d.inputs, m) || m.Bytes > c.Limits.MaxBytes || m.Files > c.Limits.MaxFiles {
			continue
		}
		env, err := c.open(m.Digest)
		if env == nil || err != nil {
			continue // pruned, or damaged: whoever asks for it is told
		}
		c.copying(m.Digest, 1)
		return m, func() {
			c.copying(m.Digest, -1)
			env.Release()
		}
	}
	return nil, nil
}

// fresh tells whether an installer would choose the same versions again, or has
// chosen them lately.
func (c *Cache) fresh(r *Recipe, in inputs, m *Marker) bool {
	if r.pinned(in) {
		return true
	}
	age := time.Since(m.resolvedAt())
	return age >= 0 && age < c.Limits.Share
}

// pinned tells whether a lock file says what is installed, or nothing is.
func (r *Recipe) pinned(in inputs) bool {
	manifest, has := r.manifest(in.Manifests)
	return manifest == nil || manifest.LockFile(has) != "" && len(manifest.LockedInstallCommand) > 0
}

// candidates are the generations of a likeness that may be copied, the one that
// was resolved last first. Of each pack only its newest rebuild counts, and none
// that somebody went back from.
func (c *Cache) candidates(likeness string) []*Marker {
	entries, err := os.ReadDir(c.volume.store())
	if err != nil {
		return nil
	}
	newest := map[string]*Marker{} // of each pack's identity
	for _, entry := range entries {
		m, err := c.volume.published(entry.Name())
		if err != nil || m == nil || m.Inputs.likeness() != likeness || m.Inputs.digest() != m.Digest {
			continue
		}
		if other := newest[m.Inputs.Identity]; other == nil || other.Inputs.Epoch < m.Inputs.Epoch {
			newest[m.Inputs.Identity] = m
		}
	}
	var found []*Marker
	for _, m := range newest {
		w, err := c.volume.wish(m.Inputs.Pack, m.Inputs.Runtime)
		if m.Pure && m.Listing != "" && err == nil && w.Refused != m.Digest {
			found = append(found, m)
		}
	}
	slices.SortFunc(found, func(a, b *Marker) int { return b.resolvedAt().Compare(a.resolvedAt()) })
	return found
}

// copying counts who copies a generation, for the heartbeat.
func (c *Cache) copying(digest string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sources[digest] += n; c.sources[digest] == 0 {
		delete(c.sources, digest)
	}
}

// copyOf fills an attempt with what was published of a source, and marks it.
func (c *Cache) copyOf(ctx context.Context, source *Marker, r *Recipe, d digested, attempt string, started time.Time) error {
	path := c.volume.attempt(attempt)
	job := copyJob{from: c.volume.generation(source.Digest), to: path, most: source.Bytes}
	if source.Inputs.Pack != r.Pack || !c.Layout.Isolated {
		job.foreign = c.placesOf(source)
	}
	if c.Layout.Isolated {
		job.inside = c.Layout.EnvDir(r.Pack, r.Runtime.Name, path)
	}
	if err := job.run(ctx, source.Listing); err != nil {
		return err
	}
	origin := &Origin{Digest: source.Digest, ResolvedAt: source.resolvedAt()}
	return c.mark(path, Marker{
		Digest: d.digest, Inputs: d.inputs, Builder: c.GatewayID, Image: d.inputs.Image, Pure: true, Origin: origin,
		Bytes: source.Bytes, Files: source.Files, Packages: source.Packages, Listing: source.Listing,
		BuiltAt: time.Now().UTC().Format(time.RFC3339Nano), BuildMS: time.Since(started).Milliseconds(),
	})
}

// placesOf are the paths that a builder of a source knew and no copy may name.
func (c *Cache) placesOf(source *Marker) []string {
	if !c.Layout.Isolated {
		return []string{c.volume.root + string(filepath.Separator)}
	}
	in := source.Inputs
	return []string{c.Layout.EnvDir(in.Pack, in.Runtime, ""), c.Layout.PackDir(in.Pack, "")}
}

// origin tells whose build a generation is a copy of, with the pack's name where
// that is still known; nil of one that was built.
func (v volume) origin(m *Marker) *Origin {
	if m.Origin == nil {
		return nil
	}
	origin := *m.Origin
	if !digestGrammar.MatchString(origin.Digest) {
		return &origin
	}
	if source, err := v.published(origin.Digest); err == nil && source != nil {
		origin.Pack = source.Inputs.Pack
	}
	return &origin
}

// listing reads the list of a generation's files, if it is the one that was
// published.
func readListing(dir, sum string) ([]byte, error) {
	content, err := os.ReadFile(filepath.Join(dir, listingFile))
	if err != nil {
		return nil, fmt.Errorf("%w: the list of its files: %w", errDiffers, err)
	}
	if found := sha256.Sum256(content); hex.EncodeToString(found[:]) != sum {
		return nil, fmt.Errorf("%w: the list of its files", errDiffers)
	}
	return content, nil
}
