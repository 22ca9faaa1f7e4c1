package api

import (
	"bytes"
	"net/http"
	"net/url"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/delivery"
	"attune/gateway/execution"
	"attune/gateway/hook"
)

const (
	keyGrammar = "a hook's key has 26 capital letters and digits"
	noHook     = "there is no such hook"
)

// acknowledgement is what a sender is told whose delivery is stored.
type acknowledgement struct {
	Execution string `json:"execution_id"`
	Delivery  string `json:"delivery_id,omitempty"` // the sender's
	Duplicate bool   `json:"duplicate"`             // it was here before, and this is its execution
}

// receiveHook takes a delivery. It reads nothing of the body: that is for after
// the proof.
func (s *Server) receiveHook(c *fiber.Ctx, call *call) error {
	key, err := s.hookKey(c)
	if err != nil {
		return err
	}
	if coding := c.Request().Header.ContentEncoding(); len(coding) > 0 && !bytes.EqualFold(coding, []byte("identity")) {
		return refuse(codeEncoding, "a body must not be compressed")
	}
	ctx, release := s.watch(c.Context().Conn())
	defer release()
	answer, err := s.Hooks.Receive(ctx, key, hookRequest(c, call))
	if answer.Result != nil && answer.Result.Execution != nil {
		c.Set("Server-Timing", serverTiming(call.auth, answer.Result.Execution.Timing))
	}
	setExecution(c, call, answer.Execution)
	if err != nil {
		return cutOff(ctx, err)
	}
	return writeHookAnswer(c, answer)
}

func setExecution(c *fiber.Ctx, call *call, id string) {
	if id != "" {
		call.execution = id
		c.Set("Attune-Execution-Id", id)
	}
}

func writeHookAnswer(c *fiber.Ctx, answer delivery.Answer) error {
	switch {
	case answer.Outcome == hook.Handshake:
		return writeJSON(c, map[string]string{"challenge": answer.Challenge})
	case answer.Result != nil:
		c.Set(fiber.HeaderContentType, answer.Result.MediaType)
		c.Context().Response.SetBodyRaw(answer.Result.Output)
		return nil
	case !answer.Waits:
		c.Status(fiber.StatusAccepted)
		c.Location("/api/v1/executions/" + answer.Execution)
	}
	return writeJSON(c, acknowledge(answer))
}

func acknowledge(answer delivery.Answer) acknowledgement {
	return acknowledgement{Execution: answer.Execution, Delivery: answer.Delivery, Duplicate: answer.Outcome == hook.Duplicate}
}

// challengeHook answers the handshake of hub.challenge.
func (s *Server) challengeHook(c *fiber.Ctx, call *call) error {
	key, err := s.hookKey(c)
	if err != nil {
		return err
	}
	answer, err := s.Hooks.Challenge(s.base, key, hookRequest(c, call))
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, "text/plain; charset=utf-8")
	c.Context().SetBodyString(answer.Challenge)
	return nil
}

func (s *Server) hookKey(c *fiber.Ctx) (string, error) {
	key := c.Params("key")
	switch {
	case !hook.IsKey(key):
		return "", refuse(execution.CodeInvalidRef, keyGrammar)
	case s.Hooks == nil:
		return "", refuse(execution.CodeNotFound, noHook)
	}
	return key, nil
}

// hookRequest copies what came, as it came.
func hookRequest(c *fiber.Ctx, call *call) delivery.Request {
	header := http.Header{}
	c.Request().Header.VisitAll(func(name, value []byte) { header.Add(string(name), string(value)) })
	query := call.query
	if query == nil {
		query = url.Values{}
	}
	return delivery.Request{
		Header: header, Query: query, Arrived: call.arrived,
		Body: bytes.Clone(c.Request().Body()), // as sent: fiber's Body would unpack it
	}
}
