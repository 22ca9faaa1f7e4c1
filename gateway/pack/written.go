package pack

import (
	"encoding/json"
	"strings"
)

// Written is a text, or a number, as Encode writes it in each format, without
// what stands around it: by itself, and in a list, which dotenv has as JSON.
func Written(text string) []string {
	inside := func(quoted string) string { return quoted[1 : len(quoted)-1] }
	encoded, err := compact(text)
	if err != nil {
		return nil // a string can always be encoded
	}
	line := inside(string(encoded))
	all := []string{line, dotenvQuote(text), dotenvQuote(line)}
	if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }) { // else YAML is like JSON
		all = append(all, inside(yamlString(text)))
	}
	if len(text) > maxNumber {
		return all
	}
	if value, err := parseDocument([]byte(text)); err == nil {
		if number, ok := value.(json.Number); ok {
			all = append(all, yamlNumber(number.String()))
		}
	}
	return all
}

// dotenvQuote is the inside of a value in quotes.
func dotenvQuote(text string) string { return strings.ReplaceAll(text, "'", `'\''`) }
