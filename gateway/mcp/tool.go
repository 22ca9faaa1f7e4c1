package mcp

import (
	"cmp"
	"encoding/json"
	"slices"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"attune/gateway/pack"
	"attune/runtimes"
)

// Tags of an action that tell a client more about its tool.
const (
	TagReadOnly   = "read-only"  // it changes nothing
	TagIdempotent = "idempotent" // the same call again changes nothing more
)

// Tool is an action as clients see it. Its name is the action's ref, which has
// only what the protocol allows in a name: letters, digits and _ - . up to 128.
func Tool(action *pack.Action) *sdk.Tool {
	open := action.Network != runtimes.NetworkNone
	tool := &sdk.Tool{
		Name:        action.Ref.String(),
		Title:       action.Label,
		Description: cmp.Or(action.Description, action.Label),
		InputSchema: objectSchema(action.Parameters.JSON()),
		Annotations: &sdk.ToolAnnotations{
			Title:          action.Label,
			OpenWorldHint:  &open,
			ReadOnlyHint:   slices.Contains(action.Tags, TagReadOnly),
			IdempotentHint: slices.Contains(action.Tags, TagIdempotent),
		},
	}
	if schema, ok := outputSchema(action); ok {
		tool.OutputSchema = schema
	}
	return tool
}

// rootType is the type that a schema gives its document; empty = several, or none.
func rootType(schema json.RawMessage) string {
	var root struct {
		Type any `json:"type"`
	}
	if json.Unmarshal(schema, &root) != nil {
		return ""
	}
	name, _ := root.Type.(string)
	return name
}

// objectSchema is the schema as it is, with the type that the protocol wants to
// see: parameters are an object, whether or not their schema says so.
func objectSchema(schema json.RawMessage) json.RawMessage {
	if rootType(schema) == "object" {
		return schema
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(schema, &members) != nil {
		return json.RawMessage(`{"type":"object"}`) // a schema that is true or false
	}
	members["type"] = json.RawMessage(`"object"`)
	encoded, err := json.Marshal(members)
	if err != nil { // what was decoded can be encoded
		return schema
	}
	return encoded
}

// outputSchema is that of an action whose result is always an object: the
// protocol wants structured content from a tool that announces one.
func outputSchema(action *pack.Action) (json.RawMessage, bool) {
	if action.Output == nil || action.OutputFormat != pack.FormatJSON {
		return nil, false
	}
	schema := action.Output.JSON()
	return schema, rootType(schema) == "object"
}
