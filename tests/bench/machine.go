package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// machine describes where and on what was measured.
func machine(ctx context.Context) string {
	parts := []string{fmt.Sprintf("%s, %d cores", field("/proc/cpuinfo", "model name", runtime.GOARCH), runtime.NumCPU())}
	if kib, err := strconv.Atoi(strings.TrimSuffix(field("/proc/meminfo", "MemTotal", ""), " kB")); err == nil {
		parts = append(parts, fmt.Sprintf("%d GiB", (kib+1<<19)>>20))
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		version, _, _ := strings.Cut(string(bytes.TrimSpace(release)), "-")
		parts = append(parts, "Linux "+version)
	}
	if engine, err := docker(ctx, "version", "--format", "{{.Server.Version}}"); err == nil {
		parts = append(parts, "Docker "+strings.TrimSpace(engine))
	}
	return strings.Join(append(parts, runtime.Version()), ", ")
}

// field finds "name : value" in a file of /proc.
func field(file, name, otherwise string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return otherwise
	}
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return otherwise
}

// docker runs a command of the engine's client and returns what it prints.
func docker(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w\n%s%s", args[0], err, out, stderr.Bytes())
	}
	return string(out), nil
}
