package tests

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"attune/tests/kit"
)

// TestMCPClientUsesAPack: a client that knows nothing but the URL lists a pack's
// scripts and calls them; it hears what a script says while that runs, and a
// script whose client leaves is killed.
func TestMCPClientUsesAPack(t *testing.T) {
	h := newHome(t)
	h.pack(t, "talk", map[string]string{
		"actions/greet.yaml": "ref: talk.greet\nentry_point: greet.sh\ndescription: Greets somebody\noutput_format: json\nparameters: {name: {type: string, required: true}}\n",
		"actions/greet.sh":   "read -r line; echo \"{\\\"got\\\": $line}\"\n",
		"actions/long.yaml":  "ref: talk.long\nentry_point: long.sh\ntimeout: 100\n",
		"actions/long.sh":    "echo half way >&2; sleep 90\n",
		"actions/fail.yaml":  "ref: talk.fail\nentry_point: fail.sh\n",
		"actions/fail.sh":    "echo no such customer >&2; exit 3\n",
	})
	g := h.start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	heard := make(chan string, 8)
	client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, &sdk.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) { heard <- r.Params.Message },
	})
	session, err := client.Connect(ctx, &sdk.StreamableClientTransport{Endpoint: g.url + "/mcp"}, nil)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer session.Close()
	listed, err := session.ListTools(ctx, nil)
	if err != nil || len(listed.Tools) != 3 || listed.Tools[1].Name != "talk.greet" || listed.Tools[1].Description != "Greets somebody" {
		t.Fatalf("tools = %+v, %v", listed, err)
	}

	result, err := session.CallTool(ctx, &sdk.CallToolParams{Name: "talk.greet", Arguments: map[string]any{"name": "Ada"}})
	if err != nil || result.IsError {
		t.Fatalf("talk.greet = %+v, %v", result, err)
	}
	if got, _ := json.Marshal(result.StructuredContent); string(got) != `{"got":{"name":"Ada"}}` {
		t.Errorf("talk.greet = %s", got)
	}
	result, err = session.CallTool(ctx, &sdk.CallToolParams{Name: "talk.fail"})
	if err != nil || !result.IsError {
		t.Fatalf("talk.fail = %+v, %v, want a result that is an error", result, err)
	}
	if got, _ := json.Marshal(result.StructuredContent); !strings.Contains(string(got), `"/problems/action-failed"`) || !strings.Contains(string(got), "no such customer") {
		t.Errorf("talk.fail = %s", got)
	}

	calling, leave := context.WithCancel(ctx)
	params := &sdk.CallToolParams{Name: "talk.long"}
	params.SetProgressToken("long")
	left := make(chan error, 1)
	go func() {
		_, err := session.CallTool(calling, params)
		left <- err
	}()
	for said := ""; said != "half way"; {
		select {
		case said = <-heard:
		case err := <-left:
			t.Fatalf("talk.long ended before it was heard: %v", err)
		case <-ctx.Done():
			t.Fatal("nothing is heard of talk.long while it runs")
		}
	}
	leave()
	<-left
	kit.Until(t, func() bool {
		var page struct{ Items []struct{ Status string } }
		decode(t, g.get(t, "/api/v1/executions?action=talk.long").body, &page)
		return page.Items[0].Status == "cancelled"
	})
}
