package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

// VersionCmd prints the version.
type VersionCmd struct {
	Output string `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

// build describes the program.
type build struct {
	Version  string `json:"version"`
	API      string `json:"api"` // of HTTP: /api/v1
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified"` // the source had changes beside the commit
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Run prints the version.
func (c *VersionCmd) Run(p *program) error {
	info, _ := debug.ReadBuildInfo()
	b := describe(info)
	if c.Output == "json" {
		return writeJSON(p.Stdout, b)
	}
	commit := cmp.Or(b.Commit, "unknown")
	if b.Modified {
		commit += " with changes"
	}
	fmt.Fprintf(p.Stdout, "attune %s (api %s, commit %s, %s, %s)\n", b.Version, b.API, commit, b.Go, b.Platform)
	return nil
}

// describe reads what the Go tool has written into the program; info may be nil.
func describe(info *debug.BuildInfo) build {
	b := build{Version: version, API: "v1", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info == nil {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// writeJSON prints a document for programs: indented, one newline at the end.
func writeJSON(w interface{ Write([]byte) (int, error) }, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
