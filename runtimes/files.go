package runtimes

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"attune/runtimes/agent"
)

// InstallFile puts a copy of a file on the volume that containers share with
// the gateway, as <dir>/<digest>/<name>, and returns that directory. A copy of
// the same content that is there already is kept: gateways share it.
func InstallFile(dir, source, name string, mode os.FileMode) (string, error) {
	content, err := os.Open(source)
	if err != nil {
		return "", err
	}
	defer content.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, content); err != nil {
		return "", fmt.Errorf("read %s: %w", source, err)
	}
	target := filepath.Join(dir, hex.EncodeToString(hash.Sum(nil))[:32])
	if _, err := os.Stat(filepath.Join(target, name)); err == nil {
		return target, nil
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	attempt, err := os.MkdirTemp(dir, ".new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(attempt)
	if err := copyTo(filepath.Join(attempt, name), content, mode); err != nil {
		return "", err
	}
	if err := os.Chmod(attempt, 0o755); err != nil {
		return "", err
	}
	// A rename onto a directory with content fails: then another gateway was
	// first, with the same bytes.
	if err := os.Rename(attempt, target); err != nil {
		if _, there := os.Stat(filepath.Join(target, name)); there == nil {
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

func copyTo(path string, from io.Reader, mode os.FileMode) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, from); err != nil {
		file.Close()
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := file.Chmod(mode); err != nil { // the umask may have cut it
		file.Close()
		return err
	}
	if err := file.Sync(); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
