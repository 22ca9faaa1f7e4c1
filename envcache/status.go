package envcache

import (
	"errors"
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
	// Digest names the generation that the pack's present files ask for; empty
	// while nobody has asked for the environment.
	Digest string `json:"digest,omitempty"`
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
	Image   string     `json:"image,omitempty"`    // ID of the image it was built in
	BuiltBy string     `json:"built_by,omitempty"` // gateway ID
	BuiltAt *time.Time `json:"built_at,omitempty"`
	BuildMS int64      `json:"build_ms,omitempty"`
	Bytes   int64      `json:"bytes,omitempty"`
	Files   int64      `json:"files,omitempty"`
	// SharedFrom is set where it is a copy of another pack's build.
	SharedFrom *Origin   `json:"shared_from,omitempty"`
	Packages   []Package `json:"packages,omitempty"` // in Show only: what was installed, by name
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
		Pack: r.Pack, Runtime: r.Runtime.Name, State: StateAbsent,
		Path: c.Layout.EnvDir(r.Pack, r.Runtime.Name, c.volume.pointer(r.Pack, r.Runtime.Name)),
	}
	d, met, err := c.foretell(r)
	if err != nil {
		return s, err
	}
	if !met {
		s.waiting(c, r, d)
		return s, nil
	}
	s.Digest, s.RolledBack = d.asked, d.rolledBack()
	marker, err := c.serving(r, d)
	if errors.Is(err, ErrDamaged) {
		s.State, s.Reason = StateFailed, ErrDamaged.Error()
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if marker != nil {
		s.serves(marker)
		s.SharedFrom = c.volume.origin(marker)
	}
	if s.Serving == d.digest {
		s.State = StateReady
	}
	s.failing(c.volume.failureRecord(d.digest))
	s.waiting(c, r, d)
	return s, nil
}

// serving reads the marker of the generation that calls get; nil if there is
// none.
func (c *Cache) serving(r *Recipe, d digested) (*Marker, error) {
	if env := c.ready.peek(r.key()); env != nil {
		return c.volume.published(env.Digest)
	}
	if marker, err := c.volume.published(d.digest); marker != nil || err != nil {
		return marker, err
	}
	before := c.volume.pointsAt(r.Pack, r.Runtime.Name)
	if before == "" {
		return nil, nil
	}
	marker, err := c.volume.published(before)
	if marker == nil || marker.Inputs.Identity != d.inputs.Identity {
		return nil, err
	}
	return marker, nil
}

func (s *Status) serves(m *Marker) {
	s.Serving = m.Digest
	s.Packages = m.Packages
	s.Image, s.BuiltBy, s.BuildMS, s.Bytes, s.Files = m.Image, m.Builder, m.BuildMS, m.Bytes, m.Files
	if at := m.builtAt(); !at.IsZero() {
		s.BuiltAt = &at
	}
}

// failing tells about the last build of what isn't ready.
func (s *Status) failing(record *failureRecord) {
	if record == nil || s.State == StateReady {
		return
	}
	s.State = StateFailed
	if s.Serving != "" {
		s.State = StateDegraded
	}
	s.Reason, s.Attempt, s.NextRetry = record.Reason, record.Attempt, &record.NextRetry
}

// waiting tells about a build that goes on or will, here or elsewhere.
func (s *Status) waiting(c *Cache, r *Recipe, d digested) {
	c.mu.Lock()
	f, planned := c.flights[r.key()], c.planned[r.key()] != nil
	c.mu.Unlock()
	if f != nil && s.flying(f) || s.State == StateReady {
		return
	}
	switch {
	case d.digest != "" && c.volume.attempting(d.digest):
		s.State = StateBuilding // by another gateway, or by one that died and whose builder is adopted by the next call
	case planned, s.State == StateAbsent && s.Serving != "":
		s.State = StateQueued
	}
}

// flying reports false of a flight that has only looked so far.
func (s *Status) flying(f *flight) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch f.phase {
	case "", PhaseFailed, PhasePublished:
		return false
	case PhaseQueued:
		s.State = StateQueued
	default:
		s.State = StateBuilding
	}
	since := f.since
	s.Phase, s.Since = string(f.phase), &since
	return true
}

// BuildLog returns what the last build of a recipe's environment printed.
func (c *Cache) BuildLog(r *Recipe) ([]byte, error) {
	d, err := c.digest(r)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(c.volume.log(d.digest))
}
