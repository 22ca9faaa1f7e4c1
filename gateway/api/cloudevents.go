package api

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"mime"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"attune/gateway/execution"
	"attune/gateway/pack"
)

// This file reads CloudEvents 1.0 by their HTTP binding: an event's data becomes
// the parameters of a call. In binary mode the attributes are headers and the body
// is the data; in structured mode all of it is one JSON document.

// Media types of events.
const (
	mediaEvent      = "application/cloudevents+json"
	mediaEventBatch = "application/cloudevents-batch"
	mediaEventAny   = "application/cloudevents"
)

// eventPrefix begins the headers that are attributes.
const eventPrefix = "ce-"

// requiredAttributes are those that make a request an event in binary mode.
var requiredAttributes = [...]string{"specversion", "id", "source", "type"}

// eventData finds the parameters in a request that is an event; false where it is
// none.
func eventData(header *fasthttp.RequestHeader, body []byte) (data []byte, isEvent bool, err error) {
	media, _, err := mime.ParseMediaType(string(header.ContentType()))
	switch {
	case err == nil && strings.HasPrefix(media, mediaEventBatch):
		return nil, true, refuse(codeMediaType, "a call takes one event: send those of a batch one by one")
	case err == nil && media == mediaEvent:
		data, err = structuredEvent(header, body)
		return data, true, err
	case err == nil && strings.HasPrefix(media, mediaEventAny):
		return nil, true, refuse(codeMediaType, "events in structured mode are "+mediaEvent)
	}
	attributes, problems := eventHeaders(header)
	if len(attributes) == 0 && len(problems) == 0 {
		return nil, false, nil
	}
	if problems = append(problems, checkAttributes(attributes)...); len(problems) > 0 {
		return nil, true, invalidEvent(problems)
	}
	if err := checkBodyHeaders(header, len(body)); err != nil {
		return nil, true, err
	}
	return body, true, nil
}

// eventHeaders are the attributes of binary mode, if any of the required ones is
// there.
func eventHeaders(header *fasthttp.RequestHeader) (map[string]any, []pack.Problem) {
	attributes := map[string]any{}
	var problems []pack.Problem
	header.VisitAll(func(key, value []byte) {
		name, found := strings.CutPrefix(strings.ToLower(string(key)), eventPrefix)
		if !found {
			return
		}
		text, err := url.PathUnescape(string(value)) // as the binding says
		if err != nil {
			text = string(value) // of a sender that doesn't, as the specification's own SDK
		}
		switch _, twice := attributes[name]; {
		case twice:
			problems = append(problems, pack.Problem{Pointer: "/" + name, Detail: "is there twice"})
		case !utf8.ValidString(text):
			problems = append(problems, pack.Problem{Pointer: "/" + name, Detail: "isn't UTF-8"})
		}
		attributes[name] = text
	})
	for _, name := range requiredAttributes {
		if _, there := attributes[name]; there {
			return attributes, problems
		}
	}
	return nil, nil
}

// structuredEvent finds the data in an event that is one JSON document.
func structuredEvent(header *fasthttp.RequestHeader, body []byte) ([]byte, error) {
	if err := checkBodyHeaders(header, len(body)); err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return nil, refuse(execution.CodeInvalidJSON, "the body is not one JSON object")
	}
	document, problems, err := (*pack.Schema)(nil).Apply(body) // strict
	if err != nil || len(problems) > 0 {
		return nil, refuse(execution.CodeInvalidJSON, "the body is not one JSON object")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(document, &members); err != nil {
		return nil, err
	}
	data, encoded := members["data"], members["data_base64"]
	delete(members, "data")
	delete(members, "data_base64")
	attributes := map[string]any{}
	for name, raw := range members {
		var value any
		if err := json.Unmarshal(raw, &value); err != nil {
			return nil, err
		}
		if value != nil { // null is as if it weren't there
			attributes[name] = value
		}
	}
	if problems := checkAttributes(attributes); len(problems) > 0 {
		return nil, invalidEvent(problems)
	}
	if media, there := attributes["datacontenttype"].(string); there && !holdsJSON(media) {
		return nil, refuse(codeMediaType, "the data of an event must be JSON: it becomes the action's parameters")
	}
	return eventMembers(data, encoded)
}

// eventMembers chooses between the two members that data can be in.
func eventMembers(data, encoded json.RawMessage) ([]byte, error) {
	if encoded == nil || string(encoded) == "null" {
		return data, nil
	}
	if data != nil {
		return nil, invalidEvent([]pack.Problem{{Pointer: "/data_base64", Detail: "is there beside data"}})
	}
	var text string
	err := json.Unmarshal(encoded, &text)
	decoded, wrong := base64.StdEncoding.DecodeString(text)
	if err != nil || wrong != nil {
		return nil, invalidEvent([]pack.Problem{{Pointer: "/data_base64", Detail: "must be base64 in a string"}})
	}
	return decoded, nil
}

func invalidEvent(problems []pack.Problem) error {
	refused := refuse(codeInvalidEvent, "the request is no event of CloudEvents 1.0")
	refused.Parameters = problems
	return refused
}

// attributeName is the grammar of attributes.
var attributeName = regexp.MustCompile(`^[a-z0-9]{1,64}$`)

// attributeRules say what the attributes of the specification must be.
var attributeRules = map[string]struct {
	fits   func(string) bool
	detail string
}{
	"specversion":     {func(text string) bool { return text == "1.0" }, `must be "1.0"`},
	"id":              {func(text string) bool { return text != "" }, "must be a string that is not empty"},
	"source":          {func(text string) bool { return text != "" && isURI(text, false) }, "must be a URI reference that is not empty"},
	"type":            {func(text string) bool { return text != "" }, "must be a string that is not empty"},
	"datacontenttype": {isMedia, "must be a media type"},
	"dataschema":      {func(text string) bool { return isURI(text, true) }, "must be an absolute URI"},
	"subject":         {func(text string) bool { return text != "" }, "must be a string that is not empty"},
	"time":            {isTime, "must be a time of RFC 3339"},
}

// checkAttributes checks an event's context: what is required is there, what is
// specified has its form, and what isn't is a simple value.
func checkAttributes(attributes map[string]any) []pack.Problem {
	var problems []pack.Problem
	wrong := func(name, detail string) {
		problems = append(problems, pack.Problem{Pointer: "/" + name, Detail: detail})
	}
	for _, name := range requiredAttributes {
		if _, there := attributes[name]; !there {
			wrong(name, "is required")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		if !attributeName.MatchString(name) {
			problems = append(problems, pack.Problem{Detail: "an attribute's name must be lower-case letters and digits"})
			continue
		}
		text, isText := attributes[name].(string)
		rule, specified := attributeRules[name]
		switch attributes[name].(type) {
		case map[string]any, []any:
			wrong(name, "must be a string, a number, true or false")
			continue
		}
		if specified && (!isText || !rule.fits(text)) {
			wrong(name, rule.detail)
		}
	}
	return problems
}

func isURI(text string, absolute bool) bool {
	u, err := url.Parse(text)
	return err == nil && (!absolute || u.IsAbs()) && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

func isMedia(text string) bool {
	_, _, err := mime.ParseMediaType(text)
	return err == nil
}

// holdsJSON tells whether data of a media type is JSON.
func holdsJSON(text string) bool {
	media, _, err := mime.ParseMediaType(text)
	return err == nil && (media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json"))
}

func isTime(text string) bool {
	_, err := time.Parse(time.RFC3339, text)
	return err == nil
}
