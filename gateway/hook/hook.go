// Package hook proves that a webhook's request comes from who has the secret,
// and says which delivery it is.
//
// A signature is checked on the bytes that came, before anything parses them, in
// constant time. Whatever a scheme needs and a request lacks is a refusal.
package hook

import (
	"crypto/hmac"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"time"
)

// Tolerance is how far a signed time may be from ours, to both sides: what
// Stripe and the Standard Webhooks specification recommend.
const Tolerance = 5 * time.Minute

// Refusals. Their texts are fixed: nothing of the request is in them.
var (
	// ErrUnsigned says that a header of the scheme is missing, or there twice.
	ErrUnsigned = errors.New("the request is not signed")
	// ErrSignature says that no signature fits any secret.
	ErrSignature = errors.New("the signature does not fit")
	// ErrStale says that the signed time is too far from now.
	ErrStale = errors.New("the signature's time is too far from now")
)

// Header gives all values of a request's header, by its canonical name.
type Header func(name string) []string

// Delivery is what a proven request says of itself.
type Delivery struct {
	// ID is the provider's, the same in every repetition; empty where a scheme
	// has none. It is never made from the body: two equal payloads may be two
	// deliveries.
	ID string
	// Time is when it was signed; zero where a scheme doesn't say.
	Time time.Time
}

// Verifier checks the requests of one hook. It is immutable.
type Verifier struct {
	scheme  Scheme
	secrets [][]byte
	now     func() time.Time
}

// NewVerifier checks by a scheme and any of several secrets, so that one can be
// replaced without losing a delivery. now is time.Now outside of tests.
func NewVerifier(scheme Scheme, secrets []string, now func() time.Time) (*Verifier, error) {
	if err := scheme.Check(); err != nil {
		return nil, err
	}
	if len(secrets) == 0 {
		return nil, errors.New("a hook without a secret would let everybody in")
	}
	v := &Verifier{scheme: scheme, now: now}
	for i, secret := range secrets {
		key, err := scheme.key(secret)
		if err != nil {
			return nil, fmt.Errorf("secret %d: %w", i+1, err)
		}
		v.secrets = append(v.secrets, key)
	}
	return v, nil
}

// Verify proves a request. The error is one of the refusals above.
func (v *Verifier) Verify(header Header, body []byte) (Delivery, error) {
	claim, err := v.scheme.read(header)
	if err != nil {
		return Delivery{}, err
	}
	if !v.fits(claim, body) {
		return Delivery{}, ErrSignature
	}
	// After the signature: an unproven time tells nothing.
	if v.scheme.Timed && v.now().Sub(claim.time).Abs() > Tolerance {
		return Delivery{}, ErrStale
	}
	d := Delivery{ID: claim.id, Time: claim.time}
	if d.ID == "" && v.scheme.IDPointer != "" {
		d.ID = idIn(body, v.scheme.IDPointer)
	}
	return d, nil
}

// fits compares every signature with every secret, whatever fits first, so that
// the time tells nothing.
func (v *Verifier) fits(c claim, body []byte) bool {
	fits := 0
	for _, secret := range v.secrets {
		want := secret
		if v.scheme.Algorithm != "" {
			want = v.scheme.sign(secret, c.stamp, c.id, body)
		}
		for _, signature := range c.signatures {
			fits |= subtle.ConstantTimeCompare(signature, want)
		}
	}
	return fits == 1
}

// sign is the MAC of what the scheme signs.
func (s Scheme) sign(secret []byte, stamp, id string, body []byte) []byte {
	mac := hmac.New(algorithms[s.Algorithm], secret)
	write := func(parts ...string) {
		for _, part := range parts {
			mac.Write([]byte(part)) // a hash's Write never fails
		}
	}
	switch s.content {
	case contentTimeBody:
		write(stamp, ".")
	case contentSlack:
		write("v0:", stamp, ":")
	case contentStandard:
		write(id, ".", stamp, ".")
	}
	mac.Write(body)
	return mac.Sum(nil)
}

// claim is what the headers say, unproven.
type claim struct {
	signatures [][]byte
	stamp      string // the time as it was written, which is what is signed
	time       time.Time
	id         string
}

// one returns a header that must be there once. Two could be read as one by the
// sender and as another by us.
func one(header Header, name string) (string, error) {
	values := header(name)
	if len(values) != 1 || values[0] == "" {
		return "", ErrUnsigned
	}
	return values[0], nil
}

// read takes the headers apart.
func (s Scheme) read(header Header) (claim, error) {
	if s.content == contentStandard {
		return s.readStandard(header)
	}
	var c claim
	text, err := one(header, s.Header)
	if err != nil {
		return c, err
	}
	if s.IDHeader != "" {
		// Where a provider sends none there is nothing to know a repetition by;
		// two are no answer either.
		c.id, _ = one(header, s.IDHeader)
	}
	if s.content == contentTimeBody {
		return s.readStripe(c, text)
	}
	if s.TimeHeader != "" {
		stamp, err := one(header, s.TimeHeader)
		if err != nil {
			return c, err
		}
		if err := c.stamped(stamp); err != nil {
			return c, err
		}
	}
	signature, err := s.decode(text)
	c.signatures = [][]byte{signature}
	return c, err
}

// readStripe takes "t=1492774577,v1=5257…,v1=…,v0=…" apart.
func (s Scheme) readStripe(c claim, text string) (claim, error) {
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "t":
			if c.stamp != "" {
				return c, ErrSignature
			}
			if err := c.stamped(value); err != nil {
				return c, err
			}
		case "v1":
			if signature, err := s.decode(value); err == nil {
				c.signatures = append(c.signatures, signature)
			}
		}
	}
	if c.stamp == "" || len(c.signatures) == 0 {
		return c, ErrSignature
	}
	return c, nil
}

// readStandard reads the headers of Standard Webhooks, or Svix's names of them:
// "v1,base64 v1,base64 v1a,…". The newer names count where both are there.
func (s Scheme) readStandard(header Header) (claim, error) {
	prefix := "Webhook-"
	if len(header("Webhook-Id")) == 0 {
		prefix = "Svix-"
	}
	var c claim
	var err error
	if c.id, err = one(header, prefix+"Id"); err != nil {
		return c, err
	}
	stamp, err := one(header, prefix+"Timestamp")
	if err != nil {
		return c, err
	}
	if err := c.stamped(stamp); err != nil {
		return c, err
	}
	text, err := one(header, prefix+"Signature")
	if err != nil {
		return c, err
	}
	for part := range strings.SplitSeq(text, " ") {
		version, value, _ := strings.Cut(part, ",")
		if version != "v1" {
			continue // v1a is asymmetric, and not by a secret
		}
		if signature, err := s.decode(value); err == nil {
			c.signatures = append(c.signatures, signature)
		}
	}
	if len(c.signatures) == 0 {
		return c, ErrSignature
	}
	return c, nil
}

// stamped reads a time in whole seconds, written in the one way there is.
func (c *claim) stamped(text string) error {
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds <= 0 || seconds > maxStamp || strconv.FormatInt(seconds, 10) != text {
		return ErrSignature
	}
	c.stamp, c.time = text, time.Unix(seconds, 0).UTC()
	return nil
}

// maxStamp is the end of the year 9999.
const maxStamp = 253402300799

// decode reads one signature.
func (s Scheme) decode(text string) ([]byte, error) {
	text, found := strings.CutPrefix(text, s.Prefix)
	if !found {
		return nil, ErrSignature
	}
	var signature []byte
	var err error
	switch s.Encoding {
	case EncodingHex:
		signature, err = hex.DecodeString(text)
	case EncodingBase64:
		signature, err = base64.StdEncoding.Strict().DecodeString(text)
	default:
		signature = []byte(text)
	}
	if err != nil {
		return nil, ErrSignature
	}
	return signature, nil
}

// algorithms by the name that a hook's file gives them.
var algorithms = map[string]func() hash.Hash{"sha1": newSHA1, "sha256": newSHA256, "sha512": newSHA512}
