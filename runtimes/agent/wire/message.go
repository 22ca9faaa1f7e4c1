package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"
)

// Hello opens the connection: the agent's first, then the gateway's.
type Hello struct {
	Version  int   `json:"version"`
	Isolated bool  `json:"isolated"` // the agent is PID 1 of its container; meaningless from the gateway
	Setup    Setup `json:"setup"`    // meaningless from the agent
}

// Bounds of a Setup.
const (
	MaxSlots = 64
	MaxStock = 16
)

// Setup is what the agent keeps ready.
type Setup struct {
	Slots      int      `json:"slots"`
	Parent     *Program `json:"parent,omitempty"`
	Stock      *Program `json:"stock,omitempty"`
	StockCount int      `json:"stock_count,omitempty"`
}

// Program is a process that is not an execution.
type Program struct {
	Argv []string `json:"argv"`
	Dir  string   `json:"dir"`
	Env  []string `json:"env"`
}

// Ways to a process, in Start.Via and Exit.Via.
const (
	ViaExec   = 0
	ViaParent = 1
	ViaStock  = 2
)

// Start asks for an execution. The contents of Files, then Secrets, then stdin,
// follow its JSON in the frame.
type Start struct {
	ID          string        `json:"id"`
	Argv        []string      `json:"argv"`
	Dir         string        `json:"dir"`
	Env         []string      `json:"env"`
	Timeout     time.Duration `json:"timeout_ns"`
	Grace       time.Duration `json:"grace_ns"`
	StdoutLimit int64         `json:"stdout_limit"` // bytes to forward
	StderrLimit int64         `json:"stderr_limit"`
	Files       []File        `json:"files,omitempty"`
	Via         int           `json:"via,omitempty"`
	Script      []string      `json:"script,omitempty"`
	SecretsSize int           `json:"secrets,omitempty"` // bytes; 0 = none

	Secrets []byte `json:"-"` // a JSON document
	Stdin   []byte `json:"-"`
}

// File is a file that is made in the scratch directory before the start.
type File struct {
	Name string `json:"name"` // one path component
	Size int    `json:"size"`
	Data []byte `json:"-"`
}

// Kill ends an execution early: SIGTERM, grace, SIGKILL.
type Kill struct {
	Grace time.Duration `json:"grace_ns"`
}

// Exit is how an execution ended. It is the last frame of its stream.
type Exit struct {
	Via           int           `json:"via,omitempty"`
	Code          int           `json:"code"`
	Signal        int           `json:"signal,omitempty"`
	TimedOut      bool          `json:"timed_out,omitempty"`
	Cancelled     bool          `json:"cancelled,omitempty"`
	OutOfMemory   bool          `json:"out_of_memory,omitempty"`
	StdoutDropped int64         `json:"stdout_dropped,omitempty"`
	StderrDropped int64         `json:"stderr_dropped,omitempty"`
	Incomplete    bool          `json:"incomplete,omitempty"` // output was lost, or a process of it goes on
	Lost          bool          `json:"lost,omitempty"`       // nobody knows how the program ended; Code means nothing
	Reusable      bool          `json:"reusable"`
	Reason        string        `json:"reason,omitempty"`
	Duration      time.Duration `json:"duration_ns"`
	StartError    string        `json:"start_error,omitempty"` // the program could not be executed
}

// EncodeStart makes the payload of a start frame: length of the JSON, the JSON,
// the files, secrets, stdin.
func EncodeStart(s Start) ([]byte, error) {
	s.SecretsSize = len(s.Secrets)
	size := len(s.Stdin) + s.SecretsSize
	for i := range s.Files {
		s.Files[i].Size = len(s.Files[i].Data)
		size += s.Files[i].Size
	}
	head, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode start message: %w", err)
	}
	p := make([]byte, 0, 4+len(head)+size)
	p = binary.BigEndian.AppendUint32(p, uint32(len(head)))
	p = append(p, head...)
	for _, f := range s.Files {
		p = append(p, f.Data...)
	}
	p = append(p, s.Secrets...)
	return append(p, s.Stdin...), nil
}

// DecodeStart is the inverse of EncodeStart. The result refers to p.
func DecodeStart(p []byte) (Start, error) {
	if len(p) < 4 {
		return Start{}, fmt.Errorf("%w: start message of %d bytes", ErrProtocol, len(p))
	}
	n := binary.BigEndian.Uint32(p)
	p = p[4:]
	if uint64(n) > uint64(len(p)) {
		return Start{}, fmt.Errorf("%w: start header of %d bytes in a frame of %d", ErrProtocol, n, len(p))
	}
	var s Start
	if err := Decode(p[:n], &s); err != nil {
		return Start{}, err
	}
	p = p[n:]
	for i := range s.Files {
		f := &s.Files[i]
		if f.Size < 0 || f.Size > len(p) {
			return Start{}, fmt.Errorf("%w: file of %d bytes in a frame with %d left", ErrProtocol, f.Size, len(p))
		}
		f.Data, p = p[:f.Size], p[f.Size:]
	}
	if s.SecretsSize < 0 || s.SecretsSize > len(p) {
		return Start{}, fmt.Errorf("%w: secrets of %d bytes in a frame with %d left", ErrProtocol, s.SecretsSize, len(p))
	}
	s.Stdin = p[s.SecretsSize:]
	if s.SecretsSize > 0 {
		s.Secrets = p[:s.SecretsSize]
	}
	return s, nil
}

// Encode makes the payload of the other messages.
func Encode(message any) []byte {
	p, err := json.Marshal(message)
	if err != nil {
		panic(fmt.Sprintf("wire: encode %T: %v", message, err)) // plain structs of this package only
	}
	return p
}

// Decode reads the payload of the other messages; ErrProtocol if it is not one.
func Decode(payload []byte, message any) error {
	if err := json.Unmarshal(payload, message); err != nil {
		return fmt.Errorf("%w: decode %T: %w", ErrProtocol, message, err)
	}
	return nil
}
