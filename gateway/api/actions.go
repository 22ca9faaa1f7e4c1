package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/pack"
)

func (s *Server) listActions(c *fiber.Ctx, call *call) error {
	catalog := s.Catalog()
	actions := slices.DeleteFunc(slices.Clone(catalog.Actions()), func(a *pack.Action) bool { return !call.sees(string(a.Ref.Pack)) })
	return writeJSON(c, wholePage(summarize(catalog, actions)))
}

func (s *Server) showAction(c *fiber.Ctx, call *call) error {
	ref, err := pack.ParseActionRef(c.Params("ref"))
	if err != nil {
		return refuse(execution.CodeInvalidRef, actionGrammar)
	}
	if err := s.allow(call, key.Read, string(ref.Pack)); err != nil {
		return err
	}
	catalog := s.Catalog()
	if _, broken := catalog.BrokenPack(ref.Pack); broken {
		return refuse(execution.CodeNotFound, "the pack has faults, which /api/v1/packs/"+string(ref.Pack)+" lists")
	}
	action, ok := catalog.Action(ref)
	if !ok {
		return refuse(execution.CodeNotFound, noAction)
	}
	return writeJSON(c, actionPayload{
		actionSummary:   summarize(catalog, []*pack.Action{action})[0],
		Parameters:      schemaJSON(action.Parameters),
		Output:          schemaJSON(action.Output),
		ParameterFormat: action.ParameterFormat,
		OutputFormat:    action.OutputFormat,
		MediaType:       execution.MediaType(action.OutputFormat),
		TimeoutSeconds:  action.Timeout.Seconds(),
		Network:         string(action.Network),
		Limits:          action.Limits,
		Rate:            action.Rate,
		MaxConcurrency:  action.MaxConcurrency,
		Examples:        append([]any{}, action.Examples...),
		Invoke:          howToInvoke(s.BaseURL, action),
		Routes:          ownRoutesOf(action),
	})
}

func ownRoutesOf(action *pack.Action) []ownRoute {
	routes := make([]ownRoute, len(action.HTTP))
	for i, r := range action.HTTP {
		routes[i] = ownRoute{Method: r.Method, Path: "/p/" + string(action.Ref.Pack) + r.Path}
	}
	return routes
}

func summarize(catalog *pack.Catalog, actions []*pack.Action) []actionSummary {
	summaries := make([]actionSummary, len(actions))
	for i, a := range actions {
		p, ok := catalog.Pack(a.Ref.Pack)
		summaries[i] = actionSummary{
			Ref:         a.Ref.String(),
			Pack:        string(a.Ref.Pack),
			Label:       a.Label,
			Description: a.Description,
			Tags:        a.Tags,
			Enabled:     a.Enabled && ok && p.Enabled,
		}
		if a.Runtime != nil {
			summaries[i].Runtime = a.Runtime.Name
		}
	}
	return summaries
}

func schemaJSON(schema *pack.Schema) json.RawMessage {
	if schema == nil {
		return nil
	}
	return schema.JSON()
}

// howToInvoke makes a call of the first example that is parameters.
func howToInvoke(baseURL string, action *pack.Action) invocation {
	url := strings.TrimSuffix(baseURL, "/") + "/invoke/" + action.Ref.String()
	body := "{}"
	for _, example := range action.Examples {
		object, ok := example.(map[string]any)
		if !ok {
			continue
		}
		if encoded, err := json.Marshal(object); err == nil {
			body = string(encoded)
			break
		}
	}
	return invocation{
		Method: fiber.MethodPost,
		URL:    url,
		Curl:   fmt.Sprintf("curl --json %s %s", shellQuoted(body), url),
	}
}

func shellQuoted(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
