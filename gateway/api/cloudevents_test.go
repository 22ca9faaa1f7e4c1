package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	sdk "github.com/cloudevents/sdk-go/v2"
)

// The specification's own SDK is the sender, in both modes.
func TestEventsOfTheSDK(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	client, err := sdk.NewClientHTTP()
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]func(context.Context) context.Context{"binary": sdk.WithEncodingBinary, "structured": sdk.WithEncodingStructured} {
		e := sdk.NewEvent()
		e.SetID("a 1 %é")
		e.SetSource("https://example.org/orders?x=1")
		e.SetType("org.example.paid")
		e.SetSubject("Grüße \"1\"")
		e.SetExtension("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		e.SetExtension("number", 7)
		if err := e.SetData("application/json", map[string]string{"name": name}); err != nil {
			t.Fatal(err)
		}
		ctx := mode(sdk.ContextWithTarget(t.Context(), "http://"+w.Addr().String()+"/invoke/demo.echo"))
		if result := client.Send(ctx, e); !sdk.IsACK(result) {
			t.Errorf("Send(%s) = %v", name, result)
		}
		requests := w.invoker.requests()
		if len(requests) == 0 {
			continue
		}
		if got, want := string(requests[len(requests)-1].Body), fmt.Sprintf(`{"name":%q}`, name); got != want {
			t.Errorf("%s: parameters are %s, want %s", name, got, want)
		}
	}
}

const structuredHead = "Content-Type: application/cloudevents+json\r\n"

// rawEvent is a request as it is on the wire.
func rawEvent(headers, body string) string {
	return fmt.Sprintf("POST /invoke/demo.say HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n%s", host, headers, len(body), body)
}

const binaryHead = "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: t\r\n"

func TestEventsBecomeParameters(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	context := `"specversion":"1.0","id":"1","source":"/s","type":"t"`
	for _, test := range []struct{ name, headers, body, want string }{
		{"structured", structuredHead, `{` + context + `,"data":{"name":"Ada"}}`, `{"name":"Ada"}`},
		{"with a charset", "Content-Type: application/cloudevents+json; charset=UTF-8\r\n", `{` + context + `,"data":{"name":"Ada"}}`, `{"name":"Ada"}`},
		{"upper case", "Content-Type: Application/CloudEvents+JSON\r\n", `{` + context + `,"data":{"name":"Ada"}}`, `{"name":"Ada"}`},
		{"numbers as they are", structuredHead, `{` + context + `,"data":{"n":9007199254740993}}`, `{"n":9007199254740993}`},
		{"all attributes", structuredHead, `{` + context + `,"subject":"s","time":"2026-11-24T08:00:00.5+01:00","dataschema":"https://e.org/s","datacontenttype":"application/vnd.x+json","comexampleextension1":"value","other":7,"flag":true,"none":null,"data":{"name":"Ada"}}`, `{"name":"Ada"}`},
		{"without data", structuredHead, `{` + context + `}`, ``},
		{"base64", structuredHead, `{` + context + `,"data_base64":"eyJuYW1lIjoiQWRhIn0="}`, `{"name":"Ada"}`},
		{"attributes in headers beside it count for nothing", structuredHead + "ce-id: 2\r\n", `{` + context + `,"data":{}}`, `{}`},
		{"binary", binaryHead + "Content-Type: application/json\r\n", `{"name":"Ada"}`, `{"name":"Ada"}`},
		{"binary, bytes as they are", strings.ToUpper(binaryHead) + "Content-Type: application/json; charset=utf-8\r\n", "{ \"name\" :\"Ada\"}\n", "{ \"name\" :\"Ada\"}\n"},
		{"binary without data", binaryHead, ``, ``},
		{"binary, all attributes", binaryHead + "ce-subject: Euro%20%E2%82%AC%20%F0%9F%98%80\r\nce-time: 2026-11-24T08:00:00Z\r\nce-dataschema: urn:x:y\r\nce-ext1: a%22b\r\n", `{}`, `{}`},
	} {
		a := w.raw(t, rawEvent(test.headers, test.body))
		requests := w.invoker.requests()
		if a.status != http.StatusOK || len(requests) == 0 || string(requests[len(requests)-1].Body) != test.want {
			t.Errorf("%s: %d %s, want the parameters %s", test.name, a.status, a.body, test.want)
		}
	}
}

func TestEventsThatAreRefused(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	with := func(member, value string) string {
		members := map[string]string{"specversion": `"1.0"`, "id": `"1"`, "source": `"/s"`, "type": `"t"`, "data": `{}`}
		members[member] = value
		var parts []string
		for name, value := range members {
			if value != "" {
				parts = append(parts, fmt.Sprintf("%q:%s", name, value))
			}
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	for _, test := range []struct {
		name, headers, body string
		status              int
		slug, pointer       string
	}{
		{"no specversion", structuredHead, with("specversion", ""), 400, "invalid-event", "/specversion"},
		{"0.3", structuredHead, with("specversion", `"0.3"`), 400, "invalid-event", "/specversion"},
		{"a number as version", structuredHead, with("specversion", `1.0`), 400, "invalid-event", "/specversion"},
		{"no id", structuredHead, with("id", ""), 400, "invalid-event", "/id"},
		{"empty id", structuredHead, with("id", `""`), 400, "invalid-event", "/id"},
		{"null id", structuredHead, with("id", `null`), 400, "invalid-event", "/id"},
		{"a number as id", structuredHead, with("id", `7`), 400, "invalid-event", "/id"},
		{"no source", structuredHead, with("source", ""), 400, "invalid-event", "/source"},
		{"source that is no URI", structuredHead, with("source", `"%zz `+canary+`"`), 400, "invalid-event", "/source"},
		{"no type", structuredHead, with("type", ""), 400, "invalid-event", "/type"},
		{"time", structuredHead, with("time", `"yesterday `+canary+`"`), 400, "invalid-event", "/time"},
		{"dataschema", structuredHead, with("dataschema", `"/relative"`), 400, "invalid-event", "/dataschema"},
		{"empty subject", structuredHead, with("subject", `""`), 400, "invalid-event", "/subject"},
		{"datacontenttype", structuredHead, with("datacontenttype", `"`+canary+` x"`), 400, "invalid-event", "/datacontenttype"},
		{"an extension that is an object", structuredHead, with("ext", `{}`), 400, "invalid-event", "/ext"},
		{"a name in upper case", structuredHead, with("Zqxcanary", `"x"`), 400, "invalid-event", ""},
		{"data twice", structuredHead, with("data_base64", `"e30="`), 400, "invalid-event", "/data_base64"},
		{"data that is XML", structuredHead, with("datacontenttype", `"application/xml"`), 415, "unsupported-media-type", ""},
		{"data that is a string", structuredHead, with("data", `"`+canary+`"`), 422, "invalid-parameters", ""},
		{"no object", structuredHead, `[]`, 400, "invalid-json", ""},
		{"no body", structuredHead, ``, 400, "invalid-json", ""},
		{"truncated", structuredHead, `{"id":"` + canary, 400, "invalid-json", ""},
		{"a key twice", structuredHead, `{"id":"1","id":"2"}`, 400, "invalid-json", ""},
		{"a batch", "Content-Type: application/cloudevents-batch+json\r\n", `[` + with("id", `"1"`) + `]`, 415, "unsupported-media-type", ""},
		{"XML", "Content-Type: application/cloudevents+xml\r\n", `<event/>`, 415, "unsupported-media-type", ""},
		{"utf-16", "Content-Type: application/cloudevents+json; charset=utf-16\r\n", with("id", `"1"`), 415, "unsupported-media-type", ""},
		{"compressed", structuredHead + "Content-Encoding: gzip\r\n", with("id", `"1"`), 415, "unsupported-encoding", ""},
		{"binary, no id", "ce-specversion: 1.0\r\nce-source: /s\r\nce-type: t\r\n", `{}`, 400, "invalid-event", "/id"},
		{"binary, no version", "ce-id: 1\r\nce-source: /s\r\nce-type: t\r\n", `{}`, 400, "invalid-event", "/specversion"},
		{"binary, empty type", "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type:\r\n", `{}`, 400, "invalid-event", "/type"},
		{"binary, an id twice", binaryHead + "CE-ID: " + canary + "\r\n", `{}`, 400, "invalid-event", "/id"},
		{"binary, escapes that are no UTF-8", binaryHead + "ce-ext: %ff" + canary + "\r\n", `{}`, 400, "invalid-event", "/ext"},
		{"binary, a bad name", binaryHead + "ce-a_b: " + canary + "\r\n", `{}`, 400, "invalid-event", ""},
		{"binary, data that is XML", binaryHead + "Content-Type: application/xml\r\n", `<a/>`, 415, "unsupported-media-type", ""},
		{"binary, data that is no JSON", binaryHead, canary, 400, "invalid-json", ""},
	} {
		a := w.raw(t, rawEvent(test.headers, test.body))
		t.Run(test.name, func(t *testing.T) {
			a.refused(t, test.status, test.slug, true)
			var pointers []string
			for _, e := range a.problem.Errors {
				pointers = append(pointers, *e.Pointer)
			}
			if test.slug == "invalid-event" && strings.Join(pointers, " ") != test.pointer {
				t.Errorf("errors = %q, want %q", pointers, test.pointer)
			}
		})
	}
	w.works(t)
}
