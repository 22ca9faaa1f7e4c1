package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"attune/gateway/key"
	"attune/gateway/limit"
)

// KeyCmd makes and revokes API keys.
type KeyCmd struct {
	Create KeyCreateCmd `cmd:"" help:"Make an API key, and print its token."`
	List   KeyListCmd   `cmd:"" help:"List API keys."`
	Revoke KeyRevokeCmd `cmd:"" help:"Make an API key invalid."`
}

// KeyCreateCmd makes a key.
type KeyCreateCmd struct {
	clientFlags
	outputFlag
	Name          string   `arg:"" help:"What people call it."`
	Scope         []string `required:"" help:"What it may do: admin, invoke:*, invoke:PACK.*, invoke:PACK.ACTION, read:PACK, operate:PACK; again for more." placeholder:"SCOPE"`
	Expires       string   `help:"After how long it ends: 12h, 90d (default: never)." placeholder:"DURATION"`
	Rate          string   `help:"How often it may ask: 100/s, or with a burst 100/s,20." placeholder:"RATE"`
	Quota         string   `help:"Likewise, over a longer time: 100000/day." placeholder:"RATE"`
	MaxConcurrent int      `help:"How many of its calls may run at once, on each gateway." placeholder:"N"`
	Local         bool     `help:"Write into the gateway's store, without asking a gateway: for the first key."`
}

// Help tells about the token and the first key.
func (c *KeyCreateCmd) Help() string {
	return `The token is printed on stdout, and never again: only its hash is stored.

  export ATTUNE_KEY=$(attune key create --scope admin ops)
  attune key create --scope 'invoke:shop.*' --expires 90d --rate 100/s web

From the first key on, every call needs one; the first must have the scope admin.
--local works where the gateway's state can be reached, state_dir or Redis, whether
or not a gateway runs; it knows the key within seconds.`
}

// orderPayload is what the gateway is asked for.
type orderPayload struct {
	Name          string     `json:"name"`
	Scopes        []string   `json:"scopes"`
	ExpiresAt     *time.Time `json:"expires_at,omitempty"`
	Rate          string     `json:"rate,omitempty"`
	Quota         string     `json:"quota,omitempty"`
	MaxConcurrent int        `json:"max_concurrent,omitempty"`
}

// madeKey is a key with its token, as the gateway shows it once.
type madeKey struct {
	key.Key
	Token string `json:"token"`
}

// Run makes the key.
func (c *KeyCreateCmd) Run(ctx context.Context, p *program) error {
	expires, err := expiry(c.Expires, time.Now())
	if err != nil {
		return exitError{exitUsage, err}
	}
	var made madeKey
	if c.Local {
		made, err = c.local(ctx, p, expires)
	} else {
		made, err = c.ask(ctx, p, expires)
	}
	if err != nil {
		return err
	}
	if c.Output == "json" {
		encoded, err := json.Marshal(made)
		if err != nil {
			return err
		}
		return writeJSON(p.Stdout, encoded)
	}
	fmt.Fprintf(p.Stderr, "key %s (%s); its token is shown this once:\n", made.ID, plain(made.Name))
	fmt.Fprintln(p.Stdout, made.Token)
	return nil
}

func (c *KeyCreateCmd) ask(ctx context.Context, p *program, expires time.Time) (made madeKey, err error) {
	gateway, err := c.client(p)
	if err != nil {
		return madeKey{}, err
	}
	order := orderPayload{Name: c.Name, Scopes: c.Scope, Rate: c.Rate, Quota: c.Quota, MaxConcurrent: c.MaxConcurrent}
	if !expires.IsZero() {
		order.ExpiresAt = &expires
	}
	return made, gateway.call(ctx, "POST", "/api/v1/keys", order, &made)
}

// local makes the key in the store, under the same rules as a gateway.
func (c *KeyCreateCmd) local(ctx context.Context, p *program, expires time.Time) (made madeKey, err error) {
	order := key.Order{Name: c.Name, ExpiresAt: expires, MaxConcurrent: c.MaxConcurrent}
	for _, scope := range c.Scope {
		order.Scopes = append(order.Scopes, key.Scope(scope))
	}
	for _, bound := range []struct {
		text string
		to   *limit.Rate
	}{{c.Rate, &order.Rate}, {c.Quota, &order.Quota}} {
		if err := bound.to.UnmarshalText([]byte(bound.text)); err != nil {
			return madeKey{}, exitError{exitUsage, err}
		}
	}
	config, err := c.load(p)
	if err != nil {
		return madeKey{}, err
	}
	if config.Redis.URL == "" {
		if err := os.MkdirAll(config.StateDir, 0o700); err != nil {
			return madeKey{}, exitError{exitGateway, err}
		}
	}
	store, done, err := config.openKeyStore()
	if err != nil {
		return madeKey{}, exitError{exitGateway, err}
	}
	made.Key, made.Token, err = key.NewKeeper(store, slog.New(slog.DiscardHandler)).Create(ctx, order)
	var wrong *key.OrderError
	switch {
	case errors.As(err, &wrong), errors.Is(err, key.ErrFirst):
		err = exitError{exitUsage, err}
	case err != nil:
		err = exitError{exitGateway, err}
	}
	return made, errors.Join(err, done())
}

// expiry is when a key ends; zero = never.
func expiry(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	length, err := time.ParseDuration(text)
	for unit, days := range map[string]int{"d": 1, "w": 7} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			var n int
			n, err = strconv.Atoi(number)
			if n > 36500/days { // beyond what a duration holds
				err = strconv.ErrRange
			}
			length = time.Duration(n*days) * 24 * time.Hour
		}
	}
	if err != nil || length <= 0 {
		return time.Time{}, fmt.Errorf("--expires %q is no duration: write 12h, 90d or 4w", text)
	}
	return now.Add(length).UTC().Truncate(time.Second), nil
}

// KeyListCmd lists keys.
type KeyListCmd struct {
	clientFlags
	outputFlag
}

// Run prints what there is, without tokens.
func (c *KeyListCmd) Run(ctx context.Context, p *program) error {
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := gateway.call(ctx, "GET", "/api/v1/keys", nil, &raw); err != nil {
		return err
	}
	var list struct{ Items []key.Key }
	if err := json.Unmarshal(raw, &list); err != nil {
		return exitError{exitGateway, fmt.Errorf("the gateway's list of keys: %w", err)}
	}
	if c.Output == "json" {
		return writeJSON(p.Stdout, raw)
	}
	t := table{header: []string{"ID", "NAME", "SCOPES", "CREATED", "EXPIRES", "LIMITS"}, colours: map[string]colour{"expired": red}}
	for _, k := range list.Items {
		expires := "never"
		switch {
		case k.Expired(time.Now()):
			expires = "expired"
		case !k.ExpiresAt.IsZero():
			expires = k.ExpiresAt.Format(time.RFC3339)
		}
		scopes := make([]string, len(k.Scopes))
		for i, scope := range k.Scopes {
			scopes[i] = string(scope)
		}
		t.rows = append(t.rows, []string{plain(k.ID), plain(k.Name), plain(strings.Join(scopes, " ")), k.CreatedAt.Format(time.RFC3339), expires, limits(k)})
	}
	t.write(p.Stdout, p.colours())
	return nil
}

// limits are a key's bounds on one line.
func limits(k key.Key) string {
	var parts []string
	for _, rate := range []limit.Rate{k.Rate, k.Quota} {
		if !rate.IsZero() {
			parts = append(parts, rate.String())
		}
	}
	if k.MaxConcurrent > 0 {
		parts = append(parts, strconv.Itoa(k.MaxConcurrent)+" at once")
	}
	return cmp.Or(strings.Join(parts, " "), "none")
}

// KeyRevokeCmd revokes a key.
type KeyRevokeCmd struct {
	clientFlags
	ID string `arg:"" help:"ID of the key, as attune key list shows it."`
}

// Run revokes it.
func (c *KeyRevokeCmd) Run(ctx context.Context, p *program) error {
	return c.ask(ctx, p, "DELETE", "/api/v1/keys/"+url.PathEscape(c.ID), nil, nil)
}
