package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// quiet is how long nothing must change before packs are read again: an editor
// and a checkout write many files in a row.
const quiet = 300 * time.Millisecond

// maxWatched bounds the directories that are watched: the kernel has a limit
// for all programs of a user.
const maxWatched = 4096

// watchPacks reads the packs again after their files have changed, until ctx
// ends. Where watching is impossible (a network file system, the kernel's
// limit) it says so, and the packs are read on SIGHUP.
func (g *gateway) watchPacks(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		g.log.Warn("packs can't be watched; send SIGHUP after a change", "error", err)
		return nil
	}
	defer watcher.Close()
	w := packWatch{Watcher: watcher}
	if err := w.tree(g.packs.Dir); err != nil {
		g.log.Warn("not all packs are watched; send SIGHUP after a change", "error", err)
	}
	settled := time.NewTimer(quiet)
	settled.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-watcher.Events:
			if hidden(event.Name) || event.Op == fsnotify.Chmod {
				continue
			}
			if event.Has(fsnotify.Create) {
				if err := w.tree(event.Name); err != nil {
					g.log.Warn("not all packs are watched; send SIGHUP after a change", "error", err)
				}
			}
			settled.Reset(quiet)
		case err := <-watcher.Errors:
			// Events were lost: whatever they were, everything is read.
			g.log.Debug("watching packs", "error", err)
			settled.Reset(quiet)
		case <-settled.C:
			g.reload()
		}
	}
}

type packWatch struct{ *fsnotify.Watcher }

// tree watches a directory and all below; a file is watched by its directory.
func (w packWatch) tree(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // gone again
		case err != nil:
			return err
		case !entry.IsDir():
			return nil
		case path != root && (hidden(path) || entry.Name() == "node_modules"):
			return fs.SkipDir
		case len(w.WatchList()) >= maxWatched:
			return fmt.Errorf("there are more than %d directories", maxWatched)
		}
		if err := w.Add(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	})
}

// hidden: version control and editors keep their own files beside ours.
func hidden(path string) bool {
	name := filepath.Base(path)
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~")
}
