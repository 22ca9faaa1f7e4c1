package secret

import (
	"bytes"
	"errors"
	"testing"
)

func TestBox(t *testing.T) {
	t.Parallel()
	ring, err := ParseKeys(NewKey())
	if err != nil {
		t.Fatal(err)
	}
	v := &Vault{Keys: ring}
	key, box, err := v.Seal("demo", "parameters of 1", "hush")
	if err != nil || bytes.Contains(box, []byte("hush")) {
		t.Fatalf("Seal() = %q, %v", box, err)
	}
	if got, err := v.Open("demo", "parameters of 1", key, box); err != nil || got != "hush" {
		t.Errorf("Open() = %q, %v", got, err)
	}
	for what, open := range map[string]func() (string, error){
		"of another pack":    func() (string, error) { return v.Open("other", "parameters of 1", key, box) },
		"of another purpose": func() (string, error) { return v.Open("demo", "parameters of 2", key, box) },
		"by another key":     func() (string, error) { return v.Open("demo", "parameters of 1", "00000000", box) },
		"that was changed":   func() (string, error) { return v.Open("demo", "parameters of 1", key, append(bytes.Clone(box[:len(box)-1]), 0)) },
		"that is too short":  func() (string, error) { return v.Open("demo", "parameters of 1", key, box[:3]) },
	} {
		if got, err := open(); !errors.Is(err, ErrUnreadable) {
			t.Errorf("Open() of a box %s = %q, %v, want ErrUnreadable", what, got, err)
		}
	}
	if _, _, err := (&Vault{}).Seal("demo", "x", "y"); !errors.Is(err, ErrNoKey) {
		t.Errorf("Seal() without keys: error = %v, want ErrNoKey", err)
	}
}
