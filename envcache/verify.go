package envcache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"attune/runtimes/container"
)

// probeTimeout bounds the run of a verify_command.
const probeTimeout = 60 * time.Second

// treeSize is how large an environment is.
type treeSize struct{ bytes, files int64 }

// verify treats what a builder left as hostile: it checks and owns the tree,
// lets the interpreter show that it runs, and writes the marker. Repeating it
// changes nothing.
func (c *Cache) verify(ctx context.Context, r *Recipe, d digested, attempt string, pure bool, started time.Time) error {
	// What came out of the builder under these names is not ours.
	for _, name := range []string{markerFile, listingFile} {
		if err := os.RemoveAll(filepath.Join(attempt, name)); err != nil {
			return err
		}
	}
	inside := ""
	if c.Layout.Isolated {
		inside = c.Layout.EnvDir(r.Pack, r.Runtime.Name, attempt)
	}
	size, err := sealTree(attempt, inside, c.Limits)
	if err != nil {
		return err
	}
	if len(r.Runtime.Environment.VerifyCommand) > 0 {
		if err := c.probe(ctx, r, d.digest, attempt); err != nil {
			return err
		}
	}
	if err := r.unchanged(d.inputs); err != nil {
		return err
	}
	installed, err := packages(attempt, r.Runtime.Dependencies.Packages)
	if err != nil {
		return err
	}
	listing, err := writeListing(attempt)
	if err != nil {
		return fmt.Errorf("list the environment: %w", err)
	}
	return c.mark(attempt, Marker{
		Digest: d.digest, Inputs: d.inputs, Builder: c.GatewayID, Image: d.inputs.Image, Pure: pure,
		Bytes: size.bytes, Files: size.files, Packages: installed, Listing: listing,
		BuiltAt: time.Now().UTC().Format(time.RFC3339Nano), BuildMS: time.Since(started).Milliseconds(),
	})
}

// mark writes the marker into an attempt that was found whole.
func (c *Cache) mark(attempt string, marker Marker) error {
	content, err := json.MarshalIndent(marker, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(attempt, markerFile), append(content, '\n'), 0o444)
}

// probe runs the verify_command in a throwaway container.
func (c *Cache) probe(ctx context.Context, r *Recipe, digest, attempt string) error {
	spec, err := c.probeSpec(r, digest, attempt)
	if err != nil {
		return err
	}
	exit, output, err := c.runProbe(ctx, spec)
	if err != nil {
		return fmt.Errorf("verify in a container: %w", err)
	}
	if exit.Code == 0 {
		return nil
	}
	return &FailedError{
		Reason: fmt.Sprintf("the environment does not work: its verify_command ended with exit code %d", exit.Code),
		Log:    output.tail(),
	}
}

// runProbe runs a throwaway container to its end and removes it.
func (c *Cache) runProbe(ctx context.Context, spec container.Spec) (container.Exit, *buildLog, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout+grace)
	defer cancel()
	output := newBuildLog(nil)
	probe, err := c.Engine.Create(ctx, spec)
	if err != nil {
		return container.Exit{}, output, err
	}
	defer c.cleanUp(ctx, probe)
	if err := probe.Start(ctx); err != nil {
		return container.Exit{}, output, err
	}
	exit, err := probe.Wait(ctx)
	if err != nil {
		return exit, output, err
	}
	return exit, output, probe.Logs(ctx, output)
}

// sealTree checks every entry of a finished attempt, makes it the gateway's
// own, readable by all and writable by nobody. The top directory stays writable:
// moving a directory needs that from everybody but root.
//
// inside is where containers see the attempt; empty where programs see the
// whole machine anyway, and a link may lead anywhere on it.
func sealTree(attempt, inside string, limits Limits) (treeSize, error) {
	var size treeSize
	err := filepath.WalkDir(attempt, func(p string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(attempt, p)
		if err != nil {
			return err
		}
		size.files++
		size.bytes += info.Size()
		if size.files > limits.MaxFiles || size.bytes > limits.MaxBytes {
			return refuse("the environment is larger than %d files or %d bytes", limits.MaxFiles, limits.MaxBytes)
		}
		return sealEntry(p, name, inside, info)
	})
	if errors.Is(err, fs.ErrPermission) {
		err = refuse("a directory of the environment can't be read")
	}
	return size, err
}

func sealEntry(p, name, inside string, info fs.FileInfo) error {
	mode := info.Mode()
	switch {
	case mode&fs.ModeSymlink != 0:
		target, err := os.Readlink(p)
		if err != nil {
			return err
		}
		if inside != "" && !linkStays(name, target, inside) {
			return refuse("symlink %q leads out of the environment", name)
		}
		return own(p)
	case !mode.IsRegular() && !mode.IsDir():
		return refuse("%q is neither file, directory nor symlink", name)
	case mode&(fs.ModeSetuid|fs.ModeSetgid) != 0:
		return refuse("%q is setuid or setgid", name)
	}
	if err := own(p); err != nil {
		return err
	}
	sealed := os.FileMode(0o444)
	switch {
	case name == ".":
		sealed = 0o755
	case mode.IsDir() || mode&0o111 != 0:
		sealed = 0o555
	}
	return os.Chmod(p, sealed)
}

// own gives an entry to the gateway's user, where that needs doing.
func own(p string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Lchown(p, 0, 0)
}

// toolDirs are where images keep interpreters: the only places outside that a
// link of an environment may lead to. They are the image's own, read-only, and
// hold nothing of anybody else's.
var toolDirs = []string{"/usr/bin/", "/usr/local/bin/", "/bin/"}

// linkStays tells whether a symlink, seen from inside a container, ends in the
// environment or at a tool of the image. name is the link's own path below
// inside, and holds no link.
//
// Going up is allowed at a target's beginning only. There ".." means what it
// says; after a name, which may be a link itself, it means anything.
func linkStays(name, target, inside string) bool {
	up, rest := 0, target
	for strings.HasPrefix(rest, "../") || rest == ".." {
		up, rest = up+1, strings.TrimLeft(strings.TrimPrefix(rest, ".."), "/")
	}
	if strings.ContainsRune(target, 0) || slices.Contains(strings.Split(rest, "/"), "..") {
		return false
	}
	if !path.IsAbs(target) {
		return up <= strings.Count(name, "/")
	}
	resolved := path.Clean(target)
	if resolved == inside || strings.HasPrefix(resolved, inside+"/") {
		return true
	}
	for _, dir := range toolDirs {
		if strings.HasPrefix(resolved, dir) {
			return true
		}
	}
	return false
}

// refuse is a failure of verification: the pack's own, not the machine's.
func refuse(format string, args ...any) error {
	return &FailedError{Reason: fmt.Sprintf(format, args...)}
}
