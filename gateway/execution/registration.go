package execution

import (
	"errors"

	"attune/envcache"
	"attune/gateway/pack"
)

// Errors of registering a pack. Faults of the pack itself are a
// *multierror.Error of *pack.Fault.
var (
	// ErrRegistered says that the pack is known, and that nobody has asked to
	// read it again.
	ErrRegistered = errors.New("the pack is registered already")
	// ErrOutsidePacks says that the path is not that of a directory directly
	// below packs_base_dir, which is all that the gateway serves.
	ErrOutsidePacks = errors.New("the path is not a directory directly below packs_base_dir")
)

// Registration is what registering a pack has led to.
type Registration struct {
	Pack    *pack.Pack
	Created bool // false: it was known, and has been read again
	// Environments are those that the pack needs, each as it stands: their
	// builds have been started, and nobody has waited for them.
	Environments []envcache.Status
}
