package pack

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// ValidSecretName tells whether a secret may have this name: that of a
// parameter, which is a letter or _, and up to 63 letters, digits and _ . -
func ValidSecretName(name string) bool { return propertyGrammar.MatchString(name) }

// Secrets are the names of the parameters that are secrets, sorted.
func (s *Schema) Secrets() []string {
	if s == nil {
		return nil
	}
	return s.secrets
}

// SecretValues takes the values of the secrets out of parameters as Apply gives
// them: text as it is, anything else as JSON. Those without a value are left out.
func (s *Schema) SecretValues(parameters []byte) (map[string]string, error) {
	if len(s.Secrets()) == 0 {
		return nil, nil
	}
	value, err := parseDocument(parameters)
	if err != nil {
		return nil, err
	}
	object, _ := value.(map[string]any) // Apply gives nothing else
	values := map[string]string{}
	for _, name := range s.secrets {
		value, there := object[name]
		if !there || value == nil {
			continue
		}
		if values[name], err = plain(value); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// SecretTexts are the parts of secret values that must not be printed: their
// strings and numbers, however deep, and the JSON of those that hold several.
func (s *Schema) SecretTexts(parameters []byte) ([]string, error) {
	if len(s.Secrets()) == 0 {
		return nil, nil
	}
	value, err := parseDocument(parameters)
	if err != nil {
		return nil, err
	}
	object, _ := value.(map[string]any)
	var texts []string
	var walk func(value any) error
	walk = func(value any) error {
		switch value := value.(type) {
		case nil, bool:
			return nil
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(value)) {
				if err := walk(value[key]); err != nil {
					return err
				}
			}
		case []any:
			for _, item := range value {
				if err := walk(item); err != nil {
					return err
				}
			}
		}
		text, err := plain(value)
		texts = append(texts, text)
		return err
	}
	for _, name := range s.secrets {
		if err := walk(object[name]); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// misplacedSecrets are those that stand where nobody would heed them.
func misplacedSecrets(value any, use purpose, flat bool, path []string) []schemaFault {
	var faults []schemaFault
	switch value := value.(type) {
	case []any:
		for i, below := range value {
			faults = append(faults, misplacedSecrets(below, use, flat, append(path, fmt.Sprint(i)))...)
		}
	case map[string]any:
		if value["secret"] == true && !isData(path) {
			top := flat && len(path) == 1 || !flat && len(path) == 2 && path[0] == "properties"
			where := append(slices.Clone(path), "secret")
			switch {
			case use == forOutput || use == forLines:
				faults = append(faults, schemaFault{where, "secret: true is for parameters: in what an action prints, their values are masked anyway"})
			case !top:
				faults = append(faults, schemaFault{where, "secret: true is for a whole parameter, not for a part of one"})
			}
		}
		for _, key := range slices.Sorted(maps.Keys(value)) {
			faults = append(faults, misplacedSecrets(value[key], use, flat, append(path, key))...)
		}
	}
	return faults
}

// markSecrets names the properties of a JSON Schema that are secrets, and says
// it in JSON Schema's own word as well: they are write-only.
func markSecrets(document map[string]any, flat bool) (names []string, faults []schemaFault) {
	properties, _ := document["properties"].(map[string]any)
	marked := maps.Clone(properties)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		property, _ := properties[name].(map[string]any)
		if property["secret"] != true {
			continue
		}
		if !ValidSecretName(name) { // in the flat form it was found before
			faults = append(faults, schemaFault{[]string{"properties", name},
				"the name of a secret must begin with a letter or _, and hold up to 64 letters, digits and _ . -"})
		}
		if where := exposed(property, nil); where != nil {
			at := written(append([]string{"properties", name}, where...), flat)
			faults = append(faults, schemaFault{at, strings.Join(at, ".") + " would show a secret to everybody who may see the pack: leave it out"})
		}
		property = maps.Clone(property)
		property["writeOnly"] = true
		marked[name] = property
		names = append(names, name)
	}
	if names != nil {
		document["properties"] = marked
	}
	return names, faults
}

// exposed finds a value in the schema of a secret; nil = there is none.
func exposed(schema any, path []string) []string {
	switch schema := schema.(type) {
	case []any:
		for i, below := range schema {
			if found := exposed(below, append(path, fmt.Sprint(i))); found != nil {
				return found
			}
		}
	case map[string]any:
		names := len(path) > 0 && slices.Contains([]string{"properties", "patternProperties", "dependentSchemas", "$defs"}, path[len(path)-1])
		for _, key := range slices.Sorted(maps.Keys(schema)) {
			below := append(slices.Clone(path), key)
			if !names && slices.Contains([]string{"default", "const", "enum", "examples"}, key) {
				return below
			}
			if found := exposed(schema[key], below); found != nil {
				return found
			}
		}
	}
	return nil
}

// shownSecrets finds the values that a secret has by a reference.
func (s *Schema) shownSecrets(flat bool) []schemaFault {
	var faults []schemaFault
	for _, name := range s.secrets {
		property := s.compiled.Properties[name]
		for range maxNesting {
			if property == nil || property.Ref == nil {
				break
			}
			property = property.Ref
			if property.Default != nil || property.Const != nil || property.Enum != nil {
				at := written([]string{"properties", name}, flat)
				faults = append(faults, schemaFault{at, strings.Join(at, ".") + " refers to a default, const or enum, which would show a secret to everybody who may see the pack"})
				break
			}
		}
	}
	return faults
}

// addSecrets puts stored values into a caller's parameters. The problems are
// names that the caller has used, too, and stored texts that can't be what the
// parameter wants.
func (s *Schema) addSecrets(object map[string]any, stored map[string]string) []Problem {
	var found []Problem
	for _, name := range s.secrets {
		text, there := stored[name]
		if !there {
			continue
		}
		where := pointer([]string{name})
		if _, twice := object[name]; twice {
			found = append(found, Problem{where, "is a stored secret of the pack, which a caller can't give: leave it out"})
			continue
		}
		value, err := fromText(text, s.compiled.Properties[name])
		if err != nil {
			found = append(found, Problem{where, "is a stored secret of the pack, which is not the JSON that its type needs"})
			continue
		}
		object[name] = value
	}
	return found
}

// fromText is a stored text as a parameter: a string, unless the parameter can't
// be one.
func fromText(text string, property *jsonschema.Schema) (any, error) {
	types := resolve(property).Types
	if types == nil || types.IsEmpty() || slices.Contains(types.ToStrings(), "string") {
		return text, nil
	}
	return parseDocument([]byte(text))
}

// discreet keeps problems from telling what is in a secret, or which values it
// may have: keys of it are left out of pointers.
func (s *Schema) discreet(found []Problem) []Problem {
	for i, problem := range found {
		for _, name := range s.secrets {
			where := pointer([]string{name})
			below := strings.HasPrefix(problem.Pointer, where+"/")
			harmless := problem.Detail == missing || strings.HasPrefix(problem.Detail, "must be of type ")
			if !below && (problem.Pointer != where || harmless) {
				continue
			}
			found[i] = Problem{where, "is a secret that doesn't fit its schema"}
		}
	}
	return slices.Compact(found)
}

// withoutMissingSecrets leaves out that secrets are required: an example can't
// give them.
func (s *Schema) withoutMissingSecrets(found []Problem) []Problem {
	return slices.DeleteFunc(found, func(p Problem) bool {
		return p.Detail == missing && slices.ContainsFunc(s.Secrets(), func(name string) bool { return p.Pointer == pointer([]string{name}) })
	})
}
