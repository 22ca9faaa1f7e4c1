package hook

import (
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// samples are short forms of what senders' documentation shows. DELIVERY stands
// for the delivery's ID.
//
//go:embed samples/*.json
var samples embed.FS

// Sample is a request that a sender could have made.
type Sample struct {
	Headers map[string]string `json:"headers"` // beside those of the signature; names are canonical
	Body    json.RawMessage   `json:"body"`
}

// NewSample makes a request as a well-known sender does it, with a delivery's
// ID; for names that Preset doesn't know, it is one of nobody in particular.
func NewSample(preset, id string) (Sample, error) {
	if _, known := presets[preset]; !known {
		preset = "other"
	}
	text, err := samples.ReadFile("samples/" + preset + ".json")
	if err != nil {
		return Sample{}, err
	}
	var sample Sample
	if err := json.Unmarshal([]byte(strings.ReplaceAll(string(text), "DELIVERY", id)), &sample); err != nil {
		return Sample{}, fmt.Errorf("sample of %s: %w", preset, err)
	}
	return sample, nil
}

// Sign makes the headers by which a sender proves a body: the opposite of
// Verify. Names are canonical.
func (s Scheme) Sign(secret, id string, at time.Time, body []byte) (map[string]string, error) {
	key, err := s.key(secret)
	if err != nil {
		return nil, err
	}
	stamp, signature := strconv.FormatInt(at.Unix(), 10), string(key)
	if s.Algorithm != "" {
		signature = s.encode(s.sign(key, stamp, id, body))
	}
	switch s.content {
	case contentStandard:
		return map[string]string{"Webhook-Id": id, "Webhook-Timestamp": stamp, "Webhook-Signature": "v1," + signature}, nil
	case contentTimeBody:
		return map[string]string{s.Header: "t=" + stamp + ",v1=" + signature}, nil
	}
	headers := map[string]string{s.Header: s.Prefix + signature}
	if s.IDHeader != "" {
		headers[s.IDHeader] = id
	}
	if s.TimeHeader != "" {
		headers[s.TimeHeader] = stamp
	}
	return headers, nil
}

func (s Scheme) encode(mac []byte) string {
	if s.Encoding == EncodingHex {
		return hex.EncodeToString(mac)
	}
	return base64.StdEncoding.EncodeToString(mac)
}
