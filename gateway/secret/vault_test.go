package secret_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/gateway/secret"
	"attune/gateway/secret/secrettest"
)

func mustKeys(t *testing.T, text string) *secret.Keyring {
	t.Helper()
	ring, err := secret.ParseKeys(text)
	if err != nil {
		t.Fatalf("ParseKeys() error = %v", err)
	}
	return ring
}

func mustSet(t *testing.T, v *secret.Vault, pack, name, value string) {
	t.Helper()
	if err := v.Set(t.Context(), pack, name, value); err != nil {
		t.Fatalf("Set(%s, %s) error = %v", pack, name, err)
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	secrettest.Exercise(t, func(*testing.T) secret.Store { return secrettest.NewMemory() })
}

func TestVault(t *testing.T) {
	t.Parallel()
	v := &secret.Vault{Store: secrettest.NewMemory(), Keys: mustKeys(t, secret.NewKey())}
	mustSet(t, v, "demo", "token", "old")
	mustSet(t, v, "demo", "token", "hush-1")
	mustSet(t, v, "demo", "other", "")
	mustSet(t, v, "else", "token", "hush-2")
	got, err := v.Values(t.Context(), "demo", []string{"token", "missing"})
	if diff := cmp.Diff(map[string]string{"token": "hush-1"}, got); diff != "" || err != nil {
		t.Errorf("Values(), %v (-want +got):\n%s", err, diff)
	}
	entries, err := v.List(t.Context(), "demo")
	if err != nil || len(entries) != 2 || entries[0].Name != "other" || !entries[1].Readable || entries[1].UpdatedAt.IsZero() {
		t.Errorf("List() = %+v, %v", entries, err)
	}
	if err := v.Delete(t.Context(), "demo", "token"); err != nil {
		t.Errorf("Delete() error = %v", err)
	}
	if err := v.Delete(t.Context(), "demo", "token"); !errors.Is(err, secret.ErrNone) {
		t.Errorf("Delete() again error = %v", err)
	}
}

// Whoever can write to the store can neither swap secrets nor change them.
func TestForgedRowsAreUnreadable(t *testing.T) {
	t.Parallel()
	store := secrettest.NewMemory()
	v := &secret.Vault{Store: store, Keys: mustKeys(t, secret.NewKey())}
	mustSet(t, v, "demo", "a", "hush")
	rows, err := store.Pack(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*secret.Sealed){
		"pack":     func(s *secret.Sealed) { s.Pack = "else" },
		"name":     func(s *secret.Sealed) { s.Name = "b" },
		"version":  func(s *secret.Sealed) { s.Version++ },
		"key":      func(s *secret.Sealed) { s.Key = "00000000" },
		"box":      func(s *secret.Sealed) { s.Box[len(s.Box)-1] ^= 1 },
		"nonce":    func(s *secret.Sealed) { s.Box[0] ^= 1 },
		"cut":      func(s *secret.Sealed) { s.Box = s.Box[:10] },
		"cut more": func(s *secret.Sealed) { s.Box = nil },
	} {
		forged := rows[0]
		forged.Box = append([]byte(nil), forged.Box...)
		change(&forged)
		v := &secret.Vault{Store: secrettest.NewMemory(), Keys: v.Keys}
		if err := v.Store.Put(t.Context(), forged); err != nil {
			t.Fatal(err)
		}
		if got, err := v.Values(t.Context(), forged.Pack, []string{forged.Name}); !errors.Is(err, secret.ErrUnreadable) || got != nil {
			t.Errorf("%s: Values() = %v, %v, want ErrUnreadable", name, got, err)
		}
	}
}

func TestWithoutAKey(t *testing.T) {
	t.Parallel()
	store := secrettest.NewMemory()
	mustSet(t, &secret.Vault{Store: store, Keys: mustKeys(t, secret.NewKey())}, "demo", "a", "hush")
	v := &secret.Vault{Store: store}
	if err := v.Set(t.Context(), "demo", "b", "x"); !errors.Is(err, secret.ErrNoKey) {
		t.Errorf("Set() error = %v, want ErrNoKey", err)
	}
	if _, err := v.Values(t.Context(), "demo", []string{"a"}); !errors.Is(err, secret.ErrNoKey) {
		t.Errorf("Values() error = %v, want ErrNoKey", err)
	}
	if got, err := v.Values(t.Context(), "demo", []string{"b"}); len(got) > 0 || err != nil {
		t.Errorf("Values() of one that isn't stored = %v, %v", got, err)
	}
	if entries, err := v.List(t.Context(), "demo"); err != nil || len(entries) != 1 || entries[0].Readable {
		t.Errorf("List() = %+v, %v", entries, err)
	}
}

// A new key first, the old one behind it until everything is sealed anew.
func TestRotation(t *testing.T) {
	t.Parallel()
	before, after := secret.NewKey(), secret.NewKey()
	store := secrettest.NewMemory()
	mustSet(t, &secret.Vault{Store: store, Keys: mustKeys(t, before)}, "demo", "a", "hush")
	both := &secret.Vault{Store: store, Keys: mustKeys(t, "# new\n"+after+"\n\n"+before)}
	mustSet(t, both, "demo", "b", "more")
	for i, want := range []int{1, 0} {
		if n, err := both.Reseal(t.Context()); n != want || err != nil {
			t.Errorf("Reseal(), call %d = %d, %v, want %d", i, n, err, want)
		}
	}
	got, err := (&secret.Vault{Store: store, Keys: mustKeys(t, after)}).Values(t.Context(), "demo", []string{"a", "b"})
	if diff := cmp.Diff(map[string]string{"a": "hush", "b": "more"}, got); diff != "" || err != nil {
		t.Errorf("Values() with the new key, %v (-want +got):\n%s", err, diff)
	}
	old := &secret.Vault{Store: store, Keys: mustKeys(t, before)}
	if _, err := old.Values(t.Context(), "demo", []string{"a"}); !errors.Is(err, secret.ErrUnreadable) {
		t.Errorf("Values() with the old key error = %v", err)
	}
	if n, err := old.Reseal(t.Context()); n != 0 || !errors.Is(err, secret.ErrUnreadable) {
		t.Errorf("Reseal() with the old key = %d, %v", n, err)
	}
}

func TestReadKeys(t *testing.T) {
	t.Parallel()
	key := secret.NewKey()
	path := filepath.Join(t.TempDir(), "keys")
	for _, test := range []struct {
		text string
		mode os.FileMode
		want string // part of the error
	}{
		{key, 0o600, ""}, {key + "\n", 0o440, ""},
		{key, 0o644, "chmod 600"}, {key, 0o620, "chmod 600"}, {key, 0o602, "chmod 600"},
		{"", 0o600, "there is no key"}, {"# none\n", 0o600, "there is no key"},
		{key + "\n" + key[:40], 0o600, "line 2: not a key"}, {strings.TrimPrefix(key, "attune"), 0o600, "line 1: not a key"},
		{strings.Repeat("#\n", 40<<10), 0o600, "too large"},
	} {
		if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, []byte(test.text), 0o600), os.Chmod(path, test.mode)); err != nil {
			t.Fatal(err)
		}
		ring, err := secret.ReadKeys(path)
		if (err == nil) != (test.want == "") || (ring == nil) != (err != nil) {
			t.Errorf("ReadKeys(%.30q, %o) = %v, %v", test.text, test.mode, ring, err)
		}
		if err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), key[15:30])) {
			t.Errorf("ReadKeys(%.30q, %o) error = %v, want %s and nothing of a key", test.text, test.mode, err, test.want)
		}
	}
	if _, err := secret.ReadKeys(t.TempDir()); err == nil {
		t.Error("ReadKeys takes a directory")
	}
}
