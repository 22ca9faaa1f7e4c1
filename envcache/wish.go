package envcache

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// wish is what gateways agree on about the environment of a pack and runtime.
// It is read, judged and written under the pointer's lock.
type wish struct {
	// Revision counts how often another generation was wanted; it only grows.
	Revision int64  `json:"revision"`
	Digest   string `json:"digest"`
	Shown    int64  `json:"shown"` // highest revision that the pointer was to lead to
	// Epoch is part of the digest: raising it builds the same inputs again.
	Epoch int64 `json:"epoch,omitempty"`
	// Refused is the generation that somebody went back from: as long as the
	// pack's files ask for it, Digest serves in its place.
	Refused string `json:"refused,omitempty"`
	// Rebuilt is the generation that somebody asked to be built anew, which a
	// copy of another would not be.
	Rebuilt string `json:"rebuilt,omitempty"`
	// History lists the generations that the pointer led to, the newest first.
	History []string `json:"history,omitempty"`
}

// maxHistory bounds the generations that are remembered, kept or not.
const maxHistory = 16

// wants notes that another generation is wanted from now on.
func (w *wish) wants(digest string) {
	w.Revision++
	w.Digest = digest
}

// shows notes that the pointer is to lead to a generation.
func (w *wish) shows(digest string, revision int64) {
	w.Shown = revision
	w.History = slices.DeleteFunc(w.History, func(d string) bool { return d == digest })
	w.History = slices.Insert(w.History, 0, digest)
	w.History = w.History[:min(len(w.History), maxHistory)]
}

// kept are the generations that pruning leaves alone: what is wanted, and the
// last ones that were pointed at.
func (w *wish) kept(most int) []string {
	return append(slices.Clone(w.History[:min(len(w.History), most)]), w.Digest)
}

func (v volume) wish(pack, runtime string) (wish, error) {
	var w wish
	content, err := os.ReadFile(v.wanted(pack, runtime))
	if errors.Is(err, fs.ErrNotExist) {
		return w, nil
	}
	if err != nil {
		return w, err
	}
	err = json.Unmarshal(content, &w)
	if err == nil {
		err = w.check()
	}
	if err != nil {
		return wish{}, fmt.Errorf("%s is damaged; remove it to start its count anew: %w", v.wanted(pack, runtime), err)
	}
	return w, nil
}

// check: digests become paths.
func (w *wish) check() error {
	for _, digest := range append([]string{w.Digest, w.Refused, w.Rebuilt}, w.History...) {
		if digest != "" && !digestGrammar.MatchString(digest) {
			return fmt.Errorf("%.40q is no digest", digest)
		}
	}
	return nil
}

func (v volume) setWish(pack, runtime string, w wish) error {
	content, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return v.replace(v.wanted(pack, runtime), content)
}

// stamp changes whenever a wish does: every write makes a new file.
type stamp struct {
	inode uint64
	sec   int64
	nsec  int64
}

// wishStamp is the stamp of a wish; zero where there is none.
func (v volume) wishStamp(pack, runtime string) stamp {
	var st unix.Stat_t
	if err := unix.Lstat(v.wanted(pack, runtime), &st); err != nil {
		return stamp{}
	}
	return stamp{st.Ino, int64(st.Ctim.Sec), int64(st.Ctim.Nsec)}
}
