package execution

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"attune/gateway/pack"
	"attune/gateway/secret"
)

// fixedSecrets are stored for every pack; err is what reading them gives.
type fixedSecrets struct {
	values map[string]string
	err    error
	asked  []string
}

func (f *fixedSecrets) Values(_ context.Context, _ string, names []string) (map[string]string, error) {
	f.asked = append(f.asked, names...)
	return f.values, f.err
}

const tokenParameters = "parameters: {token: {type: string, secret: true, required: true, maxLength: 20}}\n"

func TestStoredSecretsReachTheirActionAlone(t *testing.T) {
	t.Parallel()
	stored := &fixedSecrets{values: map[string]string{"token": "hush-hush"}}
	r := newRig(t, map[string]action{
		"uses":  {tokenParameters, "tr h j"},
		"shows": {tokenParameters, "cat; cat /dev/null >&2; echo error hush-hush >&2"},
		"half":  {tokenParameters, "printf hush-hus; printf hush- >&2"},
		"plain": {"parameters: {token: {type: string}}\n", "cat"},
	}, func(o *Options) { o.Secrets = stored })
	if got := string(r.mustCall(t, "uses", "").Output); got != `{"token":"jusj-jusj"}`+"\n" {
		t.Errorf("an action that declares the secret reads %s", got)
	}
	shows := r.mustCall(t, "shows", "")
	if got := string(shows.Output); got != `{"token":"[MASKED]"}`+"\n" || shows.Execution.Stderr != "error [MASKED]\n" {
		t.Errorf("output = %s, stderr = %s, want them masked", got, shows.Execution.Stderr)
	}
	half := r.mustCall(t, "half", "") // what a secret only begins with is all there
	if string(half.Output) != "hush-hus" || half.Execution.Stderr != "hush-" {
		t.Errorf("output = %s, stderr = %s, want all of them", half.Output, half.Execution.Stderr)
	}
	stored.asked = nil
	if got := string(r.mustCall(t, "plain", "").Output); got != "{}\n" || stored.asked != nil {
		t.Errorf("an action that declares none reads %s, asked for %v", got, stored.asked)
	}
}

func TestSecretsAreRefused(t *testing.T) {
	t.Parallel()
	stored := &fixedSecrets{}
	r := newRig(t, map[string]action{"uses": {tokenParameters, "cat"}}, func(o *Options) { o.Secrets = stored })
	for name, test := range map[string]struct {
		values     map[string]string
		err        error
		body, code string
		pointer    string
		retryable  bool
	}{
		"missing":       {nil, nil, "", CodeInvalidParameters, "/token", false},
		"clash":         {map[string]string{"token": "hush-1"}, nil, `{"token":"hush-2"}`, CodeInvalidParameters, "/token", false},
		"unfit":         {map[string]string{"token": strings.Repeat("hush", 9)}, nil, "", CodeInvalidParameters, "/token", false},
		"no key":        {nil, secret.ErrNoKey, "", CodeSecretsUnreadable, "", false},
		"another's key": {nil, secret.ErrUnreadable, "", CodeSecretsUnreadable, "", false},
		"store away":    {nil, errors.New("redis is away"), "", CodeStateUnavailable, "", true},
	} {
		stored.values, stored.err = test.values, test.err
		outcome, err := r.call(t.Context(), "uses", test.body, 0)
		failure := asError(t, err)
		if failure.Code != test.code || failure.Retryable != test.retryable || outcome != nil {
			t.Errorf("%s: error = %+v, %v, want %s and no execution", name, failure, outcome, test.code)
		}
		if test.pointer != "" && (len(failure.Parameters) != 1 || failure.Parameters[0].Pointer != test.pointer) {
			t.Errorf("%s: parameters = %+v, want %s", name, failure.Parameters, test.pointer)
		}
		for _, p := range failure.Parameters {
			if strings.Contains(failure.Error()+p.Detail, "hush") {
				t.Errorf("%s: the error tells a value: %v %+v", name, failure, p)
			}
		}
	}
}

// Calls with more secrets than can be hidden at little cost are refused, by the
// parameter's name alone.
func TestTooMuchSecretIsRefused(t *testing.T) {
	t.Parallel()
	if pack.MaxSecret != secret.MaxValue {
		t.Errorf("a call's secret may have %d bytes, a stored one %d", pack.MaxSecret, secret.MaxValue)
	}
	r := newRig(t, map[string]action{"uses": {"parameters: {token: {secret: true}}\n", "cat >/dev/null"}}, nil)
	if got := r.mustCall(t, "uses", `{"token":"`+strings.Repeat("hush", pack.MaxSecret/4)+`"}`); got.Execution.Status != StatusSucceeded {
		t.Errorf("a secret of %d bytes: %+v", pack.MaxSecret, got.Execution)
	}
	for name, value := range map[string]string{
		"a byte too many": `"` + strings.Repeat("hush", pack.MaxSecret/4) + `!"`,
		"6 MiB":           `"` + strings.Repeat("hush-hu\\n", 6<<20/9) + `"`,
		"many values":     `["hush-hush"` + strings.Repeat(`,"hush-hush-"`, pack.MaxSecretTexts) + `]`,
	} {
		outcome, err := r.call(t.Context(), "uses", `{"token":`+value+`}`, 0)
		failure := asError(t, err)
		if outcome != nil || failure.Code != CodeInvalidParameters || len(failure.Parameters) != 1 || failure.Parameters[0].Pointer != "/token" {
			t.Errorf("%s: error = %+v, %v, want invalid-parameters at /token", name, failure, outcome)
		}
		if text := fmt.Sprint(failure, failure.Parameters); strings.Contains(text, "hush") {
			t.Errorf("%s: the error tells a value: %s", name, text)
		}
	}
}

// What is cut off by a limit is not taken for all there was, though masks make
// it shorter; and of a secret at the cut nothing is left.
func TestMaskedStreamsKnowWhatWasPrinted(t *testing.T) {
	t.Parallel()
	masker := secret.NewMasker([]string{"a-long-secret-of-some-bytes"})
	out := newOutput(Limits{Result: 40, Log: 40})
	out.hide(masker)
	if _, err := out.stdout.Write([]byte("a-long-secret-of-some-bytes, a-long-secr")); err != nil {
		t.Fatal(err)
	}
	out.stdout.end(15, false)
	if got := out.stdout.kept.String(); got != "[MASKED], [MASKED]" || out.stdout.total() != 55 {
		t.Errorf("kept %q of %d bytes, want both masked of 55", got, out.stdout.total())
	}
	if text, truncated := out.stdout.log("stdout", 40); !truncated || !strings.HasPrefix(text, "[MASKED], [MASKED]\n\n[OUTPUT TRUNCATED") {
		t.Errorf("log = %q, %t, want it truncated", text, truncated)
	}
}
