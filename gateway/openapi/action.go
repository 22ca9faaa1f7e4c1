package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"

	"attune/gateway/execution"
	"attune/gateway/pack"
)

// actionTag groups the actions of a pack.
func actionTag(action *pack.Action) string { return "pack " + string(action.Ref.Pack) }

// actionProblems are what a call can come to, beside what every operation has.
var actionProblems = []string{
	execution.CodeInvalidJSON, execution.CodeForbidden, execution.CodeInvalidParameters, execution.CodeLimitExceeded,
	execution.CodeActionFailed, execution.CodeBadOutput, execution.CodeOutOfMemory, execution.CodeInstanceLost,
	execution.CodeEnvironmentBuild, execution.CodeEnvironmentFailed, execution.CodeOverloaded, execution.CodeEngineUnavailable,
	execution.CodeTimedOut, execution.CodeEnvironmentStorage, "unauthenticated", "not-acceptable", "unsupported-media-type", "body-too-large", "rate-limited",
}

// ActionProblems are the codes of the problems that a call of an action has.
func ActionProblems() []string { return append([]string(nil), actionProblems...) }

// action adds the path of one action.
func (b *builder) action(action *pack.Action) error {
	name := action.Ref.String()
	parameters, err := b.component(name+".parameters", action.Parameters.JSON())
	if err != nil {
		return fmt.Errorf("parameters: %w", err)
	}
	media := execution.MediaType(action.OutputFormat)
	result := Object{"type": "string"}
	switch {
	case action.Output != nil && action.OutputFormat == pack.FormatJSON:
		if result, err = b.component(name+".output", action.Output.JSON()); err != nil {
			return fmt.Errorf("output: %w", err)
		}
	case action.OutputFormat == pack.FormatJSON:
		result = Object{}
	}
	body := Object{"schema": parameters}
	if examples := examplesOf(action); len(examples) > 0 {
		body["examples"] = examples
	}
	operation := b.operation(Operation{
		Method: "POST", Path: "/invoke/" + name, Tag: actionTag(action), Summary: action.Label, Detail: action.Description,
		Query: invokeQuery(action), Headers: []string{"Prefer"}, Problems: actionProblems, Answers: b.spec.Later,
	})
	operation["operationId"] = name
	operation["requestBody"] = Object{
		"content":  Object{"application/json": body},
		"required": needsBody(action.Parameters.JSON()),
	}
	content := Object{
		"text/event-stream":    Object{"schema": Object{"type": "string", "description": eventsDetail}},
		"application/x-ndjson": Object{"schema": Object{"type": "string", "description": eventsDetail}},
	}
	content[media] = Object{"schema": result} // of an action that prints JSON lines, instead of events in that form
	if action.Output != nil && action.OutputFormat == pack.FormatJSONL {
		// The lines together are an array for the schema; the answer is text.
		lines, err := b.component(name+".output", action.Output.JSON())
		if err != nil {
			return fmt.Errorf("output: %w", err)
		}
		operation["x-lines"] = lines
	}
	operation["responses"].(Object)["200"] = Object{
		"description": "The result.", "content": content,
		"headers": Object{
			"Attune-Request-Id":   ref("headers", "Attune-Request-Id"),
			"Attune-Execution-Id": ref("headers", "Attune-Execution-Id"),
			"Server-Timing":       ref("headers", "Server-Timing"),
		},
	}
	operation["x-action"] = Object{
		"ref": name, "timeout_seconds": action.Timeout.Seconds(), "output_format": string(action.OutputFormat), "media_type": media,
	}
	if len(action.Tags) > 0 {
		operation["x-tags"] = action.Tags
	}
	b.item("/invoke/" + name)["post"] = operation
	return b.routes(action)
}

const eventsDetail = "Events as they happen: environment, started, stdout, stderr, item, dropped, then result or problem."

// invokeQuery are the parameters of a call: only text can be streamed. Those of
// asynchronous calls alone are with the operation of any action.
func invokeQuery(action *pack.Action) []string {
	if action.OutputFormat == pack.FormatText || action.OutputFormat == pack.FormatJSONL {
		return []string{"timeout", "stream"}
	}
	return []string{"timeout"}
}

// needsBody tells whether {}, which is what no body means, lacks something.
func needsBody(schema json.RawMessage) bool {
	var root struct {
		Required []string `json:"required"`
	}
	return json.Unmarshal(schema, &root) == nil && len(root.Required) > 0
}

// examplesOf are the examples that are parameters.
func examplesOf(action *pack.Action) Object {
	examples := Object{}
	for i, example := range action.Examples {
		object, ok := example.(map[string]any)
		if !ok {
			continue
		}
		named := Object{"value": example}
		if inner, ok := object["parameters"].(map[string]any); ok {
			named["value"] = inner
			if title, ok := object["name"].(string); ok {
				named["summary"] = title
			}
		}
		examples[fmt.Sprintf("example%d", i+1)] = named
	}
	return examples
}

// component makes a schema a part of the document. References within it are to
// its own root, which now is a place in the document: they say so. Nothing else
// is changed.
func (b *builder) component(name string, schema json.RawMessage) (Object, error) {
	var document any
	decoder := json.NewDecoder(bytes.NewReader(schema))
	decoder.UseNumber() // a number stays as it was written
	if err := decoder.Decode(&document); err != nil {
		return nil, err
	}
	b.schemas[name] = rebase(document, "#/components/schemas/"+name)
	return ref("schemas", name), nil
}

// rebase rewrites the references of a schema that moved from a document's root
// to a place within another. A part with an $id has a root of its own.
func rebase(schema any, to string) any {
	object, ok := schema.(map[string]any)
	if !ok {
		return schema
	}
	if _, own := object["$id"]; own {
		return schema
	}
	if secret, marked := object["secret"].(bool); marked { // our own word
		delete(object, "secret")
		object["writeOnly"] = secret
	}
	for keyword, value := range object {
		switch keyword {
		case "$ref", "$dynamicRef":
			if text, ok := value.(string); ok && (text == "#" || len(text) > 1 && text[:2] == "#/") {
				object[keyword] = to + text[1:]
			}
		case "properties", "patternProperties", "$defs", "definitions", "dependentSchemas":
			if inner, ok := value.(map[string]any); ok {
				for _, below := range inner {
					rebase(below, to)
				}
			}
		case "items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else",
			"unevaluatedItems", "unevaluatedProperties", "contentSchema", "additionalItems":
			rebase(value, to)
			each(value, to)
		case "allOf", "anyOf", "oneOf", "prefixItems":
			each(value, to)
		}
	}
	return object
}

func each(value any, to string) {
	list, _ := value.([]any)
	for _, below := range list {
		rebase(below, to)
	}
}
