package openapi

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"attune/gateway/execution"
	"attune/gateway/pack"
)

// routeParameter is a parameter in the path of an action's own route.
var routeParameter = regexp.MustCompile(`:([A-Za-z_][A-Za-z0-9_]*)`)

// routes adds the operations of an action's own routes.
func (b *builder) routes(action *pack.Action) error {
	var schema struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(action.Parameters.JSON(), &schema); err != nil {
		return err
	}
	for _, route := range action.HTTP {
		path := "/p/" + string(action.Ref.Pack) + route.Path
		operation := b.operation(Operation{
			Method: route.Method, Path: path, Tag: actionTag(action), Summary: action.Label, Detail: action.Description, Problems: actionProblems,
		})
		operation["parameters"] = routeParameters(action, route, slices.Sorted(maps.Keys(schema.Properties)))
		if body := routeBody(action, route); body != nil {
			operation["requestBody"] = body
		}
		operation["responses"].(Object)["200"] = routeAnswer(action, route)
		b.item(routeParameter.ReplaceAllString(path, "{$1}"))[strings.ToLower(route.Method)] = operation
	}
	return nil
}

// property is the schema of one of an action's parameters.
func property(action *pack.Action, name string) Object {
	escaped := strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
	return Object{"$ref": "#/components/schemas/" + action.Ref.String() + ".parameters/properties/" + escaped}
}

// routeParameters are those of path, headers and query: what a JSON body may have
// as well is required of neither.
func routeParameters(action *pack.Action, route pack.Route, properties []string) []any {
	list := []any{} // in place of what the path by itself would mean
	taken := map[string]bool{route.Into: true}
	add := func(in, name, parameter string, required bool) {
		taken[parameter] = true
		schema := Object{"type": "string"}
		if slices.Contains(properties, parameter) {
			schema = property(action, parameter)
		}
		list = append(list, Object{"name": name, "in": in, "schema": schema, "required": required})
	}
	for _, match := range routeParameter.FindAllStringSubmatch(route.Path, -1) {
		add("path", match[1], match[1], true)
	}
	for _, name := range slices.Sorted(maps.Keys(route.Headers)) {
		add("header", route.Headers[name], name, false)
	}
	for _, name := range properties {
		if !taken[name] {
			add("query", name, name, false)
		}
	}
	return list
}

func routeBody(action *pack.Action, route pack.Route) Object {
	content := Object{}
	switch route.Body {
	case pack.BodyText:
		content["text/plain"] = Object{"schema": Object{"type": "string"}}
	case pack.BodyBase64:
		content["*/*"] = Object{"schema": Object{}}
	case pack.BodyJSON:
		schema := Object{"type": "object", "description": "Parameters that come neither by path nor by query nor by header."}
		if route.Into != "" {
			schema = property(action, route.Into)
		}
		content["application/json"] = Object{"schema": schema}
	default:
		return nil
	}
	return Object{"content": content}
}

func routeAnswer(action *pack.Action, route pack.Route) Object {
	answer := Object{
		"description": "The result.", "content": Object{execution.MediaType(action.OutputFormat): Object{"schema": Object{}}},
		"headers": Object{
			"Attune-Request-Id":   ref("headers", "Attune-Request-Id"),
			"Attune-Execution-Id": ref("headers", "Attune-Execution-Id"),
			"Server-Timing":       ref("headers", "Server-Timing"),
		},
	}
	if route.Envelope {
		answer["description"] = "What the action makes of it: status, headers and body are its own."
		answer["content"] = Object{"*/*": Object{"schema": Object{}}}
	}
	return answer
}
