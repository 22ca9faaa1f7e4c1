package pack

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// badRefs are what people and attackers send.
var badRefs = []string{
	"", ".", "..", ".store", "a.b", "A", "Pack", "1a", "_a", "-a", "a b", "a/b", "a\\b", "a\x00", "a\r\nb", "a%2f",
	"..%2f..%2fetc", "%2e%2e", "ａ", "a\u202eb", "a\xff", "é", strings.Repeat("a", 64), strings.Repeat("a", 3000),
}

func TestParseRef(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "core", "python_example", "a-b", "a1", strings.Repeat("a", 63)} {
		if ref, err := ParseRef(good); err != nil || string(ref) != good {
			t.Errorf("ParseRef(%q) = %q, %v", good, ref, err)
		}
	}
	for _, bad := range badRefs {
		if ref, err := ParseRef(bad); !errors.Is(err, ErrInvalidRef) || ref != "" {
			t.Errorf("ParseRef(%q) = %q, %v", bad, ref, err)
		}
	}
}

func TestParseActionRef(t *testing.T) {
	t.Parallel()
	ref, err := ParseActionRef("core.send_mail")
	if err != nil || ref != (ActionRef{"core", "send_mail"}) || ref.String() != "core.send_mail" {
		t.Errorf("ParseActionRef = %+v, %v", ref, err)
	}
	bad := []string{"core", "core.", ".echo", "core.echo.x", "core..echo", "Core.echo", "core.Echo", "core/echo"}
	for _, s := range bad {
		if _, err := ParseActionRef(s); !errors.Is(err, ErrInvalidRef) {
			t.Errorf("ParseActionRef(%q): %v", s, err)
		}
	}
	for _, s := range badRefs {
		if s == "a.b" {
			continue
		}
		for _, whole := range []string{s + ".a", "a." + s} {
			if _, err := ParseActionRef(whole); !errors.Is(err, ErrInvalidRef) {
				t.Errorf("ParseActionRef(%q): %v", whole, err)
			}
		}
	}
}

func TestRefErrorsShowLittle(t *testing.T) {
	t.Parallel()
	_, err := ParseRef("évil\r\n" + strings.Repeat("é", 1000))
	want := `invalid ref "\u00e9vil\r\n\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9"…: ` +
		"a pack's ref is a lower-case letter and up to 62 of a-z, 0-9, _ and -"
	if err.Error() != want {
		t.Errorf("error %s, want %s", err, want)
	}
}

func TestActionRefAsText(t *testing.T) {
	t.Parallel()
	in := map[string]ActionRef{"action": {"core", "echo"}}
	encoded, err := json.Marshal(in)
	if err != nil || string(encoded) != `{"action":"core.echo"}` {
		t.Errorf("Marshal = %s, %v", encoded, err)
	}
	var out map[string]ActionRef
	if err := json.Unmarshal(encoded, &out); err != nil || out["action"] != in["action"] {
		t.Errorf("Unmarshal = %v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"action":"x"}`), &out); !errors.Is(err, ErrInvalidRef) {
		t.Errorf("Unmarshal of a bad ref: %v", err)
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range badRefs {
		f.Add(s)
		f.Add("core." + s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := ParseRef(s)
		if err == nil && (string(ref) != s || strings.ContainsAny(s, "./\\ %\x00") || len(s) > maxName) {
			t.Errorf("ParseRef(%q) accepts", s)
		}
		if err != nil && (len(err.Error()) > 500 || !utf8.ValidString(err.Error())) {
			t.Errorf("ParseRef(%q): error of %d bytes", s, len(err.Error()))
		}
		if action, err := ParseActionRef(s); err == nil && action.String() != s {
			t.Errorf("ParseActionRef(%q) = %q", s, action)
		}
	})
}
