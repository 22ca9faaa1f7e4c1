package callback

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Rules of delivering.
const (
	atOnce     = 32               // deliveries of one gateway
	lease      = time.Minute      // of a delivery that is being sent; more than requestTimeout
	poll       = time.Second      // how often what is due is looked for
	firstRetry = 5 * time.Second  // then three times as long each time …
	maxRetry   = 4 * time.Hour    // … up to this
	giveUp     = 24 * time.Hour   // since the result was there
	storing    = 10 * time.Second // for the store to note what became of one
)

// Options of a Courier. Store is required, and to send so is Secrets.
type Options struct {
	Store   Store
	Secrets [][]byte // each signs
	Guard   *Guard   // nil = public addresses alone
	Agent   string   // the User-Agent. Defaults to "attune".
	Logger  *slog.Logger
	Now     func() time.Time // defaults to time.Now
}

// Courier sends deliveries. Several on one store share the work.
type Courier struct {
	Options
	clients map[string]*http.Client // by scheme
	woken   chan struct{}
}

// New returns a Courier that stores at once, and sends while Run runs.
func New(o Options) *Courier {
	o.Guard = cmp.Or(o.Guard, &Guard{})
	o.Agent = cmp.Or(o.Agent, "attune")
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Courier{
		Options: o, woken: make(chan struct{}, 1),
		clients: map[string]*http.Client{"https": o.Guard.client("https"), "http": o.Guard.client("http")},
	}
}

// Check refuses a URL that can't be called. ErrURL, ErrForbidden.
func (c *Courier) Check(rawURL string) error { return c.Guard.Check(rawURL) }

// wake lets Run look at once.
func (c *Courier) wake() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// Run sends what is due until ctx ends. What is being sent then is broken off,
// and sent again later.
func (c *Courier) Run(ctx context.Context) error {
	defer c.closeIdle()
	var sending sync.WaitGroup
	defer sending.Wait()
	free := make(chan struct{}, atOnce)
	tick := time.NewTicker(poll)
	defer tick.Stop()
	away := false
	for {
		due, err := c.Store.Take(ctx, atOnce-len(free), lease)
		if err != nil && ctx.Err() == nil && !away {
			c.Logger.Warn("callbacks can't be read; trying on", slog.Any("error", err))
		}
		away = err != nil
		for _, d := range due {
			free <- struct{}{} // there is room for as many as were asked for
			sending.Go(func() {
				defer func() { <-free; c.wake() }()
				c.deliver(ctx, d)
			})
		}
		if len(free) == atOnce { // nothing can be taken until one is through
			select {
			case <-c.woken:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-c.woken:
		case <-ctx.Done():
			return nil
		}
	}
}

func (c *Courier) closeIdle() {
	for _, client := range c.clients {
		client.CloseIdleConnections()
	}
}

// errGone says that the receiver wants no more of this.
var errGone = errors.New("the receiver answered 410")

// deliver sends one, and notes what became of it.
func (c *Courier) deliver(ctx context.Context, d Delivery) {
	after, err := c.send(ctx, d)
	if ctx.Err() != nil && err != nil {
		return // its lease lapses, and somebody sends it
	}
	noting, cancel := context.WithTimeout(context.WithoutCancel(ctx), storing)
	defer cancel()
	log := c.Logger.With(slog.String("execution", d.ID), slog.Int("attempt", d.Attempts))
	var failed error
	switch after = max(after, backoff(d.Attempts)); {
	case err == nil:
		log.Debug("callback delivered")
		failed = c.Store.Done(noting, d.ID)
	case errors.Is(err, errGone), c.Now().Add(after).Sub(d.Created) > giveUp:
		log.Error("callback given up", slog.Any("error", err))
		failed = c.Store.Done(noting, d.ID)
	default:
		log.Warn("callback not delivered", slog.Any("error", err), slog.Duration("again", after))
		failed = c.Store.Later(noting, d, after)
	}
	if failed != nil { // it comes again when its lease lapses
		log.Warn("note a callback", slog.Any("error", failed))
	}
}

// backoff is how long to wait after an attempt: exponential, and anything
// between two thirds and four thirds of that, so that what failed together comes
// back apart.
func backoff(attempt int) time.Duration {
	wait := firstRetry
	for range min(attempt-1, 16) {
		wait = min(3*wait, maxRetry)
	}
	return wait*2/3 + rand.N(wait*2/3)
}

// send makes one attempt. With an error comes how long the receiver asks to be
// left alone, at most maxRetry; 0 = it doesn't say.
func (c *Courier) send(ctx context.Context, d Delivery) (time.Duration, error) {
	if err := c.Guard.Check(d.URL); err != nil { // the operator may have changed what is allowed
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL, bytes.NewReader(d.Body))
	if err != nil {
		return 0, ErrURL
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", c.Agent)
	sign(request.Header, c.Secrets, d.ID, c.Now(), d.Body)
	response, err := c.clients[request.URL.Scheme].Do(request)
	if err != nil {
		return 0, withoutURL(err)
	}
	defer response.Body.Close()
	if _, err := io.CopyN(io.Discard, response.Body, maxAnswer); err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	switch {
	case response.StatusCode >= 200 && response.StatusCode < 300:
		return 0, nil
	case response.StatusCode == http.StatusGone:
		return 0, errGone
	}
	return retryAfter(response.Header), fmt.Errorf("the receiver answered %d", response.StatusCode)
}

// withoutURL keeps what may be a secret in a URL's path or query out of the log.
func withoutURL(err error) error {
	var from *url.Error
	if errors.As(err, &from) {
		return from.Err
	}
	return err
}

// retryAfter reads seconds; a date is left to the back-off.
func retryAfter(header http.Header) time.Duration {
	seconds, err := strconv.ParseUint(header.Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxRetry)
}
