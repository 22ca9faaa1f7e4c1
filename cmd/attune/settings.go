package main

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-multierror"

	"attune/runtimes/strictyaml"
)

// Fault is one thing wrong with the configuration.
type Fault struct {
	Key    string // dotted; empty where the fault is not about one key
	Origin string // "attune.yaml:12", "ATTUNE__SERVER__PORT", "--port", "default"
	Reason string // what is wrong, and the cure
}

// Error implements error: "server.port (attune.yaml:4): …".
func (f Fault) Error() string {
	if f.Key == "" {
		return f.Origin + ": " + f.Reason
	}
	return f.Key + " (" + f.Origin + "): " + f.Reason
}

// formatFaults prints one fault per line.
func formatFaults(faults []error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "the configuration has %s:", plural(len(faults), "fault"))
	for _, fault := range faults {
		b.WriteString("\n  - " + fault.Error())
	}
	return b.String()
}

func collect(all *multierror.Error, faults []Fault) {
	for _, fault := range faults {
		all.Errors = append(all.Errors, fault)
	}
}

func faultyKeys(all *multierror.Error) map[string]bool {
	keys := map[string]bool{}
	for _, err := range all.Errors {
		if fault, ok := err.(Fault); ok {
			keys[fault.Key] = true
		}
	}
	return keys
}

// setting is one key of the configuration and the place of its value.
type setting struct {
	Key    string // "server.port"
	Value  reflect.Value
	Secret string // "url": its password is never shown; "all": nothing of it
}

// Variable is the name of the setting as a process variable.
func (s setting) Variable() string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(s.Key, ".", "__"))
}

const variablePrefix = "ATTUNE__"

// settingsOf lists the keys of the configuration in the order of the struct:
// the one description that the file, the variables and "config show" follow.
func settingsOf(config *Config) []setting {
	return appendSettings(nil, "", reflect.ValueOf(config).Elem())
}

func appendSettings(all []setting, prefix string, section reflect.Value) []setting {
	for i := range section.NumField() {
		field := section.Type().Field(i)
		name := field.Tag.Get("yaml")
		switch {
		case name == "":
			continue
		case field.Type.Kind() == reflect.Struct:
			all = appendSettings(all, prefix+name+".", section.Field(i))
		default:
			all = append(all, setting{Key: prefix + name, Value: section.Field(i), Secret: field.Tag.Get("secret")})
		}
	}
	return all
}

// find returns the setting of a dotted key.
func find(settings []setting, key string) (setting, bool) {
	i := slices.IndexFunc(settings, func(s setting) bool { return s.Key == key })
	if i < 0 {
		return setting{}, false
	}
	return settings[i], true
}

// setText sets a value from its text, as variables and flags bring it.
func (s setting) setText(text string) error {
	switch s.Value.Interface().(type) {
	case []string:
		s.Value.Set(reflect.ValueOf(splitList(text)))
	case map[string]string:
		pairs, err := splitPairs(text)
		if err != nil {
			return err
		}
		s.Value.Set(reflect.ValueOf(pairs))
	default:
		return s.setScalar(text)
	}
	return nil
}

// setScalar sets a value that is neither list nor map.
func (s setting) setScalar(text string) error {
	var value any
	var err error
	switch s.Value.Interface().(type) {
	case string:
		value = text
	case bool:
		value, err = parseSwitch(text)
	case Bytes:
		value, err = ParseBytes(text)
	case Duration:
		value, err = ParseDuration(text)
	case int:
		value, err = parseWhole(text, strconv.IntSize)
	case int64:
		value, err = parseWhole(text, 64)
	case float64:
		value, err = parseNumber(text)
	}
	if err != nil {
		return err
	}
	s.Value.Set(reflect.ValueOf(value).Convert(s.Value.Type()))
	return nil
}

func parseSwitch(text string) (bool, error) {
	if text != "true" && text != "false" {
		return false, fmt.Errorf("%q is neither true nor false", text)
	}
	return text == "true", nil
}

func parseWhole(text string, bits int) (int64, error) {
	n, err := strconv.ParseInt(text, 10, bits)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number: write digits only, like 64", text)
	}
	return n, nil
}

func parseNumber(text string) (float64, error) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n-n != 0 { // n-n is not 0 for NaN and the infinities
		return 0, fmt.Errorf("%q is not a number: write it like 0.5 or 2", text)
	}
	return n, nil
}

// splitList reads "a, b"; an empty text is an empty list.
func splitList(text string) []string {
	items := []string{}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// splitPairs reads "KEY=VALUE, KEY=VALUE". A value can't hold a comma: that
// takes the file.
func splitPairs(text string) (map[string]string, error) {
	pairs := map[string]string{}
	for i, item := range splitList(text) {
		name, value, ok := strings.Cut(item, "=")
		if !ok || name == "" { // the item itself may be half of a secret: not echoed
			return nil, fmt.Errorf("pair %d has no name or no =: write KEY=VALUE,KEY=VALUE; values that hold a comma take the file", i+1)
		}
		if _, twice := pairs[name]; twice {
			return nil, fmt.Errorf("%s is given twice: keep one", name)
		}
		pairs[name] = value
	}
	return pairs, nil
}

// applyEnviron sets what ATTUNE__ variables override.
func applyEnviron(settings []setting, origins map[string]string, environ []string) []Fault {
	var faults []Fault
	names := map[string]setting{}
	for _, s := range settings {
		names[s.Variable()] = s
	}
	for _, entry := range environ {
		name, text, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, variablePrefix) {
			continue
		}
		s, known := names[name]
		if !known {
			key := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, variablePrefix)), "__", ".")
			faults = append(faults, Fault{Origin: name, Reason: unknownKey(settings, key)})
			continue
		}
		origins[s.Key] = name
		if err := s.setText(text); err != nil {
			faults = append(faults, Fault{Key: s.Key, Origin: name, Reason: err.Error()})
		}
	}
	return faults
}

// flagValue is a setting that a command's flag overrides.
type flagValue struct{ Flag, Key, Text string }

func applyFlags(settings []setting, origins map[string]string, flags []flagValue) []Fault {
	var faults []Fault
	for _, flag := range flags {
		s, _ := find(settings, flag.Key)
		origins[s.Key] = flag.Flag
		if err := s.setText(flag.Text); err != nil {
			faults = append(faults, Fault{Key: s.Key, Origin: flag.Flag, Reason: err.Error()})
		}
	}
	return faults
}

// unknownKey says what is wrong with a key that is no setting, and the cure:
// what its section has.
func unknownKey(settings []setting, key string) string {
	section, name, nested := strings.Cut(key, ".")
	var siblings, top []string
	for _, s := range settings {
		first, rest, _ := strings.Cut(s.Key, ".")
		if nested && first == section && rest != "" {
			siblings = append(siblings, rest)
		}
		if !slices.Contains(top, first) {
			top = append(top, first)
		}
	}
	if siblings != nil {
		return fmt.Sprintf("%s has no key %q: %s", section, name, strictyaml.Suggest(name, siblings))
	}
	return fmt.Sprintf("there is no setting %q: %s", key, strictyaml.Suggest(section, top))
}

// plural writes "1 fault", "2 faults".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
