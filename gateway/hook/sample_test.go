package hook

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// What is signed here is proven here, with the ID that it was given.
func TestSamplesAreProven(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	now := time.Unix(1614265330, 0)
	schemes := map[string]Scheme{
		"hmac":  {Header: "X-Sig", Algorithm: "sha512", Encoding: EncodingBase64, Prefix: "v1=", IDHeader: "X-Id"},
		"token": {Header: "Authorization", Prefix: "Bearer ", IDHeader: "X-Id"},
	}
	for _, name := range Presets() {
		schemes[name], _ = Preset(name)
	}
	for name, scheme := range schemes {
		sample, err := NewSample(name, "delivery-1")
		if err != nil {
			t.Errorf("NewSample(%s) error = %v", name, err)
			continue
		}
		signed, err := scheme.Sign(secret, "delivery-1", now, sample.Body)
		if err != nil {
			t.Errorf("%s: Sign() error = %v", name, err)
			continue
		}
		header := http.Header{}
		for key, value := range signed {
			header[key] = []string{value}
			if http.CanonicalHeaderKey(key) != key {
				t.Errorf("%s: header %s is not canonical", name, key)
			}
		}
		for key := range sample.Headers {
			if http.CanonicalHeaderKey(key) != key || signed[key] != "" {
				t.Errorf("%s: the sample's header %s is not canonical, or the signature's", name, key)
			}
		}
		v, err := NewVerifier(scheme, []string{secret}, func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		if d, err := v.Verify(values(header), sample.Body); err != nil || d.ID != "delivery-1" {
			t.Errorf("%s: Verify() = %+v, %v", name, d, err)
		}
		if _, err := v.Verify(values(header), append(sample.Body[:len(sample.Body):len(sample.Body)], ' ')); err == nil && scheme.Algorithm != "" {
			t.Errorf("%s: another body is proven, too", name)
		}
	}
}

// Every sender that a hook may name is in the documentation.
func TestPresetsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Presets() {
		scheme, _ := Preset(name)
		if !strings.Contains(string(text), "| `"+name+"` |") {
			t.Errorf("docs/hooks.md has no row for %s", name)
		}
		if id := scheme.IDHeader; id != "" && !strings.Contains(strings.ToLower(string(text)), strings.ToLower(id)) {
			t.Errorf("docs/hooks.md does not tell that %s has its ID in %s", name, id)
		}
	}
}
