package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"attune/gateway/execution"
	"attune/gateway/pack"
	"attune/gateway/queue"
	"attune/gateway/redis/redistest"
	"attune/gateway/schedule"
	"attune/runtimes"
)

// Variables of a child process that is a gateway's clockwork and nothing else.
const (
	clockworkURL    = "ATTUNE_TEST_CLOCKWORK_URL"
	clockworkPrefix = "ATTUNE_TEST_CLOCKWORK_PREFIX"
	clockworkPacks  = "ATTUNE_TEST_CLOCKWORK_PACKS"
)

// ledger is a queue that takes an ID once, in Redis: the list submits has each
// job that was submitted, the hash jobs each that was taken.
type ledger struct{ client *Client }

func (l ledger) Submit(ctx context.Context, job queue.Job) (*execution.Execution, error) {
	pipe := l.client.redis.TxPipeline()
	pipe.RPush(ctx, l.client.prefix+"submits", job.ID)
	pipe.HSetNX(ctx, l.client.prefix+"jobs", job.ID, job.Source)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond) // a kill finds it here, too
	return &execution.Execution{ID: job.ID}, nil
}

func (ledger) Get(context.Context, string) (*execution.Execution, error) {
	return nil, execution.ErrNoExecution
}

func (ledger) Cancel(context.Context, string) error { return nil }

// slowClaims leaves time between a claim and its job, to be killed in.
type slowClaims struct{ schedule.Store }

func (s slowClaims) Swap(ctx context.Context, before int64, next schedule.State) (bool, error) {
	won, err := s.Store.Swap(ctx, before, next)
	if next.Claim != nil {
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	}
	return won, err
}

func runClockwork(url string) {
	client, err := New(url)
	if err == nil {
		client.prefix = os.Getenv(clockworkPrefix)
		var catalog *pack.Catalog
		if catalog, err = pack.LoadCatalog(os.Getenv(clockworkPacks), runtimes.Builtin(), pack.LoadOptions{}); err == nil {
			err = schedule.New(schedule.Options{
				Catalog: func() *pack.Catalog { return catalog }, Store: slowClaims{client.Schedules()},
				Queue: ledger{client}, Executions: ledger{client}, GatewayID: fmt.Sprint(os.Getpid()),
				Lease: time.Second, Poll: 200 * time.Millisecond, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
			}).Run(context.Background())
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// Two gateways, each of which is killed again and again in the midst of its
// work: every slot of every schedule runs, and none twice.
func TestEverySlotRunsThoughGatewaysAreKilled(t *testing.T) {
	t.Parallel()
	const schedules = 25
	client := mustOpen(t)
	packs := t.TempDir()
	files := map[string]string{
		"pack.yaml": "ref: demo\nversion: 1.0.0\n", "actions/a.yaml": "ref: demo.a\nentry_point: a.sh\n", "actions/a.sh": "",
	}
	for n := range schedules {
		name := fmt.Sprintf("s%02d", n)
		files["schedules/"+name+".yaml"] = "ref: demo." + name + "\naction: demo.a\nevery: 1s\n"
	}
	for name, text := range files {
		path := filepath.Join(packs, "demo", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var group sync.WaitGroup
	kills := make([]int, 2)
	for i := range kills {
		group.Go(func() {
			for ctx.Err() == nil {
				// Within a second, its work takes the first few hundredths.
				death := time.Now().Truncate(time.Second).Add(time.Duration(1+rand.IntN(2))*time.Second + time.Duration(rand.IntN(60))*time.Millisecond)
				life, end := context.WithDeadline(ctx, death)
				child := exec.CommandContext(life, os.Args[0]) // SIGKILL when its time is over
				child.Env = append(os.Environ(), clockworkURL+"="+redistest.URL(t), clockworkPrefix+"="+client.prefix, clockworkPacks+"="+packs)
				output, err := child.CombinedOutput()
				if life.Err() == nil {
					t.Errorf("a gateway ended by itself: %v\n%s", err, output)
					stop()
				}
				kills[i]++
				end()
			}
		})
	}
	select {
	case <-time.After(15 * time.Second):
	case <-ctx.Done(): // one has failed
	}
	stop()
	group.Wait()
	// What they have left behind is one gateway's that lives.
	ctx, stop = context.WithTimeout(t.Context(), 4*time.Second)
	defer stop()
	catalog, err := pack.LoadCatalog(packs, runtimes.Builtin(), pack.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	last := schedule.New(schedule.Options{
		Catalog: func() *pack.Catalog { return catalog }, Store: client.Schedules(), Queue: ledger{client}, Executions: ledger{client},
		GatewayID: "last", Lease: time.Second, Poll: 200 * time.Millisecond,
	})
	if err := last.Run(ctx); err != nil {
		t.Error(err)
	}
	checkLedger(t, client, schedules)
	t.Logf("gateways were killed %v times", kills)
}

func checkLedger(t *testing.T, client *Client, schedules int) {
	t.Helper()
	jobs, err := client.redis.HGetAll(t.Context(), client.prefix+"jobs").Result()
	submits, err2 := client.redis.LLen(t.Context(), client.prefix+"submits").Result()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	slots := map[string]map[int64]int{} // by schedule: second → jobs
	for id, source := range jobs {
		parsed, err := ulid.ParseStrict(id)
		if err != nil {
			t.Fatalf("ID %q: %v", id, err)
		}
		if slots[source] == nil {
			slots[source] = map[int64]int{}
		}
		slots[source][int64(parsed.Time()/1000)]++
	}
	if len(slots) != schedules {
		t.Errorf("%d schedules ran, want %d", len(slots), schedules)
	}
	for source, seconds := range slots {
		first, last := int64(1<<62), int64(0)
		for second, n := range seconds {
			first, last = min(first, second), max(last, second)
			if n != 1 {
				t.Errorf("slot %d of %s has %d jobs", second, source, n)
			}
		}
		if int(last-first)+1 != len(seconds) || len(seconds) < 15 || !strings.HasPrefix(source, "schedule:demo.s") {
			t.Errorf("%s ran %d of the %d slots from %d to %d", source, len(seconds), last-first+1, first, last)
		}
	}
	if int(submits) == len(jobs) {
		t.Error("no gateway was killed between a submission and its note: this shows nothing")
	}
	t.Logf("%d slots ran by %d submissions", len(jobs), submits)
}
