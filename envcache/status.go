package envcache

import (
	"os"
	"time"
)

// State is where an environment stands.
type State string

const (
	StateAbsent   State = "absent"   // not built and nobody asked for it
	StateQueued   State = "queued"   // waits for a build slot or for another gateway's build
	StateBuilding State = "building" // this gateway builds, or follows a builder that runs already
	StateReady    State = "ready"
	StateDegraded State = "degraded" // the last build failed, and the generation before it serves
	StateFailed   State = "failed"   // the last build failed; NextRetry says when another is allowed
)

// Status describes the environment of one pack and runtime.
type Status struct {
	Pack    string `json:"pack"`
	Runtime string `json:"runtime"`
	State   State  `json:"state"`
	// Digest names the generation that the pack's present files ask for.
	Digest string `json:"digest"`
	// Serving is the generation that calls get now: Digest when it is ready, an
	// earlier one while Digest is being built or has failed, empty if none.
	Serving string `json:"serving,omitempty"`
	// RolledBack says that Digest exists, and that somebody chose an earlier
	// generation over it.
	RolledBack bool       `json:"rolled_back,omitempty"`
	Path       string     `json:"path"`             // {runtime_envs_dir}/{pack}/{runtime}, the same inside every container
	Phase      string     `json:"phase,omitempty"`  // of a build; see Phase
	Since      *time.Time `json:"since,omitempty"`  // start of the running build
	Reason     string     `json:"reason,omitempty"` // of a failure
	Attempt    int        `json:"attempt,omitempty"`
	NextRetry  *time.Time `json:"next_retry,omitempty"`
	// What follows is about the generation that serves.
	Image    string     `json:"image,omitempty"`    // ID of the image it was built in
	BuiltBy  string     `json:"built_by,omitempty"` // gateway ID
	BuiltAt  *time.Time `json:"built_at,omitempty"`
	BuildMS  int64      `json:"build_ms,omitempty"`
	Bytes    int64      `json:"bytes,omitempty"`
	Files    int64      `json:"files,omitempty"`
	Packages []Package  `json:"packages,omitempty"` // in Show only: what was installed, by name
	// Generations are in Show only: those on the volume, the newest first.
	Generations []Generation `json:"generations,omitempty"`
}

// Package is one that the installer has put into an environment.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Generation is one published build of an environment.
type Generation struct {
	Digest  string    `json:"digest"`
	Serving bool      `json:"serving"`
	BuiltAt time.Time `json:"built_at"`
	Bytes   int64     `json:"bytes"`
	Files   int64     `json:"files"`
	Image   string    `json:"image"`
}

// Status tells where the environment of a recipe stands, from memory and disk.
func (c *Cache) Status(r *Recipe) (Status, error) {
	s := Status{
		Pack: r.Pack, Runtime: r.Runtime.Name, State: StateAbsent, Image: r.Image.ID,
		Path: c.Layout.EnvDir(r.Pack, r.Runtime.Name, c.volume.pointer(r.Pack, r.Runtime.Name)),
	}
	d, err := c.digest(r)
	if err != nil {
		return s, err
	}
	s.Digest = d.digest
	marker, err := c.volume.published(d.digest)
	if err != nil {
		return s, err
	}
	if marker != nil {
		s.ready(marker)
		return s, nil
	}
	if record := c.volume.failureRecord(d.digest); record != nil {
		s.State = StateFailed
		s.Reason, s.Attempt, s.NextRetry = record.Reason, record.Attempt, &record.NextRetry
	}
	c.mu.Lock()
	f := c.flights[r.key()]
	c.mu.Unlock()
	if f != nil {
		s.flying(f)
	}
	return s, nil
}

func (s *Status) ready(m *Marker) {
	s.State, s.Serving = StateReady, m.Digest
	s.Packages = m.Packages
	s.Image, s.BuiltBy, s.BuildMS, s.Bytes, s.Files = m.Image, m.Builder, m.BuildMS, m.Bytes, m.Files
	if at, err := time.Parse(time.RFC3339, m.BuiltAt); err == nil {
		s.BuiltAt = &at
	}
}

func (s *Status) flying(f *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.State = StateBuilding
	if f.phase == PhaseQueued {
		s.State = StateQueued
	}
	s.Phase = string(f.phase)
}

// BuildLog returns what the last build of a recipe's environment printed.
func (c *Cache) BuildLog(r *Recipe) ([]byte, error) {
	d, err := c.digest(r)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(c.volume.log(d.digest))
}
