package hook

import (
	"crypto/sha1" // as some senders still sign; a MAC doesn't need collision resistance
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"
)

func newSHA1() hash.Hash   { return sha1.New() }
func newSHA256() hash.Hash { return sha256.New() }
func newSHA512() hash.Hash { return sha512.New() }

// Encoding is how a signature is written.
type Encoding string

// Encodings of a signature. A token is compared as it is.
const (
	EncodingHex    Encoding = "hex"
	EncodingBase64 Encoding = "base64"
)

// content is what a scheme signs.
type content int

const (
	contentBody     content = iota
	contentTimeBody         // Stripe: time.body
	contentSlack            // v0:time:body
	contentStandard         // Standard Webhooks: id.time.body
)

// Scheme is how a sender proves itself.
type Scheme struct {
	Header     string   // holds the signature, or the token
	Algorithm  string   // of the HMAC: "sha1", "sha256", "sha512"; empty = the header holds the secret itself
	Encoding   Encoding // of the signature
	Prefix     string   // before the signature: "sha256="
	IDHeader   string   // holds the delivery's ID; empty = none
	IDPointer  string   // where the proven body holds it, by a JSON Pointer of one step; empty = nowhere
	TimeHeader string   // holds the signed time
	Timed      bool     // the time is part of what is signed, and is checked
	content    content
	base64Key  bool // the secret is base64, behind "whsec_"
}

// presets are the schemes of well-known senders, as their documentation has
// them:
//
//	github    docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
//	gitlab    docs.gitlab.com/user/project/integrations/webhooks (secret token)
//	stripe    docs.stripe.com/webhooks/signature (verify manually)
//	slack     docs.slack.dev/authentication/verifying-requests-from-slack
//	shopify   shopify.dev/docs/apps/build/webhooks/subscribe/https
//	standard-webhooks  standardwebhooks.com, and Svix, where it comes from
var presets = map[string]Scheme{
	"github": {Header: "X-Hub-Signature-256", Algorithm: "sha256", Encoding: EncodingHex, Prefix: "sha256=", IDHeader: "X-Github-Delivery"},
	// X-Gitlab-Event-UUID is no delivery's: webhooks that others have caused share it.
	"gitlab": {Header: "X-Gitlab-Token", IDHeader: "Idempotency-Key"},
	"stripe": {Header: "Stripe-Signature", Algorithm: "sha256", Encoding: EncodingHex, Timed: true, content: contentTimeBody, IDPointer: "/id"},
	"slack": {
		Header: "X-Slack-Signature", Algorithm: "sha256", Encoding: EncodingHex, Prefix: "v0=",
		TimeHeader: "X-Slack-Request-Timestamp", Timed: true, content: contentSlack, IDPointer: "/event_id",
	},
	"shopify":           {Header: "X-Shopify-Hmac-Sha256", Algorithm: "sha256", Encoding: EncodingBase64, IDHeader: "X-Shopify-Webhook-Id"},
	"standard-webhooks": {Algorithm: "sha256", Encoding: EncodingBase64, Timed: true, content: contentStandard, base64Key: true},
}

// Preset returns the scheme of a well-known sender.
func Preset(name string) (Scheme, bool) {
	scheme, ok := presets[name]
	return scheme, ok
}

// Presets are the names that Preset knows, sorted.
func Presets() []string { return slices.Sorted(maps.Keys(presets)) }

// HasID tells whether the sender's own documentation names an ID of its
// deliveries.
func (s Scheme) HasID() bool {
	return s.IDHeader != "" || s.IDPointer != "" || s.content == contentStandard
}

// Check reports what makes a scheme impossible.
func (s Scheme) Check() error {
	switch {
	case s.Header == "" && s.content != contentStandard:
		return errors.New("a scheme without a header has nothing to check")
	case s.Algorithm == "" && (s.content != contentBody || s.Timed):
		return errors.New("a token signs nothing")
	case s.Algorithm != "" && algorithms[s.Algorithm] == nil:
		return fmt.Errorf("algorithm %q: there is %s", s.Algorithm, strings.Join(slices.Sorted(maps.Keys(algorithms)), ", "))
	case s.Algorithm != "" && s.Encoding != EncodingHex && s.Encoding != EncodingBase64:
		return fmt.Errorf("encoding %q: there is %s and %s", s.Encoding, EncodingHex, EncodingBase64)
	}
	return nil
}

// minSecret is the least length of a secret in bytes: shorter ones can be tried
// out by who has one signed request.
const minSecret = 8

// key is a secret as the MAC takes it.
func (s Scheme) key(secret string) ([]byte, error) {
	key := []byte(secret)
	if s.base64Key {
		var err error
		if key, err = base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_")); err != nil {
			return nil, errors.New("must be base64, after whsec_ where that is there")
		}
	}
	if len(key) < minSecret {
		return nil, fmt.Errorf("must have at least %d bytes", minSecret)
	}
	return key, nil
}

// maxID bounds what is taken for a delivery's ID.
const maxID = 255

// idIn finds the delivery's ID in a proven body; empty where there is none.
func idIn(body []byte, pointer string) string {
	var object map[string]json.RawMessage
	if json.Unmarshal(body, &object) != nil {
		return "" // a form, for example: Slack's slash commands have no ID
	}
	var id string
	if json.Unmarshal(object[strings.TrimPrefix(pointer, "/")], &id) != nil || len(id) > maxID {
		return ""
	}
	return id
}
