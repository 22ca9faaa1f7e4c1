package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/key/keytest"
	"attune/gateway/limit"
	"attune/gateway/pack"
)

// limited is a server whose action demo.echo has these bounds, and a key for
// everything that has those of the order.
func limited(t *testing.T, rate limit.Rate, most int, o key.Order, change ...func(*Options)) (*world, string) {
	t.Helper()
	o.Name, o.Scopes = "limited", []key.Scope{key.Admin}
	k, token, err := key.New(o, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, Limits{}, append(change, func(options *Options) {
		options.Keys = mustKeep(t, keytest.NewMemory(k))
		action, ok := options.Catalog().Action(pack.ActionRef{Pack: "demo", Name: "echo"})
		if !ok {
			t.Fatal("there is no demo.echo")
		}
		action.Rate, action.MaxConcurrency = rate, most // the catalog is this test's own
	})...), token
}

func (w *world) asked(t *testing.T, method, target, token string) (*http.Response, string) {
	t.Helper()
	return w.do(t, method, target, "", "Authorization", "Bearer "+token)
}

func TestRates(t *testing.T) {
	t.Parallel()
	hourly := limit.Rate{Limit: 2, Per: 2 * time.Hour}
	for name, test := range map[string]struct {
		action        limit.Rate
		order         key.Order
		policy, state string // of the first answer
		detail        string // of the third
		others        int    // status of another route then
	}{
		"of an action": {action: hourly, policy: `"action";q=2;w=7200`, state: `"action";r=1;t=3600`, detail: "the action is called more often", others: 200},
		"of a key": {order: key.Order{Rate: hourly}, policy: `"key";q=2;w=7200`, state: `"key";r=1;t=3600`,
			detail: "the API key has asked more often", others: 429},
		"a quota": {order: key.Order{Quota: limit.Rate{Limit: 2, Per: 24 * time.Hour}}, policy: `"quota";q=2;w=86400`, state: `"quota";r=1;t=43200`,
			detail: "quota is used up", others: 429},
		"a burst": {action: limit.Rate{Limit: 3600, Per: time.Hour, Burst: 2}, policy: `"action";q=3600;w=3600`, state: `"action";r=1;t=1`,
			detail: "the action is called more often", others: 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, token := limited(t, test.action, 0, test.order)
			first, body := w.asked(t, "POST", "/invoke/demo.echo", token)
			if first.StatusCode != 200 || first.Header.Get("RateLimit-Policy") != test.policy || first.Header.Get("RateLimit") != test.state {
				t.Errorf("first = %d %s, RateLimit-Policy %q, RateLimit %q; want %s and %s", first.StatusCode, body,
					first.Header.Get("RateLimit-Policy"), first.Header.Get("RateLimit"), test.policy, test.state)
			}
			if second, body := w.asked(t, "POST", "/invoke/demo.echo", token); second.StatusCode != 200 {
				t.Errorf("second = %d %s, want 200", second.StatusCode, body)
			}
			third, body := w.asked(t, "POST", "/invoke/demo.echo", token)
			after, err := strconv.Atoi(third.Header.Get("Retry-After"))
			if third.StatusCode != 429 || !strings.Contains(body, `"/problems/rate-limited"`) || !strings.Contains(body, test.detail) ||
				!strings.Contains(body, `"retryable":true`) || !strings.Contains(third.Header.Get("RateLimit"), ";r=0;") {
				t.Errorf("third = %d %s %v, want 429", third.StatusCode, body, third.Header)
			}
			if most := 43200; err != nil || after < 1 || after > most {
				t.Errorf("Retry-After = %d, %v", after, err)
			}
			if other, _ := w.asked(t, "GET", "/api/v1/packs", token); other.StatusCode != test.others {
				t.Errorf("another route = %d, want %d", other.StatusCode, test.others)
			}
			if got := len(w.invoker.requests()); got != 2 {
				t.Errorf("%d calls ran, want 2", got)
			}
		})
	}
}

// Retry-After, obeyed, succeeds.
func TestRetryAfterOfARateIsTrue(t *testing.T) {
	t.Parallel()
	w, token := limited(t, limit.Rate{Limit: 1, Per: time.Second}, 0, key.Order{})
	for range 2 {
		w.asked(t, "POST", "/invoke/demo.echo", token)
	}
	refused, _ := w.asked(t, "POST", "/invoke/demo.echo", token)
	if refused.StatusCode == 200 {
		t.Skip("the machine is too slow to be too fast")
	}
	after, err := strconv.Atoi(refused.Header.Get("Retry-After"))
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(time.Duration(after) * time.Second)
	if again, body := w.asked(t, "POST", "/invoke/demo.echo", token); again.StatusCode != 200 {
		t.Errorf("after Retry-After = %d %s, want 200", again.StatusCode, body)
	}
}

// failing is a limiter whose store is away.
type failing struct{}

func (failing) Take(context.Context, string, limit.Rate) (limit.State, error) {
	return limit.State{}, errors.New("away")
}

func TestALimiterThatFailsStopsNobody(t *testing.T) {
	t.Parallel()
	w, token := limited(t, limit.Rate{Limit: 1, Per: time.Hour}, 0, key.Order{}, func(o *Options) { o.Limiter = failing{} })
	for range 3 {
		if response, body := w.asked(t, "POST", "/invoke/demo.echo", token); response.StatusCode != 200 {
			t.Errorf("call = %d %s, want 200", response.StatusCode, body)
		}
	}
}

// As many run at once as may, of the action and of the key, however they are
// answered; places come free at the end.
func TestConcurrencyCaps(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		most   int
		order  key.Order
		detail string
	}{
		"of an action": {most: 2, detail: "calls of the action"},
		"of a key":     {order: key.Order{MaxConcurrent: 2}, detail: "calls of the API key"},
	} {
		for _, accept := range []string{"*/*", "text/event-stream"} {
			t.Run(name+" "+accept, func(t *testing.T) {
				t.Parallel()
				w, token := limited(t, limit.Rate{}, test.most, test.order)
				inside, release := make(chan struct{}, 2), make(chan struct{})
				w.invoker.do(func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
					inside <- struct{}{}
					<-release
					accept := r
					if accept.Accepted != nil {
						accept.Accepted()
					}
					return succeeded(r, []byte("{}"), "application/json"), nil
				})
				statuses := make(chan int, 2)
				for range 2 {
					go func() {
						request, _ := http.NewRequest("POST", "http://"+w.Addr().String()+"/invoke/demo.echo", strings.NewReader("{}"))
						request.Header.Set("Authorization", "Bearer "+token)
						request.Header.Set("Accept", accept)
						response, err := w.client.Do(request)
						if err != nil {
							statuses <- 0
							return
						}
						_ = response.Body.Close()
						statuses <- response.StatusCode
					}()
				}
				<-inside
				<-inside
				response, body := w.do(t, "POST", "/invoke/demo.echo", "{}", "Authorization", "Bearer "+token, "Accept", accept)
				if response.StatusCode != 429 || !strings.Contains(body, test.detail) || response.Header.Get("Retry-After") == "" {
					t.Errorf("a third at once = %d %s, want 429 with Retry-After", response.StatusCode, body)
				}
				close(release)
				if got := []int{<-statuses, <-statuses}; !slices.Equal(got, []int{200, 200}) {
					t.Errorf("the first two = %v, want 200", got)
				}
				for deadline := time.Now().Add(10 * time.Second); ; {
					<-time.After(time.Millisecond) // the end of a stream is a little before that of its call
					response, body := w.asked(t, "POST", "/invoke/demo.echo", token)
					if response.StatusCode == 200 {
						break
					}
					if time.Now().After(deadline) {
						t.Fatalf("afterwards = %d %s, want 200", response.StatusCode, body)
					}
				}
			})
		}
	}
}
