package wire

// Frames between gateway and worker: a length of the payload (4 bytes,
// big-endian), a type (1 byte), the payload. worker.md is the prose.
const WorkerHeaderSize = 5

// WorkerType says what a worker frame's payload is.
type WorkerType byte

// Types of worker frames. Numbers are never reused with another meaning.
const (
	WorkerCall    WorkerType = 1 // to the worker: JSON
	WorkerStdout  WorkerType = 2 // to the gateway: bytes
	WorkerStderr  WorkerType = 3 // to the gateway: bytes
	WorkerResult  WorkerType = 4 // to the gateway: JSON; ends the call
	WorkerText    WorkerType = 5 // to the gateway: UTF-8; ends the call
	WorkerFailure WorkerType = 6 // to the gateway: JSON; ends the call
	WorkerReady   WorkerType = 7 // to the gateway: empty; once, before the first call
	WorkerItem    WorkerType = 8 // to the gateway: JSON, one value of a generator
)

// Limits of a worker frame's payload in bytes. Results and items have those of
// their call instead.
const (
	MaxCall    = 16 << 20
	MaxFailure = 64 << 10
	MaxSkip    = 64 << 20 // the largest result or item that is read only to be dropped
)
