package api

import (
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
	"attune/gateway/hook"
	"attune/gateway/key"
	"attune/gateway/pack"
)

const hookGrammar = "a hook's ref is pack.hook, each a lower-case letter and up to 62 of a-z, 0-9, _ and -"

// hookPayload is a hook as the api shows it. Its URL is for who may operate its
// pack: of a hook that proves nothing, it is all that there is to know.
type hookPayload struct {
	Ref           string            `json:"ref"`
	Label         string            `json:"label"`
	Description   string            `json:"description,omitempty"`
	Action        string            `json:"action"`
	Enabled       bool              `json:"enabled"`
	Verify        string            `json:"verify"`  // the preset
	Secrets       []string          `json:"secrets"` // names of those that are stored
	Parameters    map[string]string `json:"parameters,omitempty"`
	Response      string            `json:"response"`
	URL           string            `json:"url,omitempty"`
	URLSince      *time.Time        `json:"url_since,omitempty"`
	PreviousURL   string            `json:"previous_url,omitempty"`
	PreviousUntil *time.Time        `json:"previous_until,omitempty"`
	Unready       string            `json:"unready,omitempty"` // why it can't take anything at present
}

func (s *Server) showHookPayload(call *call, h *pack.Hook) (hookPayload, error) {
	payload := hookPayload{
		Ref: h.Ref.String(), Label: h.Label, Description: h.Description, Action: h.Action.String(),
		Enabled: h.Enabled, Verify: h.Verify.Preset, Secrets: []string{}, Response: "async",
	}
	if h.Sync {
		payload.Response = "sync"
	}
	for _, secret := range h.Verify.Secrets {
		if secret.Name != "" {
			payload.Secrets = append(payload.Secrets, secret.Name)
		}
	}
	for _, m := range h.Mapping {
		if payload.Parameters == nil {
			payload.Parameters = map[string]string{}
		}
		payload.Parameters[m.Parameter] = m.Pointer
	}
	if call.key != nil && !call.key.May(key.Operate, string(h.Ref.Pack)) {
		return payload, nil
	}
	if err := s.Hooks.Unready(s.base, h); err != nil {
		payload.Unready = "its secret is missing, or can't be used"
		var failure *execution.Error
		if errors.As(err, &failure) {
			payload.Unready = failure.Reason
		}
	}
	address, err := s.Hooks.Address(s.base, h)
	if err != nil {
		return payload, err
	}
	payload.address(s.BaseURL, address)
	return payload, nil
}

func (p *hookPayload) address(base string, address hook.Address) {
	base = strings.TrimRight(base, "/") + "/hooks/"
	p.URL, p.URLSince = base+address.Key, &address.CreatedAt
	if address.Previous != "" {
		p.PreviousURL, p.PreviousUntil = base+address.Previous, &address.PreviousUntil
	}
}

func (s *Server) listHooks(c *fiber.Ctx, call *call) error {
	var items []hookPayload
	if s.Hooks != nil {
		for _, h := range s.Catalog().Hooks() {
			if !call.sees(string(h.Ref.Pack)) {
				continue
			}
			item, err := s.showHookPayload(call, h)
			if err != nil {
				return err
			}
			items = append(items, item)
		}
	}
	return writeJSON(c, wholePage(items))
}

// hook finds a hook that the caller may see, and do something with.
func (s *Server) hook(c *fiber.Ctx, call *call, verb string) (*pack.Hook, error) {
	ref, err := pack.ParseActionRef(c.Params("ref"))
	if err != nil {
		return nil, refuse(execution.CodeInvalidRef, hookGrammar)
	}
	if err := s.allow(call, key.Read, string(ref.Pack)); err != nil {
		return nil, err
	}
	if err := s.allow(call, verb, string(ref.Pack)); err != nil {
		return nil, err
	}
	h, there := s.Catalog().Hook(ref)
	if !there || s.Hooks == nil {
		return nil, refuse(execution.CodeNotFound, noHook)
	}
	return h, nil
}

func (s *Server) showHook(c *fiber.Ctx, call *call) error {
	h, err := s.hook(c, call, key.Read)
	if err != nil {
		return err
	}
	payload, err := s.showHookPayload(call, h)
	if err != nil {
		return err
	}
	return writeJSON(c, payload)
}

// maxGrace bounds how long a key before stays valid.
const maxGrace = 30 * 24 * time.Hour

// rotateHook gives a hook another URL; grace is how long the one before works on.
func (s *Server) rotateHook(c *fiber.Ctx, call *call) error {
	h, err := s.hook(c, call, key.Operate)
	if err != nil {
		return err
	}
	var text string
	if err := readMembers(c, map[string]any{"grace": &text}); err != nil {
		return err
	}
	grace := time.Duration(0)
	if text != "" {
		if grace, err = time.ParseDuration(text); err != nil || grace < 0 || grace > maxGrace {
			return invalidMembers(pack.Problem{Pointer: "/grace", Detail: "must be a duration such as 24h, of 30 days at most"})
		}
	}
	if _, err := s.Hooks.Rotate(s.base, h, grace); err != nil {
		return err
	}
	payload, err := s.showHookPayload(call, h)
	if err != nil {
		return err
	}
	return writeJSON(c, payload)
}

// testHook sends the hook a sample of its sender.
func (s *Server) testHook(c *fiber.Ctx, call *call) error {
	h, err := s.hook(c, call, key.Operate)
	if err != nil {
		return err
	}
	if err := readMembers(c, nil); err != nil {
		return err
	}
	answer, err := s.Hooks.Test(s.base, h)
	setExecution(c, call, answer.Execution)
	if err != nil {
		return cutOff(s.base, err)
	}
	c.Status(fiber.StatusAccepted)
	return writeJSON(c, acknowledge(answer))
}

// How many deliveries a page has.
const (
	deliveryLimit    = 50
	maxDeliveryLimit = 200
)

func (s *Server) listDeliveries(c *fiber.Ctx, call *call) error {
	h, err := s.hook(c, call, key.Read)
	if err != nil {
		return err
	}
	cursor, limit := call.query.Get("cursor"), deliveryLimit
	if call.query.Has("cursor") && !hook.IsEntryID(cursor) {
		return refuse(codeInvalidQuery, "cursor must be the next of the page before")
	}
	if call.query.Has("limit") {
		if limit, err = strconv.Atoi(call.query.Get("limit")); err != nil || limit < 1 || limit > maxDeliveryLimit {
			return refuse(codeInvalidQuery, "limit is 1 to "+strconv.Itoa(maxDeliveryLimit))
		}
	}
	entries, next, err := s.Hooks.Deliveries(s.base, h, cursor, limit)
	if err != nil {
		return err
	}
	answer := wholePage(entries)
	if next != "" {
		answer.Next = &next
	}
	return writeJSON(c, answer)
}

// deliveryPayload is a delivery with its body: as text where it is one.
type deliveryPayload struct {
	hook.Entry
	Body   string `json:"body,omitempty"`
	Binary []byte `json:"body_base64,omitempty"`
}

func (s *Server) showDelivery(c *fiber.Ctx, call *call) error {
	h, id, err := s.delivery(c, call)
	if err != nil {
		return err
	}
	entry, err := s.Hooks.Delivery(s.base, h, id)
	if err != nil {
		return err
	}
	payload := deliveryPayload{Entry: entry, Body: string(entry.Body)}
	if !utf8.Valid(entry.Body) {
		payload.Body, payload.Binary = "", entry.Body
	}
	return writeJSON(c, payload)
}

// delivery finds the hook and the ID of one of its deliveries.
func (s *Server) delivery(c *fiber.Ctx, call *call) (*pack.Hook, string, error) {
	id, err := idOf(c)
	if err != nil {
		return nil, "", refuse(execution.CodeInvalidRef, "a delivery's ID has 26 digits and capital letters")
	}
	h, err := s.hook(c, call, key.Operate)
	return h, id, err
}

// replayDelivery has a delivery stored once more.
func (s *Server) replayDelivery(c *fiber.Ctx, call *call) error {
	h, id, err := s.delivery(c, call)
	if err != nil {
		return err
	}
	if err := readMembers(c, nil); err != nil {
		return err
	}
	answer, err := s.Hooks.Replay(s.base, h, id)
	setExecution(c, call, answer.Execution)
	if err != nil {
		return err
	}
	c.Status(fiber.StatusAccepted)
	c.Location("/api/v1/executions/" + answer.Execution)
	return writeJSON(c, acknowledge(answer))
}
