package key

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func mustNew(t *testing.T, expires time.Time, scopes ...Scope) (Key, string) {
	t.Helper()
	k, token, err := New(Order{Name: "test", Scopes: scopes, ExpiresAt: expires}, now)
	if err != nil {
		t.Fatalf("New() error = %v", err)
	}
	return k, token
}

func TestAuthenticate(t *testing.T) {
	k, token := mustNew(t, time.Time{}, "invoke:*")
	other, otherToken := mustNew(t, now.Add(time.Hour), Admin)
	ring := NewRing(k, other)
	for token, want := range map[string]string{token: k.ID, otherToken: other.ID} {
		if got, err := ring.Authenticate(token, now); err != nil || got.ID != want {
			t.Errorf("Authenticate() = %+v, %v, want %s", got, err, want)
		}
	}
	if _, err := ring.Authenticate(otherToken, now.Add(time.Hour)); !errors.Is(err, ErrExpired) {
		t.Errorf("an hour later: error = %v, want ErrExpired", err)
	}
	last := token[len(token)-1]
	mixed := otherToken[:len(prefix)+26] + token[len(prefix)+26:]
	for _, bad := range []string{
		"", "attune_", "attune__", strings.ToUpper(token), token + "=", token + "A", token[:len(token)-1], " " + token,
		token[len(prefix):], mixed, token[:len(token)-1] + string(last^1), strings.Replace(token, "_", "-", 2),
		prefix + k.ID + "_" + strings.Repeat("A", 43), prefix + k.ID + "_" + strings.Repeat("A", 1<<20),
	} {
		if got, err := ring.Authenticate(bad, now); !errors.Is(err, ErrUnknown) {
			t.Errorf("Authenticate(%.60q) = %+v, %v, want ErrUnknown", bad, got, err)
		}
	}
	if _, err := NewRing().Authenticate(token, now); !errors.Is(err, ErrUnknown) {
		t.Errorf("empty ring: error = %v, want ErrUnknown", err)
	}
}

func TestTokenIsNowhereInTheKey(t *testing.T) {
	k, token := mustNew(t, time.Time{}, Admin)
	if strings.Contains(string(k.Hash), token[len(prefix)+27:]) || len(k.Hash) != 32 {
		t.Errorf("hash = %x", k.Hash)
	}
	if again, second := mustNew(t, time.Time{}, Admin); again.ID == k.ID || second == token {
		t.Error("two keys are one")
	}
}

func TestNewRefuses(t *testing.T) {
	for what, test := range map[string]struct {
		name    string
		scopes  []Scope
		expires time.Time
	}{
		"no name":       {"", []Scope{Admin}, time.Time{}},
		"a long name":   {strings.Repeat("x", maxName+1), []Scope{Admin}, time.Time{}},
		"a line break":  {"a\nb", []Scope{Admin}, time.Time{}},
		"no scope":      {"a", nil, time.Time{}},
		"no such scope": {"a", []Scope{Admin, "invoke"}, time.Time{}},
		"expired":       {"a", []Scope{Admin}, now},
	} {
		if _, _, err := New(Order{Name: test.name, Scopes: test.scopes, ExpiresAt: test.expires}, now); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func TestMay(t *testing.T) {
	for _, test := range []struct {
		scope          Scope
		verb, resource string
		want           bool
	}{
		{Admin, Invoke, "demo.echo", true},
		{Admin, "keys", "*", true},
		{"invoke:*", Invoke, "demo.echo", true},
		{"invoke:*", Read, "demo", false},
		{"invoke:demo.*", Invoke, "demo.echo", true},
		{"invoke:demo.*", Invoke, "demo2.echo", false},
		{"invoke:demo.*", Invoke, "demo", false},
		{"invoke:demo.echo", Invoke, "demo.echo", true},
		{"invoke:demo.echo", Invoke, "demo.echo2", false},
		{"invoke:demo.echo", Invoke, "demo.ech", false},
		{"read:*", Read, "demo", true},
		{"read:*", Read, "*", true},
		{"read:demo", Read, "demo", true},
		{"read:demo", Read, "demo2", false},
		{"read:demo", Read, "*", false},
		{"read:demo", Operate, "demo", false},
		{"operate:demo", Operate, "demo", true},
		{"operate:demo", Read, "demo", true},
		{"operate:demo", Invoke, "demo.echo", false},
		{"operate:*", Operate, "*", true},
		{"operate:*", "keys", "*", false},
	} {
		if got := (&Key{Scopes: []Scope{test.scope}}).May(test.verb, test.resource); got != test.want {
			t.Errorf("%s may %s %s = %v, want %v", test.scope, test.verb, test.resource, got, test.want)
		}
	}
	if (&Key{}).May(Invoke, "demo.echo") {
		t.Error("a key without scopes may call")
	}
}

func FuzzParseScope(f *testing.F) {
	for _, s := range []string{"admin", "invoke:*", "invoke:a.*", "invoke:a.b", "read:*", "operate:a", "invoke:a", "admin\n", "invoke:.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		scope, err := ParseScope(text)
		if err != nil {
			return
		}
		if scope != Admin && (&Key{Scopes: []Scope{scope}}).May("keys", "*") {
			t.Errorf("%q may manage keys", text)
		}
		if strings.ContainsAny(text, " \n/\\\x00") {
			t.Errorf("%q is a scope", text)
		}
	})
}
