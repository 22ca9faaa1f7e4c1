package api

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
	"attune/gateway/limit"
	"attune/gateway/pack"
	"attune/runtimes"
)

// page is the shape of every listing.
type page[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next"` // cursor; null on the last page
}

func wholePage[T any](items []T) page[T] {
	if items == nil {
		items = []T{}
	}
	return page[T]{Items: items}
}

// packPayload is a pack as the api shows it. A broken one has a ref and faults.
// Vars and config values are not shown: people put tokens there.
type packPayload struct {
	Ref          string          `json:"ref"`
	State        string          `json:"state"` // ready, disabled or broken
	Version      string          `json:"version,omitempty"`
	Label        string          `json:"label,omitempty"`
	Description  string          `json:"description,omitempty"`
	Author       string          `json:"author,omitempty"`
	Tags         []string        `json:"tags,omitempty"`
	Meta         map[string]any  `json:"meta,omitempty"`
	ConfigSchema map[string]any  `json:"config_schema,omitempty"`
	Dependencies []pack.Ref      `json:"dependencies,omitempty"`
	Revision     string          `json:"revision,omitempty"`
	Network      string          `json:"network,omitempty"`
	Limits       runtimes.Limits `json:"limits,omitzero"`
	Actions      []string        `json:"actions,omitempty"`
	Hooks        []string        `json:"hooks,omitempty"`
	Faults       []string        `json:"faults,omitempty"`
	Warnings     []string        `json:"warnings,omitempty"` // it is served all the same
}

// actionSummary is an action in a listing.
type actionSummary struct {
	Ref         string   `json:"ref"`
	Pack        string   `json:"pack"`
	Label       string   `json:"label,omitempty"`
	Description string   `json:"description,omitempty"`
	Tags        []string `json:"tags,omitempty"`
	Runtime     string   `json:"runtime"`
	Enabled     bool     `json:"enabled"` // its pack's switch included
}

// actionPayload is everything about an action.
type actionPayload struct {
	actionSummary
	Parameters      json.RawMessage `json:"parameters"` // JSON Schema
	Output          json.RawMessage `json:"output"`     // JSON Schema; null where the output is not validated
	ParameterFormat pack.Format     `json:"parameter_format"`
	OutputFormat    pack.Format     `json:"output_format"`
	MediaType       string          `json:"media_type"`
	TimeoutSeconds  float64         `json:"timeout_seconds"`
	Network         string          `json:"network"`
	Limits          runtimes.Limits `json:"limits"`
	Rate            limit.Rate      `json:"rate,omitzero"`
	MaxConcurrency  int             `json:"max_concurrency,omitempty"`
	Examples        []any           `json:"examples"`
	Invoke          invocation      `json:"invoke"`
	Routes          []ownRoute      `json:"routes"` // paths of its own
}

// ownRoute is a method and a path of an action's own.
type ownRoute struct {
	Method string `json:"method"`
	Path   string `json:"path"` // "/p/shop/orders/:id"
}

// invocation says how to call an action.
type invocation struct {
	Method string `json:"method"`
	URL    string `json:"url"`
	Curl   string `json:"curl"`
}

// executionSummary is an execution in a listing, which has no result and logs.
type executionSummary struct {
	ID         string             `json:"id"`
	Action     string             `json:"action"`
	Pack       string             `json:"pack"`
	Gateway    string             `json:"gateway"`
	Status     execution.Status   `json:"status"`
	ExitCode   *int               `json:"exit_code"`
	CreatedAt  time.Time          `json:"created_at"`
	StartedAt  *time.Time         `json:"started_at"`
	EndedAt    *time.Time         `json:"ended_at"`
	DurationMS float64            `json:"duration_ms"`
	Error      *execution.Failure `json:"error"`
	Timing     execution.Timing   `json:"timing"`
	Source     string             `json:"source,omitempty"` // of asynchronous ones only, as those that follow
	Caller     string             `json:"caller,omitempty"`
	Attempt    int                `json:"attempt,omitempty"`
}

// writeJSON answers with a payload; 200 unless the handler has set a status.
func writeJSON(c *fiber.Ctx, payload any) error {
	body, err := json.Marshal(payload)
	if err != nil {
		return fmt.Errorf("encode %T: %w", payload, err)
	}
	c.Set(fiber.HeaderContentType, "application/json")
	c.Context().SetBody(append(body, '\n'))
	return nil
}

// writeLog answers 200 with what a program printed, whatever its encoding.
func writeLog(c *fiber.Ctx, log []byte) error {
	c.Set(fiber.HeaderContentType, "text/plain; charset=utf-8")
	c.Context().SetBody(log)
	return nil
}
