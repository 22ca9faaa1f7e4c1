package callback

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// secretMark begins a secret of Standard Webhooks.
const secretMark = "whsec_"

// Bounds of a secret, in bytes, as Standard Webhooks has them.
const (
	minSecret = 24
	maxSecret = 64
)

// ParseSecrets reads secrets, one a line or between commas: whsec_ and base64. All
// of them sign, so that receivers can go from one to the next at their own time.
// Errors quote nothing.
func ParseSecrets(text string) ([][]byte, error) {
	var secrets [][]byte
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == ',' }) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		encoded, marked := strings.CutPrefix(line, secretMark)
		secret, err := base64.StdEncoding.DecodeString(encoded)
		switch {
		case !marked || err != nil:
			return nil, fmt.Errorf("secret %d isn't written as %s and base64", len(secrets)+1, secretMark)
		case len(secret) < minSecret || len(secret) > maxSecret:
			return nil, fmt.Errorf("secret %d has %d bytes: it must have %d to %d", len(secrets)+1, len(secret), minSecret, maxSecret)
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) == 0 {
		return nil, errors.New("there is no secret")
	}
	return secrets, nil
}

// sign adds the headers of Standard Webhooks.
func sign(header http.Header, secrets [][]byte, id string, at time.Time, body []byte) {
	stamp := strconv.FormatInt(at.Unix(), 10)
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		fmt.Fprintf(mac, "%s.%s.", id, stamp)
		mac.Write(body) // a hash's Write never fails
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	header.Set("Webhook-Id", id)
	header.Set("Webhook-Timestamp", stamp)
	header.Set("Webhook-Signature", strings.Join(signatures, " "))
}
