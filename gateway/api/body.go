package api

import (
	"bytes"
	"encoding/json"
	"mime"
	"net"
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"attune/gateway/execution"
	"attune/gateway/pack"
)

// readMembers reads the body of a request that changes something: nothing, or
// one strict JSON object with some of the members, each into the *string, *bool,
// *int, *[]string or, of an object, *json.RawMessage that is given for it.
func readMembers(c *fiber.Ctx, members map[string]any) error {
	body := c.Request().Body()
	if err := checkChangeBody(&c.Request().Header, len(body)); err != nil {
		return err
	}
	document, problems, err := (*pack.Schema)(nil).Apply(body)
	if err != nil {
		return refuse(execution.CodeInvalidJSON, "the body is not one JSON object")
	}
	var object map[string]json.RawMessage
	if len(problems) == 0 {
		if err := json.Unmarshal(document, &object); err != nil {
			return err
		}
	}
	for name, value := range object {
		target, known := members[name]
		if !known {
			problems = append(problems, pack.Problem{Detail: "has a member that this call does not have"})
			continue
		}
		_, raw := target.(*json.RawMessage)
		if json.Unmarshal(value, target) != nil || bytes.Equal(value, []byte("null")) || raw && !bytes.HasPrefix(value, []byte("{")) {
			problems = append(problems, pack.Problem{Pointer: "/" + name, Detail: "must be " + kindOf(target)})
		}
	}
	if len(problems) > 0 {
		return invalidMembers(problems...)
	}
	return nil
}

// kindOf says what a member must be.
func kindOf(target any) string {
	switch target.(type) {
	case *bool:
		return "true or false"
	case *int:
		return "a whole number"
	case *[]string:
		return "a list of strings"
	case *json.RawMessage:
		return "an object"
	}
	return "a string"
}

func invalidMembers(problems ...pack.Problem) error {
	refused := refuse(execution.CodeInvalidParameters, "the body does not say what this call needs")
	refused.Parameters = problems
	return refused
}

// checkChangeBody admits JSON under its own name only: a page of another site
// can send a form or text without asking the gateway first, and JSON it can't.
func checkChangeBody(header *fasthttp.RequestHeader, size int) error {
	if coding := header.ContentEncoding(); len(coding) > 0 && !bytes.EqualFold(coding, []byte("identity")) {
		return refuse(codeEncoding, "a body must not be compressed")
	}
	contentType := string(header.Peek(fasthttp.HeaderContentType))
	if size == 0 && contentType == "" {
		return nil
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != "application/json" {
		return refuse(codeMediaType, "a body is sent as application/json")
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return refuse(codeMediaType, "JSON is encoded in UTF-8")
	}
	return nil
}

// checkBrowser keeps pages of other sites from changing anything, and from calling
// actions without a key, after checkOrigin. That Origin and Host are the same is
// not enough: by rebinding its name, a page makes the gateway's address its own
// origin. A name that nobody can rebind is an address, localhost, or the one that
// the operator has given the gateway. Clients that aren't browsers send neither
// header, and may use any name.
func (s *Server) checkBrowser(header *fasthttp.RequestHeader) error {
	origin := string(header.Peek(fasthttp.HeaderOrigin))
	if origin == "" && len(header.Peek("Sec-Fetch-Site")) == 0 {
		return nil
	}
	host := string(header.Host())
	if from, err := url.Parse(origin); origin != "" && (err != nil || !strings.EqualFold(from.Host, host)) {
		return refuse(codeForbidden, "a page of another origin may not do this")
	}
	name := (&url.URL{Host: host}).Hostname()
	if own, err := url.Parse(s.BaseURL); err == nil && name != "" && strings.EqualFold(name, own.Hostname()) {
		return nil
	}
	if strings.EqualFold(name, "localhost") || net.ParseIP(name) != nil {
		return nil
	}
	return refuse(codeForbidden, "a page may do this only if it came from the gateway's own address")
}
