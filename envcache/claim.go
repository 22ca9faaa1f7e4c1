package envcache

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// claimMark stands between an attempt's name and the time it was claimed at.
const claimMark = ".claim-"

// claim takes a finished attempt for verification by renaming it. Of two
// gateways that adopted the same builder one wins, and the other looks again; a
// claim older than ttl was left by a gateway that died.
func (v volume) claim(name string, ttl time.Duration) (string, error) {
	found, err := v.findAttempt(name)
	if err != nil {
		return "", err
	}
	if found == "" || (found != name && claimAge(found) < ttl) {
		return "", errAgain
	}
	claimed := fmt.Sprintf("%s%s%x-%s", name, claimMark, time.Now().UnixMilli(), randomName()[:8])
	// The builder may have taken the right to write from the top directory,
	// which everybody but root needs to move it.
	err = os.Chmod(v.attempt(found), 0o755)
	if err == nil {
		err = os.Rename(v.attempt(found), v.attempt(claimed))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", errAgain
	}
	if err != nil {
		return "", fmt.Errorf("claim the attempt: %w", err)
	}
	return claimed, nil
}

// unclaim lets another gateway verify an attempt at once. It may be gone: then
// another has it already.
func (v volume) unclaim(claimed string) error {
	name, _, ok := strings.Cut(claimed, claimMark)
	if !ok {
		return nil // it was never claimed
	}
	if err := os.Rename(v.attempt(claimed), v.attempt(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("give the attempt back: %w", err)
	}
	return nil
}

// findAttempt returns the present name of an attempt, which a claim has
// changed; empty if it is gone.
func (v volume) findAttempt(name string) (string, error) {
	if name == "" || !filepath.IsLocal(name) {
		return "", errors.New("a builder names no attempt")
	}
	entries, err := os.ReadDir(v.attempts())
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		if entry.Name() == name || strings.HasPrefix(entry.Name(), name+claimMark) {
			return entry.Name(), nil
		}
	}
	return "", nil
}

// discardAttempt deletes an attempt, claimed or not.
func (v volume) discardAttempt(name string) error {
	found, err := v.findAttempt(name)
	if err != nil || found == "" {
		return err
	}
	return v.discard(v.attempt(found))
}

// hasAttempt tells whether an attempt, claimed or not, is on the volume.
func (v volume) hasAttempt(name string) bool {
	found, err := v.findAttempt(name)
	return err == nil && found != ""
}

// attempting tells whether any attempt at a digest is on the volume.
func (v volume) attempting(digest string) bool {
	entries, err := os.ReadDir(v.attempts())
	return err == nil && slices.ContainsFunc(entries, func(entry fs.DirEntry) bool {
		return strings.HasPrefix(entry.Name(), digest+".")
	})
}

// claimAge is how long ago a claim was made. One from the future is as old as
// it is ahead: a clock that was set back must not keep it alive for ever.
func claimAge(claimed string) time.Duration {
	_, mark, _ := strings.Cut(claimed, claimMark)
	stamp, _, _ := strings.Cut(mark, "-")
	milli, err := strconv.ParseInt(stamp, 16, 64)
	if err != nil {
		return math.MaxInt64
	}
	return time.Since(time.UnixMilli(milli)).Abs()
}
