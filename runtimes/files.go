package runtimes

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"attune/runtimes/agent"
)

// installed is a file to put on the volume.
type installed struct {
	name    string // below the directory, slashes allowed
	content []byte
	mode    os.FileMode
}

// InstallFile puts a copy of a file on the volume that containers share with
// the gateway, as <dir>/<digest>/<name>, and returns that directory. A copy of
// the same content that is there already is kept: gateways share it.
func InstallFile(dir, source, name string, mode os.FileMode) (string, error) {
	files, err := readForInstall(source, name, mode)
	if err != nil {
		return "", err
	}
	return install(dir, files)
}

func readForInstall(source, name string, mode os.FileMode) ([]installed, error) {
	content, err := os.ReadFile(source)
	if err != nil {
		return nil, err
	}
	return []installed{{name, content, mode}}, nil
}

// install puts files into a directory of dir that is named by all of them, and
// returns it.
func install(dir string, files []installed) (string, error) {
	slices.SortFunc(files, func(a, b installed) int { return strings.Compare(a.name, b.name) })
	hash := sha256.New()
	for _, f := range files {
		fmt.Fprintf(hash, "%s\x00%o\x00%d\x00", f.name, f.mode, len(f.content)) // a hash takes everything
		hash.Write(f.content)
	}
	target := filepath.Join(dir, hex.EncodeToString(hash.Sum(nil))[:32])
	if _, err := os.Stat(target); err == nil {
		return target, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	attempt, err := os.MkdirTemp(dir, ".new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(attempt)
	for _, f := range files {
		if err := f.write(attempt); err != nil {
			return "", err
		}
	}
	if err := os.Chmod(attempt, 0o755); err != nil {
		return "", err
	}
	// A rename onto a directory with content fails: then another gateway was
	// first, with the same bytes.
	if err := os.Rename(attempt, target); err != nil {
		if _, there := os.Stat(target); there == nil {
			return target, nil
		}
		return "", err
	}
	return target, nil
}

// commandsDir holds the commands for actions, in the agent's directory.
const commandsDir = "commands"

// InstallCommands puts the commands that the agent offers to actions beside it:
// links to itself.
func InstallCommands(agentDir string) error {
	dir := filepath.Join(agentDir, commandsDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // the umask may have cut it
		return err
	}
	err := os.Symlink("../"+AgentFile, filepath.Join(dir, agent.SecretCommand))
	if errors.Is(err, fs.ErrExist) {
		return nil // gateways share it
	}
	return err
}

// write makes the file below dir, durable and with its mode.
func (f installed) write(dir string) error {
	path := filepath.Join(dir, f.name)
	if parent := filepath.Dir(path); parent != dir {
		if err := os.MkdirAll(parent, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(parent, 0o755); err != nil { // the umask may have cut it
			return err
		}
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, f.mode)
	if err != nil {
		return err
	}
	if _, err := file.Write(f.content); err != nil {
		file.Close()
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := file.Chmod(f.mode); err != nil { // likewise
		file.Close()
		return err
	}
	if err := file.Sync(); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
