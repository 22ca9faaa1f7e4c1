package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"unicode/utf8"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"attune/gateway/execution"
	"attune/gateway/pack"
)

// MetaExecution is where a result says which execution it is of.
const MetaExecution = "attune/execution"

// call runs the action of a tool. What the action does not do is a result that
// the model sees; only a tool that isn't there is an error of the protocol.
func call(ctx context.Context, r *sdk.CallToolRequest, caller Caller) (*sdk.CallToolResult, error) {
	action, ok := caller.Action(r.Params.Name)
	if !ok {
		return nil, errNoTool
	}
	arguments := r.Params.Arguments
	if string(bytes.TrimSpace(arguments)) == "null" {
		arguments = nil
	}
	outcome, failure := caller.Call(ctx, action, arguments, progress(ctx, r))
	if failure != nil {
		return failed(action, failure)
	}
	return succeeded(outcome), nil
}

// progress numbers what a caller is told, for a client that asks for it.
func progress(ctx context.Context, r *sdk.CallToolRequest) func(string) {
	token := r.Params.GetProgressToken()
	if token == nil {
		return nil
	}
	count := 0.0
	return func(message string) {
		count++
		// Whether the client still listens is known by its context.
		_ = r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: token, Progress: count, Message: message})
	}
}

func succeeded(outcome *execution.Outcome) *sdk.CallToolResult {
	id := outcome.Execution.ID
	result := &sdk.CallToolResult{Meta: sdk.Meta{MetaExecution: id}}
	if !utf8.Valid(outcome.Output) {
		result.Content = []sdk.Content{&sdk.EmbeddedResource{Resource: &sdk.ResourceContents{
			URI: "attune://executions/" + id + "/result", MIMEType: "application/octet-stream", Blob: outcome.Output,
		}}}
		return result
	}
	result.Content = []sdk.Content{&sdk.TextContent{Text: string(outcome.Output)}}
	// Before 2026-07-28 structured content is an object, and nothing else.
	if outcome.MediaType == "application/json" && bytes.HasPrefix(outcome.Output, []byte("{")) && json.Valid(outcome.Output) {
		result.StructuredContent = json.RawMessage(outcome.Output)
	}
	return result
}

// failed tells the model in words, and its program in a problem. As structured
// content it would have to fit the tool's output schema.
func failed(action *pack.Action, failure *Failure) (*sdk.CallToolResult, error) {
	problem, err := json.Marshal(failure.Problem)
	if err != nil {
		return nil, errInternal
	}
	result := &sdk.CallToolResult{
		IsError: true,
		Content: []sdk.Content{&sdk.TextContent{Text: failure.Text}, &sdk.TextContent{Text: string(problem)}},
	}
	if _, announced := outputSchema(action); !announced {
		result.StructuredContent = json.RawMessage(problem)
	}
	return result, nil
}
