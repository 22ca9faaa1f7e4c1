package pack

import (
	"encoding/json"
	"fmt"
)

// Bounds of a call's secrets: hiding them costs the more, the more there is.
const (
	// MaxSecret is how many bytes one may have; as many as a stored one.
	MaxSecret = 64 << 10
	// MaxSecretTexts is how many strings, numbers, lists and objects there may be
	// in one, itself included.
	MaxSecretTexts = 256
	// MaxSecrets is how many bytes all may have together. What is in a list or an
	// object counts once more for each that it is in.
	MaxSecrets = 1 << 20
)

// tooMuchSecret finds the secrets of a call that are beyond the bounds.
func (s *Schema) tooMuchSecret(object map[string]any) []Problem {
	var found []Problem
	all := 0
	for _, name := range s.secrets {
		value, there := object[name]
		if !there {
			continue
		}
		var w secretWeight
		size := w.of(value)
		before := all
		all += w.bytes
		var detail string
		switch {
		case size > MaxSecret:
			detail = fmt.Sprintf("is a secret of more than %d bytes", MaxSecret)
		case w.texts > MaxSecretTexts:
			detail = fmt.Sprintf("is a secret of more than %d values", MaxSecretTexts)
		case all > MaxSecrets && before <= MaxSecrets:
			detail = fmt.Sprintf("makes it more than %d bytes that all secrets of the call have together", MaxSecrets)
		default:
			continue
		}
		found = append(found, Problem{pointer([]string{name}), detail})
	}
	return found
}

// secretWeight is how much SecretTexts makes of a value.
type secretWeight struct {
	texts int
	bytes int
}

// of adds a value, and returns how long it is as plain text. It stops where there
// is too much of it.
func (w *secretWeight) of(value any) (size int) {
	switch value := value.(type) {
	case nil, bool:
		return len("false")
	case string:
		size = len(value)
	case json.Number:
		size = len(value)
	case map[string]any:
		for key, below := range value {
			size += len(key) + len(`"":,`) + w.of(below)
			if size > MaxSecret || w.texts > MaxSecretTexts {
				break
			}
		}
	case []any:
		for _, below := range value {
			size += len(",") + w.of(below)
			if size > MaxSecret || w.texts > MaxSecretTexts {
				break
			}
		}
	}
	w.texts++
	w.bytes += size
	return size
}
