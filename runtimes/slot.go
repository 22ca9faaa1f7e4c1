package runtimes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"attune/runtimes/agent"
)

// ErrOutOfMemory says that the kernel killed something in the instance while a
// call ran; it comes with agent.ErrLost.
var ErrOutOfMemory = errors.New("out of memory")

// Slot is a place for one execution at a time in an instance. Who has acquired
// it uses it alone, until Release.
type Slot struct {
	instance *Instance
	worker   worker // of isolation worker; nil otherwise, and while there is none
	spoiled  bool   // the instance must not be used again
}

// worker is the part of agent.Worker that a slot needs.
type worker interface {
	Call(ctx context.Context, c agent.Call, out agent.Output) (agent.Reply, error)
	Close(ctx context.Context) (agent.Exit, error)
}

// NewSlot returns a slot of no pool, whose calls go to w: for who hands out slots
// of its own, as tests and benchmarks do.
func NewSlot(w worker) *Slot { return &Slot{instance: &Instance{}, worker: w} }

// ID is that of the instance's container.
func (s *Slot) ID() string { return s.instance.ID() }

// Execute runs one program in the slot. The errors are the agent's:
// agent.ErrNotStarted, agent.ErrLost, *agent.StartError.
func (s *Slot) Execute(ctx context.Context, req agent.Request, out agent.Output) (agent.Exit, error) {
	return s.instance.link.Execute(ctx, req, out)
}

// Call calls a handler in the slot's worker. A worker that doesn't answer in
// time is killed before Call returns; then, and when it is lost, the slot knows
// what becomes of it. Errors: those of agent.Worker.Call.
func (s *Slot) Call(ctx context.Context, c agent.Call, out agent.Output) (agent.Reply, error) {
	if s.worker == nil {
		return agent.Reply{}, fmt.Errorf("%w: the slot has no worker", agent.ErrNotStarted)
	}
	reply, err := s.worker.Call(ctx, c, out)
	if err == nil || errors.Is(err, agent.ErrTooLarge) || errors.Is(err, agent.ErrBusy) {
		return reply, err
	}
	exit, closed := s.worker.Close(context.WithoutCancel(ctx))
	s.worker = nil
	// One that went by itself may have left anything: only one that was killed
	// in time, with nothing left of it, is followed by another.
	s.spoiled = closed != nil || !exit.Reusable || errors.Is(err, agent.ErrLost)
	if exit.OutOfMemory {
		err = fmt.Errorf("%w: %w", ErrOutOfMemory, err)
	}
	return reply, err
}

// employ starts the slot's worker.
func (s *Slot) employ(ctx context.Context) error {
	worker, err := s.instance.startWorker(ctx)
	if err != nil {
		return fmt.Errorf("start worker: %w", err)
	}
	s.worker = worker
	return nil
}

// needsWorker tells whether the slot has to get a worker before it is used.
func (s *Slot) needsWorker() bool {
	return s.worker == nil && s.instance.startWorker != nil
}

// reemploy gives a slot whose worker was killed another one in the background,
// and then back to its pool. It is false once the pools are closed.
func (p *pool) reemploy(s *Slot, service time.Duration) bool {
	p.mu.Lock()
	p.returning++
	p.mu.Unlock()
	return p.owner.spawn(func() {
		ctx, cancel := context.WithTimeout(p.owner.ctx, startTimeout)
		defer cancel()
		err := s.employ(ctx)
		if err != nil && p.owner.ctx.Err() == nil {
			p.owner.log.Warn("worker could not be started again", "pack", p.shape.Pack, "runtime", p.shape.Runtime.Name, "error", err)
		}
		p.mu.Lock()
		p.returning--
		p.mu.Unlock()
		p.release(s, err == nil, service)
	})
}
