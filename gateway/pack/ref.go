package pack

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrInvalidRef is what every error about the grammar of a ref wraps.
var ErrInvalidRef = errors.New("invalid ref")

// maxName is how long a pack's or an action's name may be.
const maxName = 63

// Ref names a pack: a lower-case letter, then letters, digits, _ and -. It is
// safe as a path component, a container label and a part of a URL.
type Ref string

// ActionRef names an action of a pack, and is written pack.action.
type ActionRef struct {
	Pack Ref
	Name string // same grammar as a Ref
}

// ParseRef checks a pack's ref.
func ParseRef(s string) (Ref, error) {
	if !isName(s) {
		return "", refError(s, "a pack's ref is a lower-case letter and up to 62 of a-z, 0-9, _ and -")
	}
	return Ref(s), nil
}

// ParseActionRef checks an action's ref, which has exactly one dot.
func ParseActionRef(s string) (ActionRef, error) {
	pack, name, found := strings.Cut(s, ".")
	if !found || !isName(pack) || !isName(name) {
		return ActionRef{}, refError(s,
			"an action's ref is pack.action, each a lower-case letter and up to 62 of a-z, 0-9, _ and -")
	}
	return ActionRef{Pack: Ref(pack), Name: name}, nil
}

// String is pack.action.
func (r ActionRef) String() string { return string(r.Pack) + "." + r.Name }

// MarshalText writes a ref as pack.action.
func (r ActionRef) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads pack.action.
func (r *ActionRef) UnmarshalText(text []byte) error {
	parsed, err := ParseActionRef(string(text))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}

func isName(s string) bool {
	if s == "" || len(s) > maxName || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for _, c := range []byte(s) {
		lower, digit := c >= 'a' && c <= 'z', c >= '0' && c <= '9'
		if !lower && !digit && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func refError(s, rule string) error {
	return fmt.Errorf("%w %s: %s", ErrInvalidRef, quote(s), rule)
}

// quote shows a piece of somebody else's text: quoted, ASCII, and short.
func quote(s string) string {
	const limit = 40
	cut := s
	if len(cut) > limit {
		cut = cut[:limit]
		for len(cut) > 0 && !utf8.RuneStart(s[len(cut)]) {
			cut = cut[:len(cut)-1]
		}
	}
	quoted := fmt.Sprintf("%+q", cut)
	if len(cut) < len(s) {
		quoted += "…"
	}
	return quoted
}
