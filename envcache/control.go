package envcache

import "errors"

// Errors of what people ask of an environment.
var (
	// ErrNoGeneration says that there is no other generation to go back to, or
	// not the one that was named.
	ErrNoGeneration = errors.New("there is no such generation of the environment")
	// ErrNotBuilt says that the environment has no generation at all.
	ErrNotBuilt = errors.New("the environment was never built")
)

// Verification is the result of looking at a generation again.
type Verification struct {
	Digest string `json:"digest"`
	OK     bool   `json:"ok"`
	// Faults say what differs from what was published, the first hundred.
	Faults []string `json:"faults"`
	Files  int64    `json:"files"` // looked at
	Bytes  int64    `json:"bytes"`
}

// Pruned is a generation that was deleted.
type Pruned struct {
	Pack    string `json:"pack"`
	Runtime string `json:"runtime"`
	Digest  string `json:"digest"`
	Bytes   int64  `json:"bytes"`
}
