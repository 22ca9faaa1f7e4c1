package key

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Scope is one thing that a key may do. Scopes add up; there is no "except".
//
//	invoke:*            call every action
//	invoke:demo.*       call the actions of one pack
//	invoke:demo.echo    call one action
//	read:*, read:demo   see packs, actions, environments and executions of all packs, or of one
//	operate:*, operate:demo   build, roll back and remove environments, register packs, cancel executions, store secrets
//	admin               everything, keys too
type Scope string

// Admin is the scope of who may do everything.
const Admin Scope = "admin"

// Verbs of scopes. AdminVerb is what the scope admin alone allows: it has no
// resources.
const (
	Invoke    = "invoke"
	Read      = "read"
	Operate   = "operate"
	AdminVerb = "admin"
)

// scopeGrammar: packs and actions as pack.ParseRef and pack.ParseActionRef have
// them.
var scopeGrammar = regexp.MustCompile(
	`^(admin|invoke:(\*|[a-z][a-z0-9_-]{0,62}\.(\*|[a-z][a-z0-9_-]{0,62}))|(read|operate):(\*|[a-z][a-z0-9_-]{0,62}))$`)

// ScopeGrammar is that, in words.
const ScopeGrammar = "admin, invoke:*, invoke:PACK.*, invoke:PACK.ACTION, read:*, read:PACK, operate:* or operate:PACK"

// ParseScope checks a scope's spelling.
func ParseScope(text string) (Scope, error) {
	if !scopeGrammar.MatchString(text) {
		return "", fmt.Errorf("%q is no scope: write %s", clip(text), ScopeGrammar)
	}
	return Scope(text), nil
}

// clip bounds what an error repeats.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// May tells whether a key may do something to a resource: "demo.echo" of Invoke,
// a pack's ref or "*" (all of them) of Read and Operate. Who may operate a pack
// may see it, too.
func (k *Key) May(verb, resource string) bool {
	for _, scope := range k.Scopes {
		if scope.allows(verb, resource) {
			return true
		}
	}
	return false
}

// MaySomewhere tells whether a key may do something to any resource at all.
func (k *Key) MaySomewhere(verb string) bool {
	return slices.ContainsFunc(k.Scopes, func(s Scope) bool { return s == Admin || s.has(verb) })
}

// IsAdmin tells whether a key may do everything.
func (k *Key) IsAdmin() bool { return slices.Contains(k.Scopes, Admin) }

func (s Scope) allows(verb, resource string) bool {
	if s == Admin {
		return true
	}
	if !s.has(verb) {
		return false
	}
	_, pattern, _ := strings.Cut(string(s), ":")
	if pattern == "*" || pattern == resource {
		return true
	}
	pack, all := strings.CutSuffix(pattern, "*") // "demo."
	return all && strings.HasPrefix(resource, pack)
}

// has tells whether a scope other than Admin is of a verb.
func (s Scope) has(verb string) bool {
	own, _, _ := strings.Cut(string(s), ":")
	return own == verb || (own == Operate && verb == Read)
}
