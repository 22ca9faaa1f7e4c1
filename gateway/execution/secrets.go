package execution

import (
	"context"
	"errors"
	"fmt"
	"time"

	"attune/gateway/pack"
	"attune/gateway/secret"
	"attune/runtimes/agent"
)

// Secrets is the part of secret.Vault that a call needs.
type Secrets interface {
	// Values opens the stored secrets of a pack that are named, those that there
	// are. secret.ErrNoKey, secret.ErrUnreadable.
	Values(ctx context.Context, pack string, names []string) (map[string]string, error)
}

// secretsTimeout bounds the wait for the store of secrets.
const secretsTimeout = 5 * time.Second

// stored opens the pack's secrets that the action declares, and no others.
func (r *Runner) stored(ctx context.Context, ref pack.Ref, action *pack.Action) (map[string]string, error) {
	names := action.Parameters.Secrets()
	if r.Secrets == nil || len(names) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, secretsTimeout)
	defer cancel()
	values, err := r.Secrets.Values(ctx, string(ref), names)
	var failure *Error
	switch {
	case err == nil:
		return values, nil
	case errors.Is(err, secret.ErrNoKey):
		failure = fail(CodeSecretsUnreadable, "gateway", "validate",
			"the action needs a stored secret, and the gateway has no key for those (secrets.key_file)")
	case errors.Is(err, secret.ErrUnreadable):
		failure = fail(CodeSecretsUnreadable, "gateway", "validate",
			"a stored secret of the pack can't be read with the gateway's keys: store it again (attune secret set)")
	case errors.Is(context.Cause(ctx), context.Canceled):
		failure = fail(CodeCancelled, "request", "validate", "the caller left before the action had started")
	default:
		failure = fail(CodeStateUnavailable, "gateway", "validate", "the stored secrets can't be read now")
		failure.Retryable, failure.RetryAfter = true, time.Second
	}
	failure.cause = err
	return nil, failure
}

// hide remembers the values of a call's secrets: for the program that asks for
// them by name, and so that nothing shows them.
func (c *call) hide(parameters []byte) error {
	var err error
	if c.secrets, err = c.action.Parameters.SecretValues(parameters); err != nil {
		return fmt.Errorf("read secrets: %w", err)
	}
	texts, err := c.action.Parameters.SecretTexts(parameters)
	if err != nil {
		return fmt.Errorf("read secrets: %w", err)
	}
	c.masker = secret.NewMasker(texts, pack.Written)
	return nil
}

// parameterFile is the name of a parameter file, in the execution's own
// directory.
func parameterFile(action *pack.Action) string { return "parameters." + string(action.ParameterFormat) }

// deliver puts parameters and secrets into a request, to where the action wants
// them. Programs of runtimes without get_secret have no use for secrets beside
// the document.
func (c *call) deliver(request *agent.Request) {
	if c.action.Delivery == pack.DeliverFile {
		request.Files = []agent.File{{Name: parameterFile(c.action), Data: c.document}}
	} else {
		request.Stdin = c.document
	}
	if c.action.Runtime.GetSecret && len(c.secrets) > 0 {
		request.Secrets = c.secrets
	}
}

// mask covers the call's secrets in a handler's reply.
func (c *call) mask(reply *agent.Reply) {
	if c.masker == nil {
		return
	}
	reply.Result = c.masker.Bytes(reply.Result)
	if f := reply.Failure; f != nil {
		reply.Failure = &agent.CallFailure{Type: c.maskPart(f.Type), Message: c.maskPart(f.Message), Traceback: c.maskPart(f.Traceback)}
	}
}

// shortestCut is less than what workers and agents cut the texts of failures to.
const shortestCut = 200

// maskPart masks a text that may have been cut before it came here.
func (c *call) maskPart(text string) string {
	if len(text) < shortestCut {
		return c.masker.String(text)
	}
	return c.masker.Cut(text)
}
