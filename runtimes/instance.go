package runtimes

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"attune/runtimes/agent"
	"attune/runtimes/container"
)

// startTimeout bounds the time from a container's creation to its agent's
// first word; a cold start takes about a quarter of a second.
const startTimeout = 30 * time.Second

// removeTimeout bounds what is done for a container nobody needs any more.
const removeTimeout = 30 * time.Second

// Instance is one running container with an agent that takes executions.
type Instance struct {
	container container.Container
	link      link
	run       string // its directory on the shared volume
	roots     string // identity of the directories that it mounts
	// startWorker starts a worker in a slot; nil without isolation worker.
	startWorker func(context.Context) (worker, error)

	// Guarded by its pool.
	pool      *pool
	slots     []*Slot
	busy      int       // slots that are acquired, or have no worker yet
	started   time.Time // when it could be used
	idleSince time.Time // while busy is 0
	retiring  bool      // gets no more executions, and is removed with its last one
	why       removal   // once it retires
	makesRoom bool      // for another pool: its part of the budget is free once nothing runs in it
	yielded   bool      // … though calls of its own pool waited
}

// link is the part of agent.Conn that an instance needs.
type link interface {
	Execute(ctx context.Context, r agent.Request, out agent.Output) (agent.Exit, error)
	StartWorker(ctx context.Context, p agent.Program) (*agent.Worker, error)
	Notices() <-chan string
	Done() <-chan struct{}
	Close() error
}

// ID is the container's ID.
func (i *Instance) ID() string { return i.container.ID() }

// alive tells whether the agent's connection still stands.
func (i *Instance) alive() bool {
	select {
	case <-i.link.Done():
		return false
	default:
		return true
	}
}

// launch creates and starts an instance and waits for its agent. On an error
// nothing is left.
func launch(ctx context.Context, engine container.Engine, box *Box, shape *Shape) (_ *Instance, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	run, err := runDir(box)
	if err != nil {
		return nil, err
	}
	i := &Instance{run: run, roots: shape.roots()}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.destroy(ctx))
		}
	}()
	listener, err := agent.Listen(run)
	if err != nil {
		return nil, fmt.Errorf("listen for the agent: %w", err)
	}
	defer listener.Close()
	if i.container, err = engine.Create(ctx, box.Spec(shape, run)); err != nil {
		return nil, fmt.Errorf("create instance: %w", err)
	}
	if err = i.container.Start(ctx); err != nil {
		return nil, fmt.Errorf("start instance: %w", err)
	}
	conn, err := acceptAgent(ctx, listener, i.container, box.Setup(shape))
	if err != nil {
		return nil, fmt.Errorf("wait for the instance's agent: %w", err)
	}
	i.link = conn
	return i, i.furnish(ctx, box, shape)
}

// furnish makes the instance's slots, each with its worker where it needs one.
func (i *Instance) furnish(ctx context.Context, box *Box, shape *Shape) error {
	for range max(shape.Slots, 1) {
		i.slots = append(i.slots, &Slot{instance: i})
	}
	if shape.Isolation != IsolationWorker {
		return nil
	}
	program := box.WorkerProgram(shape)
	i.startWorker = func(ctx context.Context) (worker, error) {
		w, err := i.link.StartWorker(ctx, program)
		if err != nil {
			return nil, err // not a worker that is nil
		}
		return w, nil
	}
	var group errgroup.Group
	for _, slot := range i.slots {
		group.Go(func() error { return slot.employ(ctx) })
	}
	return group.Wait()
}

// runDir makes the instance's directory. Its parent is the gateway's alone; the
// directory itself may be passed by the agent, which inside a container has no
// right to override permissions.
func runDir(box *Box) (string, error) {
	random := make([]byte, 8)
	rand.Read(random) // never fails: it crashes the program instead
	run := filepath.Join(box.RunDir, hex.EncodeToString(random))
	if err := os.MkdirAll(box.RunDir, 0o700); err != nil {
		return "", err
	}
	if err := os.Mkdir(run, 0o751); err != nil {
		return "", err
	}
	if err := os.Chmod(run, 0o751); err != nil { // the umask may have cut it
		return "", err
	}
	if !box.Layout.Isolated {
		return run, os.Mkdir(filepath.Join(run, "scratch"), 0o700)
	}
	return run, nil
}

// acceptAgent waits for the agent, and no longer than its container lives.
func acceptAgent(ctx context.Context, listener *agent.Listener, c container.Container, setup agent.Setup) (*agent.Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		exit, err := c.Wait(ctx)
		if err == nil {
			err = fmt.Errorf("the container stopped with exit code %d", exit.Code)
		}
		cancel(err)
	}()
	conn, err := listener.Accept(ctx, setup)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	cancel(nil)
	<-ended
	return conn, err
}

// destroy removes all there is of an instance, whatever state it is in.
func (i *Instance) destroy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	var errs []error
	if i.link != nil {
		errs = append(errs, i.link.Close())
	}
	if i.container != nil {
		if err := i.container.Remove(ctx); err != nil {
			errs = append(errs, fmt.Errorf("remove instance %s: %w", i.container.ID(), err))
		}
	}
	errs = append(errs, os.RemoveAll(i.run))
	return errors.Join(errs...)
}
