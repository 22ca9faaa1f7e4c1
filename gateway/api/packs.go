package api

import (
	"errors"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/hashicorp/go-multierror"

	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/pack"
)

// Grammars, in the words of a refusal.
const (
	packGrammar   = "a pack's ref is a lower-case letter and up to 62 of a-z, 0-9, _ and -"
	actionGrammar = "an action's ref is pack.action, each a lower-case letter and up to 62 of a-z, 0-9, _ and -"
)

func (s *Server) listPacks(c *fiber.Ctx, call *call) error {
	catalog := s.Catalog()
	var items []packPayload
	for _, p := range catalog.Packs() {
		items = append(items, showPack(p))
	}
	for _, broken := range catalog.Broken() {
		items = append(items, showBroken(broken))
	}
	items = slices.DeleteFunc(items, func(p packPayload) bool { return !call.sees(p.Ref) })
	slices.SortFunc(items, func(a, b packPayload) int { return strings.Compare(a.Ref, b.Ref) })
	return writeJSON(c, wholePage(items))
}

func (s *Server) showPack(c *fiber.Ctx, call *call) error {
	ref, err := pack.ParseRef(c.Params("ref"))
	if err != nil {
		return refuse(execution.CodeInvalidRef, packGrammar)
	}
	if err := s.allow(call, key.Read, string(ref)); err != nil {
		return err
	}
	catalog := s.Catalog()
	if broken, ok := catalog.BrokenPack(ref); ok {
		return writeJSON(c, showBroken(broken))
	}
	p, ok := catalog.Pack(ref)
	if !ok {
		return refuse(execution.CodeNotFound, noPack)
	}
	return writeJSON(c, showPack(p))
}

func (s *Server) listPackActions(c *fiber.Ctx, call *call) error {
	ref, err := pack.ParseRef(c.Params("ref"))
	if err != nil {
		return refuse(execution.CodeInvalidRef, packGrammar)
	}
	if err := s.allow(call, key.Read, string(ref)); err != nil {
		return err
	}
	catalog := s.Catalog()
	if _, broken := catalog.BrokenPack(ref); broken {
		return refuse(execution.CodeNotFound, "the pack has faults, which /api/v1/packs/"+string(ref)+" lists")
	}
	p, ok := catalog.Pack(ref)
	if !ok {
		return refuse(execution.CodeNotFound, noPack)
	}
	return writeJSON(c, wholePage(summarize(catalog, p.Actions)))
}

func showPack(p *pack.Pack) packPayload {
	state := "ready"
	if !p.Enabled {
		state = "disabled"
	}
	actions := make([]string, len(p.Actions))
	for i, a := range p.Actions {
		actions[i] = a.Ref.String()
	}
	var hooks, warnings []string
	for _, h := range p.Hooks {
		hooks = append(hooks, h.Ref.String())
	}
	for _, warning := range p.Warnings {
		warnings = append(warnings, warning.Error())
	}
	return packPayload{
		Ref:          string(p.Ref),
		State:        state,
		Version:      p.Version,
		Label:        p.Label,
		Description:  p.Description,
		Author:       p.Author,
		Tags:         p.Tags,
		Meta:         p.Meta,
		ConfigSchema: p.ConfigSchema,
		Dependencies: p.Dependencies,
		Revision:     p.Revision,
		Network:      string(p.Network),
		Limits:       p.Limits,
		Actions:      actions,
		Hooks:        hooks,
		Warnings:     warnings,
	}
}

// showBroken lists all faults; their paths are relative to the pack.
func showBroken(broken pack.Broken) packPayload {
	payload := packPayload{Ref: broken.Name, State: "broken"}
	var all *multierror.Error
	if !errors.As(broken.Err, &all) {
		payload.Faults = []string{broken.Err.Error()}
		return payload
	}
	for _, fault := range all.Errors {
		payload.Faults = append(payload.Faults, fault.Error())
	}
	return payload
}
