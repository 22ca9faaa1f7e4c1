package pack

import (
	"encoding/json"
	"errors"
	"maps"
	"mime"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"attune/runtimes/strictyaml"
)

// Mapping takes one parameter out of a webhook's request.
type Mapping struct {
	Parameter string
	Pointer   string   // RFC 6901, into {body, headers, query}
	path      []string // its steps
	text      []string // the types to read of a text, which headers and queries hold
}

// mapping checks a hook's parameters against those of its action; nil without
// any.
func mapping(doc *strictyaml.Document, parameters map[string]string, action *Action) []Mapping {
	if !doc.Has("parameters") {
		return nil
	}
	all := []Mapping{}
	properties, closed := action.Parameters.properties()
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		where := at("parameters", name)
		property, known := properties[name]
		if !known && closed {
			doc.Faultf(where, "parameters: %s has no parameter %s: %s", action.Ref, quote(name), strictyaml.Suggest(name, slices.Sorted(maps.Keys(properties))))
		}
		m := Mapping{Parameter: name, Pointer: parameters[name], path: splitPointer(parameters[name])}
		if problem := checkPointer(m.path); problem != "" {
			doc.Faultf(where, "parameters.%s %s %s", name, quote(m.Pointer), problem)
			continue
		}
		if property != nil && m.path[0] != inBody {
			m.text = scalarTypes(property)
		}
		all = append(all, m)
	}
	for _, name := range action.Parameters.must() {
		if parameters[name] == "" {
			doc.Faultf(at("parameters"), "parameters: %s requires %s, and no pointer says where it is", action.Ref, name)
		}
	}
	return all
}

// Members of what pointers lead into.
const (
	inBody    = "body"
	inHeaders = "headers"
	inQuery   = "query"
)

// splitPointer is the steps of a JSON Pointer; nil if it is none.
func splitPointer(pointer string) []string {
	if !strings.HasPrefix(pointer, "/") {
		return nil
	}
	steps := strings.Split(pointer[1:], "/")
	for i, step := range steps {
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(step), "~") {
			return nil
		}
		steps[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
	}
	return steps
}

func checkPointer(path []string) string {
	switch {
	case path == nil:
		return "is no JSON Pointer, such as /body/data/object"
	case path[0] == inBody:
		return ""
	case path[0] != inHeaders && path[0] != inQuery:
		return "must begin with /body, /headers or /query"
	case len(path) != 2 || path[1] == "":
		return "must name one value of " + path[0] + ", such as /" + path[0] + "/x-topic"
	case path[0] == inHeaders && path[1] != strings.ToLower(path[1]):
		return "must have the header's name in lower case"
	}
	return ""
}

// properties are those of a schema, and whether there may be no others.
func (s *Schema) properties() (map[string]*jsonschema.Schema, bool) {
	if s == nil || s.compiled == nil {
		return nil, false
	}
	return s.compiled.Properties, s.compiled.AdditionalProperties == false
}

// must are the properties that somebody has to give: required, without a
// default, and no secrets, which may be stored.
func (s *Schema) must() []string {
	if s == nil || s.compiled == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.compiled.Required), func(name string) bool {
		property := s.compiled.Properties[name]
		return slices.Contains(s.secrets, name) || property != nil && resolve(property).Default != nil
	})
}

// scalarTypes are what a text may be read as; nil where it is to stay a text.
func scalarTypes(property *jsonschema.Schema) []string {
	types := resolve(property).Types
	if types == nil || slices.Contains(types.ToStrings(), "string") {
		return nil
	}
	return types.ToStrings()
}

// Payload is a webhook's request, proven already.
type Payload struct {
	Headers map[string]string // by lower-case name
	Query   url.Values
	Media   string // Content-Type as it was sent
	Body    []byte
}

// Errors of payloads beside ErrInvalidJSON.
var (
	// ErrMedia says that a body is of a type that nobody can map.
	ErrMedia = errors.New("body is neither JSON, form nor text")
	// ErrUnreadable says that a body isn't what its type says.
	ErrUnreadable = errors.New("body can't be read as its media type says")
)

// Parameters makes an action's parameters of a request: of its parts, as the
// hook maps them, or of the body as it is. What isn't there is left out.
// ErrInvalidJSON, ErrMedia, ErrUnreadable.
func (h *Hook) Parameters(p Payload) (json.RawMessage, error) {
	body, err := p.document()
	if err != nil {
		return nil, err
	}
	if h.Mapping == nil {
		return compact(body)
	}
	parameters := map[string]any{}
	for _, m := range h.Mapping {
		if value, found := m.find(p, body); found {
			parameters[m.Parameter] = value
		}
	}
	return compact(parameters)
}

// TakesSecrets tells whether requests may hold values of the action's secret
// parameters.
func (h *Hook) TakesSecrets(action *Action) bool {
	secrets := action.Parameters.Secrets()
	if h.Mapping == nil {
		return len(secrets) > 0
	}
	return slices.ContainsFunc(h.Mapping, func(m Mapping) bool { return slices.Contains(secrets, m.Parameter) })
}

func (m Mapping) find(p Payload, body any) (any, bool) {
	switch m.path[0] {
	case inHeaders:
		value, found := p.Headers[m.path[1]]
		return m.read(value), found
	case inQuery:
		values, found := p.Query[m.path[1]]
		if found && len(values) == 1 {
			return m.read(values[0]), true
		}
		return several(values), found
	}
	return follow(body, m.path[1:])
}

// read makes a number or a boolean of a text, where the parameter is one and the
// text is written as JSON has it; its schema judges everything else.
func (m Mapping) read(text string) any {
	if m.text == nil {
		return text
	}
	value, err := parseDocument([]byte(text))
	_, number := value.(json.Number)
	_, boolean := value.(bool)
	switch {
	case err != nil || strings.TrimSpace(text) != text:
	case number && (slices.Contains(m.text, "number") || slices.Contains(m.text, "integer")):
		return value
	case boolean && slices.Contains(m.text, "boolean"):
		return value
	}
	return text
}

// follow walks a JSON Pointer.
func follow(value any, path []string) (any, bool) {
	for _, step := range path {
		switch at := value.(type) {
		case map[string]any:
			below, found := at[step]
			if !found {
				return nil, false
			}
			value = below
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(at) || strconv.Itoa(i) != step {
				return nil, false
			}
			value = at[i]
		default:
			return nil, false
		}
	}
	return value, true
}

func several(values []string) []any {
	list := make([]any, len(values))
	for i, value := range values {
		list[i] = value
	}
	return list
}

// document reads the body. No media type means JSON; no body means null.
func (p Payload) document() (any, error) {
	media, params := "application/json", map[string]string(nil)
	if p.Media != "" {
		var err error
		if media, params, err = mime.ParseMediaType(p.Media); err != nil {
			return nil, ErrMedia
		}
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "us-ascii") {
		return nil, ErrMedia
	}
	switch {
	case len(p.Body) == 0:
		return nil, nil
	case media == "application/json" || strings.HasSuffix(media, "+json"):
		return parseDocument(p.Body)
	case media == "application/x-www-form-urlencoded":
		return form(p.Body)
	case !strings.HasPrefix(media, "text/"):
		return nil, ErrMedia
	case !utf8.Valid(p.Body):
		return nil, ErrUnreadable
	}
	return string(p.Body), nil
}

// form reads a form: an object of texts, of lists where a name is repeated. One
// whose only field is payload, with JSON, is that JSON: so GitHub and Slack wrap
// it.
func form(body []byte) (any, error) {
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, ErrUnreadable // the error itself quotes the body
	}
	object := make(map[string]any, len(values))
	for name, texts := range values {
		if !utf8.ValidString(name) || slices.ContainsFunc(texts, func(text string) bool { return !utf8.ValidString(text) }) {
			return nil, ErrUnreadable
		}
		object[name] = several(texts)
		if len(texts) == 1 {
			object[name] = texts[0]
		}
	}
	if payload, ok := object["payload"].(string); ok && len(object) == 1 {
		if document, err := parseDocument([]byte(payload)); err == nil {
			return document, nil
		}
	}
	return object, nil
}
