package envcache

import "context"

// References tells gateways on other machines which generations of a shared
// volume are in use here; on one machine file locks do that. It is best effort
// at telling and strict at asking: who can't ask prunes nothing.
type References interface {
	// Hold says that this gateway uses a generation, for as long as a
	// heartbeat repeats it.
	Hold(ctx context.Context, digest string) error
	// Heartbeat replaces all that this gateway holds.
	Heartbeat(ctx context.Context, digests []string) error
	// Held tells whether another gateway uses a generation.
	Held(ctx context.Context, digest string) (bool, error)
}

// noReferences is for gateways of one machine.
type noReferences struct{}

func (noReferences) Hold(context.Context, string) error         { return nil }
func (noReferences) Heartbeat(context.Context, []string) error  { return nil }
func (noReferences) Held(context.Context, string) (bool, error) { return false, nil }
