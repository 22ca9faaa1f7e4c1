package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
)

// envelope is a result that says what the answer is: for routes of an action's own
// with "response: envelope".
type envelope struct {
	Status  *int                       `json:"status"`  // 200 where there is none
	Headers map[string]json.RawMessage `json:"headers"` // a string, or an array of them
	Body    json.RawMessage            `json:"body"`    // a string is sent as it is, anything else as JSON
	Base64  bool                       `json:"base64"`  // the body is a string of base64
}

// Bounds of an envelope's headers.
const (
	maxEnvelopeHeaders = 64
	maxEnvelopeHeader  = 8 << 10 // bytes of all values together
)

var headerToken = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")

// ownHeaders are those that an action can't set: of the connection, and of the
// gateway. Those that begin with attune- or proxy- are not its, either.
var ownHeaders = map[string]bool{
	"connection": true, "keep-alive": true, "te": true, "trailer": true, "transfer-encoding": true, "upgrade": true,
	"content-length": true, "date": true, "host": true, "server": true, "server-timing": true,
	"idempotency-replayed": true, "preference-applied": true, "x-content-type-options": true,
}

// writeResult answers with an action's result: as it is, or as its envelope says.
func (s *Server) writeResult(c *fiber.Ctx, call *call, media string, output []byte) error {
	if !call.envelope {
		c.Set(fiber.HeaderContentType, media)
		c.Context().Response.SetBodyRaw(output)
		return nil
	}
	return writeEnvelope(c, output)
}

func badEnvelope(why string) error {
	bad := refuse(execution.CodeBadOutput, "the result is no answer: "+why)
	bad.Component, bad.Phase, bad.Started = "action", "output", true
	return bad
}

func writeEnvelope(c *fiber.Ctx, output []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(output))
	decoder.DisallowUnknownFields()
	var e *envelope
	if err := decoder.Decode(&e); err != nil || e == nil {
		return badEnvelope("it must be an object of status, headers, body and base64")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return badEnvelope("it must be one object")
	}
	status := fiber.StatusOK
	if e.Status != nil {
		status = *e.Status
	}
	if status < 200 || status > 599 {
		return badEnvelope("status must be a number from 200 to 599")
	}
	body, media, err := e.content()
	if err != nil {
		return err
	}
	if (status == fiber.StatusNoContent || status == fiber.StatusNotModified) && len(body) > 0 {
		return badEnvelope("an answer of its status has no body")
	}
	headers, err := e.fields()
	if err != nil {
		return err
	}
	c.Status(status)
	if media != "" {
		c.Set(fiber.HeaderContentType, media)
	}
	for _, field := range headers {
		if strings.EqualFold(field[0], fiber.HeaderContentType) {
			c.Set(fiber.HeaderContentType, field[1])
			continue
		}
		c.Response().Header.Add(field[0], field[1])
	}
	c.Context().Response.SetBodyRaw(body)
	return nil
}

// content is the body, and its media type where no header says one.
func (e *envelope) content() (body []byte, media string, err error) {
	if e.Body == nil || string(e.Body) == "null" {
		return nil, "", nil
	}
	var text string
	if json.Unmarshal(e.Body, &text) != nil {
		if e.Base64 {
			return nil, "", badEnvelope("with base64 the body must be a string")
		}
		return e.Body, fiber.MIMEApplicationJSON, nil
	}
	if !e.Base64 {
		return []byte(text), "text/plain; charset=utf-8", nil
	}
	if body, err = base64.StdEncoding.DecodeString(text); err != nil {
		return nil, "", badEnvelope("its body is not base64")
	}
	return body, fiber.MIMEOctetStream, nil
}

// fields are the headers, name and value, checked.
func (e *envelope) fields() ([][2]string, error) {
	var fields [][2]string
	size := 0
	for name, raw := range e.Headers {
		lower := strings.ToLower(name)
		switch {
		case !headerToken.MatchString(name):
			return nil, badEnvelope("a header's name is not one")
		case ownHeaders[lower], strings.HasPrefix(lower, "attune-"), strings.HasPrefix(lower, "proxy-"):
			return nil, badEnvelope("it has a header that is the connection's or the gateway's")
		}
		var values []string
		var one string
		if string(raw) != "null" && json.Unmarshal(raw, &one) == nil {
			values = []string{one}
		} else if json.Unmarshal(raw, &values) != nil || values == nil || lower == "content-type" {
			return nil, badEnvelope("a header must be a string, or an array of them")
		}
		for _, value := range values {
			if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return nil, badEnvelope("a header's value has a control character")
			}
			size += len(value)
			fields = append(fields, [2]string{name, value})
		}
	}
	if len(fields) > maxEnvelopeHeaders || size > maxEnvelopeHeader {
		return nil, badEnvelope("it has too many headers")
	}
	return fields, nil
}
