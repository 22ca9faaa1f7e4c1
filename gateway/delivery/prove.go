package delivery

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"time"

	"attune/gateway/execution"
	"attune/gateway/hook"
	"attune/gateway/pack"
	"attune/gateway/secret"
)

// prove verifies a request on the bytes that came. What can't be verified isn't
// accepted, whoever's fault that is.
func (r *Receiver) prove(ctx context.Context, h *pack.Hook, q Request) (hook.Delivery, error) {
	if !h.Verify.Proves() {
		return hook.Delivery{ID: onlyValue(q.Header.Values(h.Verify.Scheme.IDHeader))}, nil
	}
	secrets, err := r.secrets(ctx, h, h.Verify.Secrets)
	if err != nil {
		return hook.Delivery{}, err
	}
	verifier, err := hook.NewVerifier(h.Verify.Scheme, secrets, r.Now)
	if err != nil {
		r.Logger.Error("a hook's secret can't be used, and it takes nothing", slog.String("hook", h.Ref.String()), slog.Any("error", err))
		return hook.Delivery{}, noSecret("a secret of the hook can't be used; the gateway's log says why")
	}
	proven, err := verifier.Verify(func(name string) []string { return q.Header[name] }, q.Body)
	if err != nil {
		return hook.Delivery{}, refuse(CodeInvalidSignature, "verify", err.Error()) // of fixed texts
	}
	return proven, nil
}

func onlyValue(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

// noSecret: the sender may come back when the operator has stored it.
func noSecret(reason string) error {
	return later(execution.CodeSecretsUnreadable, "verify", reason, time.Minute)
}

// secrets opens those that there are, of which there must be one.
func (r *Receiver) secrets(ctx context.Context, h *pack.Hook, wanted []pack.HookSecret) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var names, values, missing []string
	for _, one := range wanted {
		if one.Name != "" {
			names = append(names, one.Name)
		}
	}
	stored, err := r.Secrets.Values(ctx, string(h.Ref.Pack), names)
	switch {
	case errors.Is(err, secret.ErrNoKey), errors.Is(err, secret.ErrUnreadable):
		r.Logger.Error("a hook's secret can't be read, and it takes nothing", slog.String("hook", h.Ref.String()), slog.Any("error", err))
		return nil, noSecret("a secret of the hook can't be read; the gateway's log says why")
	case err != nil:
		return nil, r.away("read secrets", err)
	}
	for _, one := range wanted {
		value, there := stored[one.Name]
		switch {
		case one.Name == "":
			values = append(values, one.Literal)
		case there:
			values = append(values, value)
		default:
			missing = append(missing, one.Name)
		}
	}
	if len(values) == 0 {
		r.Logger.Error("a hook's secret isn't stored, and it takes nothing: attune secret set",
			slog.String("hook", h.Ref.String()), slog.Any("missing", missing))
		return nil, noSecret("the hook's secret is not stored: attune secret set")
	}
	return values, nil
}

// challenge checks hub.verify_token, and gives the text to repeat.
func (r *Receiver) challenge(ctx context.Context, h *pack.Hook, query url.Values) (Answer, error) {
	token, text := onlyValue(query["hub.verify_token"]), onlyValue(query["hub.challenge"])
	if onlyValue(query["hub.mode"]) != "subscribe" || text == "" || len(text) > maxChallenge {
		return Answer{}, refuse(codeInvalidQuery, "request", "a handshake has hub.mode=subscribe, hub.verify_token and hub.challenge")
	}
	want, err := r.secrets(ctx, h, []pack.HookSecret{*h.Verify.Challenge})
	if err != nil {
		return Answer{}, err
	}
	if subtle.ConstantTimeCompare([]byte(want[0]), []byte(token)) != 1 {
		return Answer{}, refuse(CodeInvalidSignature, "verify", "the token of the handshake does not fit")
	}
	return Answer{Outcome: hook.Handshake, Challenge: text}, nil
}

// maxChallenge bounds what a handshake has us repeat, in bytes.
const maxChallenge = 1024

// slackChallenge finds the text that Slack wants back when a URL is set up. Like
// all from Slack it is signed.
func slackChallenge(h *pack.Hook, body []byte) (string, bool) {
	var setup struct{ Type, Challenge string }
	if h.Verify.Preset != "slack" || json.Unmarshal(body, &setup) != nil {
		return "", false
	}
	return setup.Challenge, setup.Type == "url_verification" && len(setup.Challenge) <= maxChallenge
}
