// Package container is the port to whatever runs containers.
//
// A caller compiles a Spec (a pure decision), hands it to an Engine, and gets a
// Container back. What the program inside does is an Exit, a result; only an
// engine that could not do its work is an error.
//
// Order of calls: Create, Start once, then any of Logs and Wait, then Remove.
// All methods may be called concurrently. Remove is idempotent, may be called in
// every state, and is the duty of whoever called Create; a Create that returned
// an error left nothing behind.
//
// When a ctx ends, the error matches both ctx.Err() and its cause.
package container

import (
	"context"
	"errors"
	"io"
)

// Errors of the port; adapters wrap them, callers match with errors.Is.
var (
	// ErrNameTaken says that a container of that name exists (or is just being
	// removed). A name is a mutex that outlives the gateway and its lease.
	ErrNameTaken = errors.New("container name is taken")
	// ErrNoImage says that the engine has no such image.
	ErrNoImage = errors.New("no such image")
	// ErrUnavailable says that the engine does not answer.
	ErrUnavailable = errors.New("container engine is unavailable")
	// ErrNoContainer says that the container is gone.
	ErrNoContainer = errors.New("no such container")
)

// Label keys that every container of the product carries. Values hold refs and
// identifiers only, never anything of a request.
const (
	LabelRole    = "attune.role"    // RoleInstance, RoleBuilder or RoleProbe
	LabelGateway = "attune.gateway" // ID of the gateway that owns it
	LabelPack    = "attune.pack"
	LabelRuntime = "attune.runtime"
	LabelDigest  = "attune.digest" // of the environment
)

// Values of LabelRole.
const (
	RoleInstance = "instance"
	RoleBuilder  = "builder"
	RoleProbe    = "probe" // a throwaway container that checks something
)

// Engine runs containers.
type Engine interface {
	// Info describes the engine; ErrUnavailable if it does not answer.
	Info(ctx context.Context) (Info, error)
	// Image resolves a reference to an image the engine has; ErrNoImage otherwise.
	Image(ctx context.Context, ref string) (Image, error)
	// Create makes a container without starting it. ErrNameTaken, ErrNoImage.
	Create(ctx context.Context, spec Spec) (Container, error)
	// Find returns the containers that carry all the labels, in any state.
	Find(ctx context.Context, labels map[string]string) ([]Container, error)
	// Close releases the connection to the engine, after all other calls have
	// returned. Containers stay where the engine outlives the gateway.
	Close() error
}

// Container is one container, whoever created it.
type Container interface {
	ID() string
	Name() string
	Labels() map[string]string
	// Start starts it. ErrNoContainer if it was removed.
	Start(ctx context.Context) error
	// State tells where in its life it is. ErrNoContainer if it was removed.
	State(ctx context.Context) (State, error)
	// Logs copies its output (stdout and stderr interleaved) to w from the
	// beginning, and follows until the container stops or ctx ends. Without
	// Spec.KeepLogs it only waits for that. Adapters bound what they keep, and
	// what is lost beyond that is the oldest.
	Logs(ctx context.Context, w io.Writer) error
	// Wait returns when the container has stopped, at once if it has already;
	// one that was never started is waited for. ErrNoContainer if it was
	// removed meanwhile, also when the removal is what stopped it.
	Wait(ctx context.Context) (Exit, error)
	// Remove kills and removes it. No error if it is gone already.
	Remove(ctx context.Context) error
}

// Info describes an engine.
type Info struct {
	Name       string // "docker", "process"
	Version    string // "20.10.24"
	APIVersion string // negotiated, "1.41"; empty where there is none
	// Isolated is false where containers are plain child processes: then a
	// Mount can't move anything, so Source and Target must be equal, and the
	// program sees the machine's own paths.
	Isolated bool
	// SubpathMounts says that a volume's directory can be mounted by itself
	// (API 1.45); older engines bind the volume's mountpoint.
	SubpathMounts bool
	// SameMachine says that any path of the gateway's is the engine's, too: it
	// runs beside the engine, and in no container.
	SameMachine  bool
	OSType       string // "linux"
	Architecture string // Go's name: "amd64"
	RootDir      string // where the engine keeps its data, as the engine sees it
}

// Image is an image that the engine has.
type Image struct {
	Ref     string
	ID      string   // "sha256:…": what containers are created from
	Volumes []string // paths its VOLUME lines declare: they defeat a read-only root
	OS      string
	Arch    string // Go's name: "amd64"
}

// Phase is a stage of a container's life.
type Phase string

const (
	PhaseCreated Phase = "created"
	PhaseRunning Phase = "running"
	PhaseExited  Phase = "exited"
	PhaseGone    Phase = "removing"
)

// State tells where in its life a container is.
type State struct {
	Phase Phase
	Exit  Exit // meaningful when Phase is PhaseExited
}

// Exit is how a container's program ended.
type Exit struct {
	Code        int  // 128+n when killed by signal n
	OutOfMemory bool // the engine saw the kernel kill something in it
}

// Network is what a container may reach.
type Network string

const (
	NetworkNone     Network = "none"     // loopback only
	NetworkOutbound Network = "outbound" // the engine's default bridge
)

// Spec is all that is decided about a container. What every container of the
// product has in common (read-only root, no capabilities but CapAdd, no new
// privileges, private IPC, no restart, no devices) isn't here: adapters always
// set it.
type Spec struct {
	Name       string   // unique on the engine; empty = the adapter's choice
	Image      string   // ID, never a tag
	Entrypoint []string // absolute program path and its arguments
	User       string   // "uid:gid"
	Dir        string   // working directory, absolute
	Env        []string // KEY=value, sorted; all there is, except a HOME where this has none
	Labels     map[string]string
	Network    Network
	CapAdd     []string // sorted, without CAP_
	Mounts     []Mount
	Tmpfs      []Tmpfs
	Limits     Limits
	Runtime    string // OCI runtime; empty = the engine's default
	KeepLogs   bool   // the engine keeps output for Logs; off = output is discarded
}

// Mount shares a file or directory of the gateway's machine.
type Mount struct {
	// Source as the gateway sees it; an adapter translates it into what its
	// engine sees. It must exist, for nothing is created, and it must not be a
	// symbolic link, whose target a pack could choose. File systems mounted
	// below it are not part of it.
	Source   string
	Target   string // absolute path inside
	ReadOnly bool
}

// Tmpfs is a file system in memory, charged to the container.
type Tmpfs struct {
	Path   string
	Size   int64  // bytes
	Inodes int64  // 0 = the kernel's default
	Exec   bool   // programs on it may be run
	Mode   uint32 // 0 = it is the container's user's own
}

// Limits bound a container. There are no defaults: Validate refuses a zero.
type Limits struct {
	Memory   int64   // bytes; swap is never added
	CPU      float64 // cores
	Pids     int64
	NoFile   int64 // open descriptors per process
	FileSize int64 // bytes per file
}
