package runtimes

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"attune/runtimes/agent"
)

// yard launches instances of nothing, which keep the contract of a link.
type yard struct {
	pools *Pools
	takes atomic.Int64 // nanoseconds of a start

	mu       sync.Mutex
	fault    func(*Shape) error
	employ   func() (worker, error)
	launched []*fakeLink
	alive    int
	most     int
}

type fakeLink struct {
	yard    *yard
	shape   *Shape
	done    chan struct{}
	notices chan string
	once    sync.Once
}

func (l *fakeLink) Execute(context.Context, agent.Request, agent.Output) (agent.Exit, error) {
	return agent.Exit{Reusable: true}, nil
}
func (l *fakeLink) StartWorker(context.Context, agent.Program) (*agent.Worker, error) {
	return nil, agent.ErrNotStarted
}
func (l *fakeLink) Notices() <-chan string { return l.notices }
func (l *fakeLink) Done() <-chan struct{}  { return l.done }
func (l *fakeLink) Close() error {
	l.once.Do(func() {
		l.yard.mu.Lock()
		l.yard.alive--
		l.yard.mu.Unlock()
		close(l.notices)
		close(l.done)
	})
	return nil
}

func newYard(t *testing.T, limits PoolLimits) *yard {
	t.Helper()
	if limits.IdleTimeout == 0 {
		limits.IdleTimeout = time.Hour
	}
	y := &yard{}
	y.takes.Store(int64(200 * time.Millisecond))
	y.pools = newPools(limits, slog.New(slog.NewTextHandler(t.Output(), nil)), y.launch)
	return y
}

// close closes the pools and checks that nothing is left of them.
func (y *yard) close(t *testing.T) {
	t.Helper()
	if err := y.pools.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if total, idle := y.pools.Counts(); total != 0 || idle != 0 || y.living() != 0 || y.pools.budget.used.memory != 0 {
		t.Errorf("after Close Counts() = %d, %d, %d alive, %+v used", total, idle, y.living(), y.pools.budget.used)
	}
}

func (y *yard) launch(ctx context.Context, shape *Shape) (*Instance, error) {
	select {
	case <-time.After(time.Duration(y.takes.Load())):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.fault != nil {
		if err := y.fault(shape); err != nil {
			return nil, err
		}
	}
	link := &fakeLink{yard: y, shape: shape, done: make(chan struct{}), notices: make(chan string, 8)}
	y.launched = append(y.launched, link)
	y.alive++
	y.most = max(y.most, y.alive)
	i := &Instance{link: link, roots: shape.roots()}
	for range max(shape.Slots, 1) {
		slot := &Slot{instance: i}
		if shape.Isolation == IsolationWorker {
			i.startWorker = func(context.Context) (worker, error) { return y.employ() }
			if err := slot.employ(ctx); err != nil {
				return nil, err
			}
		}
		i.slots = append(i.slots, slot)
	}
	return i, nil
}

func (y *yard) living() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.alive
}

// of counts the living instances of a pack.
func (y *yard) of(pack string) (n int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, l := range y.launched {
		select {
		case <-l.done:
		default:
			if l.shape.Pack == pack {
				n++
			}
		}
	}
	return n
}

// killOne lets an instance die, if there was one.
func (y *yard) killOne(dice *rand.Rand) {
	y.mu.Lock()
	if len(y.launched) == 0 {
		y.mu.Unlock()
		return
	}
	victim := y.launched[dice.IntN(len(y.launched))]
	y.mu.Unlock()
	victim.Close()
}

// nth is the nth instance that was started.
func (y *yard) nth(n int) *fakeLink {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.launched[n]
}

func (y *yard) launches() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return len(y.launched)
}

func fakeShape(pack string) *Shape {
	return &Shape{Pack: pack, Revision: "r1", Runtime: &Runtime{Name: "sh"}, Limits: Limits{Memory: 100, CPU: 1}}
}

// must acquires a slot.
func (y *yard) must(t testing.TB, s *Shape) *Slot {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	slot, _, err := y.pools.Acquire(ctx, s)
	if err != nil {
		t.Fatalf("Acquire(%s) = %v", s.Pack, err)
	}
	return slot
}

// flood keeps so many callers of a shape busy until the context ends; each
// execution takes service.
func (y *yard) flood(ctx context.Context, callers int, s *Shape, service time.Duration, served *atomic.Int64) *sync.WaitGroup {
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for ctx.Err() == nil {
				slot, _, err := y.pools.Acquire(ctx, s)
				if err != nil {
					time.Sleep(service) // or a call that is refused at once is repeated for ever
					continue
				}
				time.Sleep(service)
				y.pools.Release(slot, true, service)
				served.Add(1)
			}
		})
	}
	return &all
}

// fakeWorker replies as it is told.
type fakeWorker struct {
	reply  agent.Reply
	err    error
	exit   agent.Exit
	closed *atomic.Int32
}

func (w *fakeWorker) Call(context.Context, agent.Call, agent.Output) (agent.Reply, error) {
	return w.reply, w.err
}

func (w *fakeWorker) Close(context.Context) (agent.Exit, error) {
	w.closed.Add(1)
	return w.exit, nil
}

// logged is a log that can be read.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func packName(n int) string { return fmt.Sprintf("p%d", n) }

// replace puts another directory in the place of one.
func replace(t *testing.T, dir string) {
	t.Helper()
	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}
