package openapi

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// headers are those of answers.
var headers = Object{
	"Attune-Request-Id":   header("The request's ID, also in the gateway's log and in a problem's instance.", Object{"type": "string"}),
	"Attune-Execution-Id": header("The execution that this is the answer of.", Object{"type": "string"}),
	"Server-Timing":       header("Where the time went: auth, validate, queue, environment, start, run.", Object{"type": "string"}),
	"Preference-Applied":  header("What of Prefer was followed.", Object{"type": "string"}),
	"Location":            header("Where to look from now on.", Object{"type": "string"}),
	"ETag":                header("Changes with the document.", Object{"type": "string"}),
	"Retry-After":         header("Seconds, after which the same request may succeed.", Object{"type": "integer", "minimum": 1}),
	"Link":                header("The state of the environment that the call lacks.", Object{"type": "string"}),
}

func header(detail string, schema Object) Object {
	return Object{"description": detail, "schema": schema}
}

func ref(kind, name string) Object { return Object{"$ref": "#/components/" + kind + "/" + name} }

func (b *builder) operation(op Operation) Object {
	object := Object{
		"tags": []any{op.Tag}, "summary": op.Summary,
		"operationId": operationID(op.Method, op.Path),
		"responses":   b.answers(op.Answers, op.Problems),
	}
	if op.Detail != "" {
		object["description"] = op.Detail
	}
	if parameters := b.parameters(op); len(parameters) > 0 {
		object["parameters"] = parameters
	}
	if op.Body != nil {
		schema := b.of(op.Body)
		object["requestBody"] = Object{
			"content":  Object{"application/json": Object{"schema": schema}},
			"required": b.required(op.Body),
		}
	}
	if op.Open {
		object["security"] = []any{Object{}}
	}
	return object
}

// operationID makes "getApiV1Packs" of "GET /api/v1/packs".
func operationID(method, path string) string {
	var id strings.Builder
	id.WriteString(strings.ToLower(method))
	for _, word := range strings.FieldsFunc(path, func(r rune) bool { return strings.ContainsRune("/:_.-", r) }) {
		id.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return id.String()
}

func (b *builder) parameters(op Operation) []any {
	var list []any
	add := func(in, name string, required bool) {
		p, known := b.spec.Parameters[in+":"+op.Path+":"+name]
		if !known {
			p = b.spec.Parameters[in+":"+name]
		}
		parameter := Object{"name": name, "in": in, "description": p.Detail, "schema": p.Schema}
		if required {
			parameter["required"] = true
		}
		if p.Example != nil {
			parameter["example"] = p.Example
		}
		list = append(list, parameter)
	}
	for _, match := range pathParameter.FindAllStringSubmatch(op.Path, -1) {
		add("path", match[1], true)
	}
	for _, name := range op.Query {
		add("query", name, false)
	}
	for _, name := range op.Headers {
		add("header", name, false)
	}
	return list
}

// common are the problems of every operation, by status. The rest of what HTTP
// itself can refuse is the default response.
var common = []string{"invalid-request", "not-found", "draining"}

func (b *builder) answers(answers []Answer, codes []string) Object {
	responses := Object{"default": ref("responses", "Problem")}
	for _, answer := range answers {
		responses[strconv.Itoa(answer.Status)] = b.answer(answer)
	}
	codes = append(slices.Clone(codes), common...)
	for _, p := range b.spec.Problems {
		if slices.Contains(codes, p.Code) {
			responses[strconv.Itoa(p.Status)] = ref("responses", "Problem"+strconv.Itoa(p.Status))
		}
	}
	return responses
}

func (b *builder) answer(answer Answer) Object {
	detail := answer.Detail
	if detail == "" {
		detail = http.StatusText(answer.Status)
	}
	object := Object{"description": detail}
	named := Object{"Attune-Request-Id": ref("headers", "Attune-Request-Id")}
	for _, name := range answer.Headers {
		named[name] = ref("headers", name)
	}
	object["headers"] = named
	if len(answer.Media) == 0 {
		return object
	}
	content := Object{}
	for i, media := range answer.Media {
		schema := Object{"type": "string"}
		if i == 0 && answer.Body != nil {
			schema = b.of(answer.Body)
		}
		content[media] = Object{"schema": schema}
	}
	object["content"] = content
	return object
}

// responses are the problems of each status, and that of any.
func (b *builder) responses(problem Object) Object {
	content := func() Object {
		return Object{"application/problem+json": Object{"schema": problem}}
	}
	always := Object{"Attune-Request-Id": ref("headers", "Attune-Request-Id")}
	responses := Object{"Problem": Object{
		"description": "Any other problem.", "headers": always, "content": content(),
	}}
	for _, p := range b.spec.Problems {
		name := "Problem" + strconv.Itoa(p.Status)
		line := fmt.Sprintf("- `%s`: %s", p.Code, p.Title)
		if response, there := responses[name].(Object); there {
			response["description"] = response["description"].(string) + "\n" + line
			continue
		}
		named := Object{"Attune-Request-Id": ref("headers", "Attune-Request-Id")}
		if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests || p.Status == http.StatusInsufficientStorage {
			named["Retry-After"] = ref("headers", "Retry-After")
		}
		if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusInsufficientStorage {
			named["Link"] = ref("headers", "Link")
		}
		responses[name] = Object{"description": line, "headers": named, "content": content()}
	}
	return responses
}
