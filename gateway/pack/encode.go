package pack

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrUnencodable is what Encode's errors about parameters wrap that a format has
// no way to write.
var ErrUnencodable = errors.New("can't be written in this format")

// Encode writes an action's parameters, as Apply gives them, in the format in
// which its script reads them: one document, and a newline.
func Encode(params json.RawMessage, format Format) ([]byte, error) {
	value, err := parseDocument(params)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%w: parameters are an object", ErrUnencodable)
	}
	switch format {
	case FormatJSON:
		line, err := compact(object)
		return append(line, '\n'), err
	case FormatYAML:
		return encodeYAML(object), nil
	case FormatDotenv:
		return encodeDotenv(object)
	}
	return nil, fmt.Errorf("%w: %s", ErrUnencodable, format)
}

// assignable is a key that no shell takes for anything but a name, or for names
// joined by dots.
var assignable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$`)

// encodeDotenv writes key='value' lines, sorted. A script may source them: every
// value is quoted, and a key that isn't a name is an error.
func encodeDotenv(object map[string]any) ([]byte, error) {
	pairs := map[string]string{}
	if err := flatten(object, "", pairs); err != nil {
		return nil, err
	}
	var out strings.Builder
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		out.WriteString(key + "='" + dotenvQuote(pairs[key]) + "'\n")
	}
	if out.Len() == 0 {
		return []byte("\n"), nil
	}
	return []byte(out.String()), nil
}

// flatten joins nested keys by dots. Lists are values, in JSON.
func flatten(object map[string]any, prefix string, pairs map[string]string) error {
	for name, value := range object {
		key := prefix + name
		if below, ok := value.(map[string]any); ok {
			if err := flatten(below, key+".", pairs); err != nil {
				return err
			}
			continue
		}
		text, err := plain(value)
		if err != nil {
			return err
		}
		_, twice := pairs[key]
		switch {
		case !assignable.MatchString(key):
			return fmt.Errorf("%w: dotenv needs names of letters, digits, _ and -", ErrUnencodable)
		case twice:
			return fmt.Errorf("%w: two values have one name in dotenv", ErrUnencodable)
		case strings.IndexByte(text, 0) >= 0:
			return fmt.Errorf("%w: dotenv can't hold a NUL character", ErrUnencodable)
		}
		pairs[key] = text
	}
	return nil
}

// plain is a value without quotes of its own; null is nothing.
func plain(value any) (string, error) {
	switch value := value.(type) {
	case nil:
		return "", nil
	case string:
		return value, nil
	}
	encoded, err := compact(value)
	return string(encoded), err
}

// encodeYAML writes block style, keys sorted. Every string is in double quotes:
// what plain words mean differs between readers (no, 1e3, 12:30).
func encodeYAML(object map[string]any) []byte {
	if len(object) == 0 {
		return []byte("{}\n")
	}
	var out strings.Builder
	yamlMapping(&out, object, "")
	return []byte(out.String())
}

// writeYAML is encodeYAML of any value.
func writeYAML(value any) []byte {
	if object, ok := value.(map[string]any); ok {
		return encodeYAML(object)
	}
	var out strings.Builder
	yamlValue(&out, value, "")
	return []byte(out.String()[1:]) // without what separates it from its key
}

func yamlMapping(out *strings.Builder, object map[string]any, indent string) {
	for _, key := range slices.Sorted(maps.Keys(object)) {
		out.WriteString(indent + yamlKey(key) + ":")
		yamlValue(out, object[key], indent)
	}
}

// yamlValue writes what stands behind a colon or a dash.
func yamlValue(out *strings.Builder, value any, indent string) {
	switch value := value.(type) {
	case map[string]any:
		if len(value) > 0 {
			out.WriteByte('\n')
			yamlMapping(out, value, indent+"  ")
			return
		}
		out.WriteString(" {}\n")
	case []any:
		if len(value) == 0 {
			out.WriteString(" []\n")
			return
		}
		out.WriteByte('\n')
		for _, item := range value {
			out.WriteString(indent + "  -")
			yamlValue(out, item, indent+"  ")
		}
	default:
		out.WriteString(" " + yamlScalar(value) + "\n")
	}
}

func yamlScalar(value any) string {
	switch value := value.(type) {
	case string:
		return yamlString(value)
	case json.Number:
		return yamlNumber(value.String())
	case bool:
		return strconv.FormatBool(value)
	}
	return "null"
}

// yamlNumber writes 1e5 as 1.0e+5: YAML 1.1 takes the former for a string.
func yamlNumber(number string) string {
	mantissa, exponent, found := strings.Cut(strings.ToLower(number), "e")
	if !found {
		return number
	}
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	if exponent[0] != '-' && exponent[0] != '+' {
		exponent = "+" + exponent
	}
	return mantissa + "e" + exponent
}

var yamlPlainKey = regexp.MustCompile(`^[a-z][a-z0-9_]{2,}$`)

// yamlKey leaves a key bare only if every reader takes it for a string.
func yamlKey(key string) string {
	reserved := []string{"true", "false", "null", "yes", "off"}
	if yamlPlainKey.MatchString(key) && !slices.Contains(reserved, key) {
		return key
	}
	return yamlString(key)
}

func yamlString(s string) string {
	var out strings.Builder
	out.Grow(len(s) + len(s)/16 + 16)
	out.WriteByte('"')
	begin := 0 // of what isn't written yet, and needs no escape
	for at, r := range s {
		if r == ' ' || r != '"' && r != '\\' && unicode.IsPrint(r) {
			continue
		}
		out.WriteString(s[begin:at])
		begin = at + utf8.RuneLen(r)
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '\n':
			out.WriteString(`\n`)
		case r <= 0xffff:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			fmt.Fprintf(&out, `\U%08x`, r)
		}
	}
	out.WriteString(s[begin:])
	out.WriteByte('"')
	return out.String()
}
