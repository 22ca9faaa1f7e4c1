package pack

import (
	"cmp"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"attune/gateway/hook"
	"attune/runtimes/strictyaml"
)

const hooksDir = "hooks"

// Hook is a URL of a pack that a webhook's sender calls.
type Hook struct {
	Ref         ActionRef // same grammar as an action's
	Label       string
	Description string
	Action      ActionRef // of the same pack
	Verify      Verify
	Mapping     []Mapping // sorted by parameter; nil: the body is the parameters
	Sync        bool      // the sender waits for the action's end
	Enabled     bool      // resolved: false in a disabled pack, and of a disabled action
}

// Verify is how a hook's requests are proven.
type Verify struct {
	Preset  string // as its file has it: "github", "hmac", "token", "none"
	Scheme  hook.Scheme
	Secrets []HookSecret // any of them will do; none only with the preset "none"
	// Challenge is the token by which a sender's GET proves that the URL is meant
	// (hub.verify_token); nil = there is no such handshake.
	Challenge *HookSecret
}

// HookSecret is a secret stored for the pack, or one in the hook's file.
type HookSecret struct {
	Name    string // of the stored secret; empty = Literal
	Literal string
}

// Proves tells whether requests must be proven at all.
func (v Verify) Proves() bool { return v.Preset != presetNone }

// Presets that aren't a sender's.
const (
	presetHMAC  = "hmac"
	presetToken = "token"
	presetNone  = "none"
)

// secretMark begins the name of a stored secret.
const secretMark = "secret:"

// hookFile is hooks/<name>.yaml.
type hookFile struct {
	Ref         string            `yaml:"ref"`
	Label       string            `yaml:"label"`
	Description string            `yaml:"description"`
	Action      string            `yaml:"action"`
	Verify      verifyFile        `yaml:"verify"`
	Parameters  map[string]string `yaml:"parameters"`
	Dedupe      string            `yaml:"dedupe"`
	Response    string            `yaml:"response"`
	Enabled     *bool             `yaml:"enabled"`
}

// verifyFile is a hook's verify: a mapping, or the word none.
type verifyFile struct {
	word        string
	Preset      string   `yaml:"preset"`
	Secrets     []string `yaml:"secrets"`
	Header      string   `yaml:"header"`
	Algorithm   string   `yaml:"algorithm"`
	Encoding    string   `yaml:"encoding"`
	Prefix      string   `yaml:"prefix"`
	VerifyToken string   `yaml:"verify_token"`
}

// SetScalar implements strictyaml.ScalarSetter.
func (v *verifyFile) SetScalar(text string) { v.word = text }

// hooks reads all hooks of a pack whose actions are read.
func (l *loader) hooks(pack *Pack) {
	first := map[ActionRef]string{}
	for _, name := range l.tree.yamlFiles(hooksDir) {
		hook := l.hook(name, pack)
		if hook == nil {
			continue
		}
		if before, twice := first[hook.Ref]; twice {
			l.faults.Addf(name, 0, "ref %s is also that of %s", hook.Ref, before)
			continue
		}
		first[hook.Ref] = name
		pack.Hooks = append(pack.Hooks, hook)
	}
	slices.SortFunc(pack.Hooks, func(a, b *Hook) int { return cmp.Compare(a.Ref.Name, b.Ref.Name) })
}

// hook reads one hook; nil means that not even its ref is known.
func (l *loader) hook(name string, pack *Pack) *Hook {
	var h hookFile
	doc := l.document(name, &h, nil)
	if doc == nil {
		return nil
	}
	ref, ok := l.actionRef(doc, h.Ref)
	action := l.hookAction(doc, h.Action, pack)
	hook := &Hook{
		Ref: ref, Label: cmp.Or(h.Label, title(ref.Name)), Description: h.Description,
		Verify:  l.verify(doc, &h, pack),
		Sync:    choose(doc, "response", h.Response, []string{"async", "sync"}, nil) == "sync",
		Enabled: pack.Enabled && (h.Enabled == nil || *h.Enabled) && action != nil && action.Enabled,
	}
	if action != nil {
		hook.Action = action.Ref
		hook.Mapping = mapping(doc, h.Parameters, action)
	}
	if !ok {
		return nil
	}
	return hook
}

// hookAction finds the action that a hook calls.
func (l *loader) hookAction(doc *strictyaml.Document, text string, pack *Pack) *Action {
	refs := make([]string, len(pack.Actions))
	for i, action := range pack.Actions {
		if refs[i] = action.Ref.String(); refs[i] == text {
			return action
		}
	}
	switch ref, err := ParseActionRef(text); {
	case !doc.Has("action"):
		doc.Faultf(nil, "action is missing: it is the action that the hook calls: %s", strings.Join(refs, ", "))
	case err != nil:
		doc.Faultf(at("action"), "action: %v", err)
	case l.ref != "" && ref.Pack != l.ref:
		doc.Faultf(at("action"), "action %s isn't in this pack: a hook calls an action beside it", ref)
	default:
		doc.Faultf(at("action"), "action %s doesn't exist: %s", quote(text), strictyaml.Suggest(text, refs))
	}
	return nil
}

// verify reads how a hook's requests are proven. That nobody proves anything
// must be said.
func (l *loader) verify(doc *strictyaml.Document, h *hookFile, pack *Pack) Verify {
	v := Verify{Preset: cmp.Or(h.Verify.word, h.Verify.Preset)}
	known := append(hook.Presets(), presetHMAC, presetToken, presetNone)
	switch {
	case v.Preset == "" || h.Verify.word != "" && h.Verify.word != presetNone:
		doc.Faultf(at("verify"), "verify must say how requests are proven, for example verify: {preset: github, secrets: [\"secret:NAME\"]}; if anybody may call the hook: verify: none")
		return v
	case !slices.Contains(known, v.Preset):
		doc.Faultf(at("verify", "preset"), "verify.preset %s doesn't exist: %s", quote(v.Preset), strictyaml.Suggest(v.Preset, known))
		return v
	}
	v.Scheme = scheme(doc, v.Preset, &h.Verify)
	if h.Dedupe != "" {
		switch {
		case v.Scheme.HasID():
			doc.Faultf(at("dedupe"), "dedupe is for senders without a delivery ID of their own, and %s has one: leave it out", v.Preset)
		case !headerGrammar.MatchString(h.Dedupe):
			doc.Faultf(at("dedupe"), "dedupe must be the name of the header that holds the delivery's ID")
		}
		v.Scheme.IDHeader = http.CanonicalHeaderKey(h.Dedupe)
	}
	if h.Verify.VerifyToken != "" {
		token := l.hookSecret(doc, pack, h.Verify.VerifyToken, "verify", "verify_token")
		v.Challenge = &token
	}
	l.secretsOf(doc, pack, h, &v)
	return v
}

// secretsOf reads the secrets, and checks those that are there to be seen.
func (l *loader) secretsOf(doc *strictyaml.Document, pack *Pack, h *hookFile, v *Verify) {
	where := at("verify", "secrets")
	switch {
	case !v.Proves() && len(h.Verify.Secrets) > 0:
		doc.Faultf(where, "verify.secrets are given, but the preset none proves nothing: choose a preset")
		return
	case v.Proves() && len(h.Verify.Secrets) == 0:
		doc.Faultf(where, "verify.secrets is missing: name a stored secret, secrets: [\"secret:NAME\"]")
		return
	}
	for i, text := range h.Verify.Secrets {
		secret := l.hookSecret(doc, pack, text, "verify", "secrets", strconv.Itoa(i))
		v.Secrets = append(v.Secrets, secret)
		if secret.Literal == "" || v.Scheme.Check() != nil {
			continue
		}
		if _, err := hook.NewVerifier(v.Scheme, []string{secret.Literal}, time.Now); err != nil {
			doc.Faultf(at("verify", "secrets", strconv.Itoa(i)), "verify.secrets: %v", err)
		}
	}
}

// hookSecret reads secret:NAME, or a literal one, which is warned about.
func (l *loader) hookSecret(doc *strictyaml.Document, pack *Pack, text string, where ...string) HookSecret {
	name, stored := strings.CutPrefix(text, secretMark)
	switch {
	case stored && !ValidSecretName(name):
		doc.Faultf(where, "%s: after %s comes the name of a stored secret: a letter or _, and up to 63 letters, digits and _ . -", strings.Join(where[:2], "."), secretMark)
	case stored:
		return HookSecret{Name: name}
	case text == "":
		doc.Faultf(where, "%s: a secret is empty", strings.Join(where[:2], "."))
	default:
		pack.Warnings = append(pack.Warnings, Fault{File: doc.Source, Line: doc.Line(where),
			Text: strings.Join(where[:2], ".") + " has a secret that everybody can read who can read the pack, its own actions too: store it (attune secret set) and write " + secretMark + "NAME"})
	}
	return HookSecret{Literal: text}
}

// headerGrammar is a header's name.
var headerGrammar = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$")

// scheme makes the scheme of a preset, of which hmac and token say more in the
// file.
func scheme(doc *strictyaml.Document, preset string, v *verifyFile) hook.Scheme {
	own := map[string]string{"header": v.Header, "algorithm": v.Algorithm, "encoding": v.Encoding, "prefix": v.Prefix}
	allowed := map[string][]string{presetHMAC: {"header", "algorithm", "encoding", "prefix"}, presetToken: {"header", "prefix"}}[preset]
	for _, key := range []string{"header", "algorithm", "encoding", "prefix"} {
		if own[key] != "" && !slices.Contains(allowed, key) {
			doc.Faultf(at("verify", key), "verify.%s is not for the preset %s, which knows it: leave it out", key, preset)
		}
	}
	if allowed == nil {
		known, _ := hook.Preset(preset) // none has no scheme
		return known
	}
	if !headerGrammar.MatchString(v.Header) {
		doc.Faultf(at("verify", "header"), "verify.header must be the name of the header that holds the %s", map[string]string{presetHMAC: "signature", presetToken: "token"}[preset])
	}
	scheme := hook.Scheme{Header: http.CanonicalHeaderKey(v.Header), Prefix: v.Prefix}
	if preset == presetHMAC {
		scheme.Algorithm, scheme.Encoding = cmp.Or(v.Algorithm, "sha256"), cmp.Or(hook.Encoding(v.Encoding), hook.EncodingHex)
		if err := scheme.Check(); err != nil && v.Header != "" {
			doc.Faultf(at("verify"), "verify: %v", err)
		}
	}
	return scheme
}
