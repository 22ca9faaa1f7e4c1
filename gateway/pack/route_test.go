package pack

import (
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"attune/runtimes"
)

// routed loads a pack of actions, each given as what follows its first lines.
func routed(t testing.TB, actions map[string]string) (*Pack, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shop")
	files := map[string]string{"pack.yaml": "ref: shop\nversion: 1.0.0\n", "actions/a.sh": "cat\n"}
	for name, rest := range actions {
		files["actions/"+name+".yaml"] = "ref: shop." + name + "\nentry_point: a.sh\n" + rest
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Load(dir, runtimes.Builtin(), LoadOptions{})
}

func mustRouted(t testing.TB, actions map[string]string) *Pack {
	t.Helper()
	p, err := routed(t, actions)
	if err != nil {
		t.Fatalf("Load() error = %v", err)
	}
	return p
}

func TestFaultsOfRoutes(t *testing.T) {
	t.Parallel()
	parameters := "parameters:\n  id: {type: integer}\n  token: {type: string, secret: true}\n"
	for name, test := range map[string]struct{ http, want string }{
		"method":                  {"[{method: HEAD, path: /a}]", "actions/x.yaml:6: http[0]: method must be one of GET, POST, PUT, PATCH, DELETE"},
		"no method":               {"[{path: /a}]", "method must be one of"},
		"no path":                 {"[{method: GET}]", "path is missing"},
		"root":                    {"[{method: GET, path: /}]", "path must begin with /"},
		"no slash":                {"[{method: GET, path: a}]", "path must begin with /"},
		"trailing slash":          {"[{method: GET, path: /a/}]", "path must be made of segments"},
		"empty segment":           {"[{method: GET, path: /a//b}]", "path must be made of segments"},
		"dots":                    {"[{method: GET, path: /a/../b}]", "path must be made of segments"},
		"escapes":                 {"[{method: GET, path: /a%2fb}]", "path must be made of segments"},
		"wildcard":                {"[{method: GET, path: /a/*}]", "path must be made of segments"},
		"parameter name":          {"[{method: GET, path: /:a-b}]", "has a parameter whose name"},
		"parameter twice":         {"[{method: GET, path: /:id/:id}]", "has a parameter twice"},
		"long":                    {"[{method: GET, path: /" + strings.Repeat("a", 255) + "}]", "may have 255 characters"},
		"deep":                    {"[{method: GET, path: " + strings.Repeat("/a", 17) + "}]", "may have 255 characters and 16 segments"},
		"undeclared":              {"[{method: GET, path: /:other}]", "path has parameter other, which the action doesn't declare"},
		"undeclared header":       {"[{method: GET, path: /a, headers: {other: X-A}}]", "headers has parameter other"},
		"secret in the path":      {"[{method: GET, path: /:token}]", "is a secret, which doesn't belong into a URL"},
		"from two places":         {"[{method: GET, path: /:id, headers: {id: X-A}}]", "comes from two places, path and headers"},
		"header name":             {"[{method: GET, path: /a, headers: {id: 'X A'}}]", "is no header that an action can have"},
		"authorization":           {"[{method: GET, path: /a, headers: {id: Authorization}}]", "is no header that an action can have"},
		"body of a GET":           {"[{method: GET, path: /a, body: json}]", "a GET has no body"},
		"mode":                    {"[{method: POST, path: /a, body: xml}]", "body must be json, text, base64 or none"},
		"text into nothing":       {"[{method: POST, path: /a, body: text}]", "body_parameter is missing"},
		"nothing into something":  {"[{method: POST, path: /a, body: none, body_parameter: id}]", "body_parameter is there, but no body"},
		"response":                {"[{method: POST, path: /a, response: html}]", "response must be result or envelope"},
		"envelope without JSON":   {"[{method: POST, path: /a, response: envelope}]", "response envelope needs output_format json"},
		"twice":                   {"[{method: POST, path: /a/:id}, {method: POST, path: /a/:id}]", "is there twice"},
		"unknown key":             {"[{method: POST, path: /a, handler: x}]", "handler"},
		"a mapping, not a list":   {"{method: POST, path: /a}", "http"},
		"the other action's path": {"[{method: GET, path: /taken/:id}]", "http[0]: GET /taken/:id is also a route of actions/w.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := routed(t, map[string]string{
				"x": parameters + "http: " + test.http + "\n",
				"w": "parameters:\n  other: {type: string}\nhttp: [{method: GET, path: /taken/:other}]\n",
			})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Load() error = %v, want %q", err, test.want)
			}
		})
	}
}

func TestRouting(t *testing.T) {
	t.Parallel()
	p := mustRouted(t, map[string]string{
		"list":   "http: [{method: GET, path: /orders}]\n",
		"show":   "http: [{method: GET, path: /orders/:id}]\n",
		"newest": "http: [{method: get, path: /orders/newest}]\n",
		"change": "http: [{method: PUT, path: /orders/:id}, {method: PATCH, path: /orders/:number}]\n",
		"lines":  "http: [{method: GET, path: /orders/:id/lines}]\n",
		"a":      "http: [{method: GET, path: /:x/b}]\n",
		"off":    "enabled: false\nhttp: [{method: GET, path: /off}]\n",
	})
	for _, test := range []struct{ method, path, want, values, allowed string }{
		{"GET", "orders", "list", "", "GET"},
		{"GET", "orders/7", "show", "id=7", "GET PATCH PUT"},
		{"GET", "orders/newest", "newest", "", "GET PATCH PUT"},
		{"PUT", "orders/newest", "change", "id=newest", "GET PATCH PUT"},
		{"PATCH", "orders/a%2Fb%20c", "change", "number=a/b c", "GET PATCH PUT"},
		{"GET", "orders/b", "show", "id=b", "GET PATCH PUT"},
		{"GET", "x/b", "a", "x=x", "GET"},
		{"GET", "orders/7/lines", "lines", "id=7", "GET"},
		{"POST", "orders/7", "", "", "GET PATCH PUT"},
		{"GET", "off", "", "", ""},
		{"GET", "Orders", "", "", ""},
		{"GET", "orders/", "", "", ""},
		{"GET", "orders//lines", "", "", ""},
		{"GET", "", "", "", ""},
		{"GET", "%6frders", "", "", ""},
		{"GET", "orders/..", "", "", ""},
		{"GET", "orders/%2e%2e", "", "", ""},
		{"GET", "orders/%00", "", "", ""},
		{"GET", "orders/%ff", "", "", ""},
		{"GET", "orders/%zz", "", "", ""},
	} {
		found, allowed := p.Route(test.method, test.path)
		name, values := "", ""
		if found != nil {
			name = found.Action.Ref.Name
			for key, value := range found.Path {
				values += key + "=" + value
			}
		}
		if name != test.want || values != test.values || strings.Join(allowed, " ") != test.allowed {
			t.Errorf("Route(%s, %q) = %q with %q, allowed %v, want %q with %q, %q", test.method, test.path, name, values, allowed, test.want, test.values, test.allowed)
		}
	}
}

func TestParametersOfARoute(t *testing.T) {
	t.Parallel()
	p := mustRouted(t, map[string]string{"x": `parameters:
  id: {type: integer}
  ratio: {type: number}
  flag: {type: boolean}
  text: {type: string}
  tags: {type: array, items: {type: string}}
  numbers: {type: array, items: {type: integer}}
  either: {type: [integer, string]}
  any: {}
  object: {type: object}
  token: {type: string, secret: true}
http:
  - {method: POST, path: /json/:id, headers: {text: X-Text, flag: X-Flag}}
  - {method: POST, path: /into, body_parameter: any}
  - {method: POST, path: /text, body: text, body_parameter: text}
  - {method: POST, path: /base64, body: base64, body_parameter: text}
  - {method: GET, path: /get/:id}
`})
	for _, test := range []struct {
		name, method, path, query, body, want string
		headers                               map[string]string
		problems                              string
		err                                   error
	}{
		{name: "all places", method: "POST", path: "json/7", query: "ratio=1.5e3", body: `{"tags":["a"]}`, headers: map[string]string{"text": "h", "flag": "true"},
			want: `{"flag":true,"id":7,"ratio":1.5e3,"tags":["a"],"text":"h"}`},
		{name: "large numbers as they are", method: "GET", path: "get/9007199254740993", want: `{"id":9007199254740993}`},
		{name: "what is no integer stays text", method: "GET", path: "get/07", want: `{"id":"07"}`},
		{name: "nor is a sign", method: "GET", path: "get/+7", want: `{"id":"+7"}`},
		{name: "a number for the schema to refuse", method: "GET", path: "get/1.5", want: `{"id":1.5}`},
		{name: "too large", method: "GET", path: "get/1e999", want: `{"id":"1e999"}`},
		{name: "true and false alone", method: "GET", path: "get/1", query: "flag=1", want: `{"flag":"1","id":1}`},
		{name: "repetition is an array", method: "GET", path: "get/1", query: "numbers=1&numbers=-2&tags=1", want: `{"id":1,"numbers":[1,-2],"tags":["1"]}`},
		{name: "text wins where it may be", method: "GET", path: "get/1", query: "either=5&any=6&text=true", want: `{"any":"6","either":"5","id":1,"text":"true"}`},
		{name: "an empty value", method: "GET", path: "get/1", query: "text=&flag=", want: `{"flag":"","id":1,"text":""}`},
		{name: "no object from text", method: "GET", path: "get/1", query: "object=%7B%7D", want: `{"id":1,"object":"{}"}`},
		{name: "a whole document", method: "POST", path: "into", body: `[1, {"a":null}]`, want: `{"any":[1,{"a":null}]}`},
		{name: "no body", method: "POST", path: "into", want: `{}`},
		{name: "text", method: "POST", path: "text", body: "a\n\"é\"", want: `{"text":"a\n\"é\""}`},
		{name: "no text", method: "POST", path: "text", body: "\xff", err: ErrBodyText},
		{name: "bytes", method: "POST", path: "base64", body: "\x00\xff", want: `{"text":"AP8="}`},
		{name: "a body of a GET", method: "GET", path: "get/1", body: "x", err: ErrBodyNone},
		{name: "no JSON", method: "POST", path: "json/1", body: "{", err: ErrInvalidJSON},
		{name: "no object", method: "POST", path: "json/1", body: "[]", err: ErrInvalidJSON},
		{name: "in path and body", method: "POST", path: "json/1", body: `{"id":2}`, problems: "/id is given in two places"},
		{name: "in path and query", method: "GET", path: "get/1", query: "id=1", problems: "/id is given in two places"},
		{name: "a secret in the query", method: "GET", path: "get/1", query: "token=x", problems: "/token is a secret, which doesn't belong into a URL"},
	} {
		found, _ := p.Route(test.method, test.path)
		if found == nil {
			t.Errorf("%s: no route", test.name)
			continue
		}
		query, err := url.ParseQuery(test.query)
		if err != nil {
			t.Fatal(err)
		}
		got, problems, err := found.Parameters(Given{Query: query, Headers: test.headers, Body: []byte(test.body)})
		var texts []string
		for _, problem := range problems {
			texts = append(texts, problem.Pointer+" "+problem.Detail)
		}
		if string(got) != test.want || strings.Join(texts, ", ") != test.problems || !errors.Is(err, test.err) || test.err == nil && err != nil {
			t.Errorf("%s: Parameters() = %s, %q, %v, want %s, %q, %v", test.name, got, texts, err, test.want, test.problems, test.err)
		}
	}
}

// FuzzRoute: a path that is a route's finds it, with the values that are in it;
// whatever is sent, nothing else does, and no value is one that leads elsewhere.
func FuzzRoute(f *testing.F) {
	for _, seed := range [][3]string{{"/orders/:id", "orders/7", "7"}, {"/:a/:b", "x/..", "%2e%2e"}, {"/a", "a/", "\x00"}, {"/:a", "%zz", "é/"}} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, path, sent, value string) {
		if checkRoutePath(path) != "" {
			return
		}
		route := Route{Method: "GET", Path: path}
		if values, ok := route.match(sent); ok {
			for name, value := range values {
				if value == "" || value == "." || value == ".." || strings.ContainsRune(value, 0) {
					t.Fatalf("%s matches %q with %s = %q", path, sent, name, value)
				}
			}
			if strings.Count(sent, "/") != strings.Count(path, "/")-1 {
				t.Fatalf("%s matches %q", path, sent)
			}
		}
		segments := route.segments()
		wanted := 0
		for i, segment := range segments {
			if strings.HasPrefix(segment, ":") {
				segments[i] = url.PathEscape(value)
				wanted++
			}
		}
		values, ok := route.match(strings.Join(segments, "/"))
		bad := wanted > 0 && (value == "" || value == "." || value == ".." || strings.ContainsRune(value, 0) || strings.ToValidUTF8(value, "") != value)
		if ok == bad || ok && len(values) != wanted {
			t.Fatalf("%s with %q: %v, %t", path, value, values, ok)
		}
		for _, got := range values {
			if got != value {
				t.Fatalf("%s with %q gives %q", path, value, got)
			}
		}
	})
}

// FuzzCoercion: whatever text becomes is JSON, and only what is a number becomes
// one.
func FuzzCoercion(f *testing.F) {
	p := mustRouted(f, map[string]string{"x": "parameters:\n  i: {type: integer}\n  b: {type: boolean}\n  s: {type: string}\n  a: {type: array, items: {type: number}}\nhttp: [{method: GET, path: /x}]\n"})
	found, _ := p.Route("GET", "x")
	for _, seed := range []string{"7", "-0", "1e5", "true", "0x1", "\"", "9007199254740993", "1e999", ""} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		one, two = strings.ToValidUTF8(one, "?"), strings.ToValidUTF8(two, "?")
		document, problems, err := found.Parameters(Given{Query: url.Values{"i": {one}, "b": {one}, "s": {one}, "a": {one, two}}})
		if err != nil || len(problems) > 0 {
			t.Fatalf("Parameters(%q) = %v, %v", one, problems, err)
		}
		var value map[string]any
		if err := json.Unmarshal(document, &value); err != nil {
			t.Fatalf("Parameters(%q) = %s: %v", one, document, err)
		}
		if value["s"] != one {
			t.Fatalf("text %q became %v", one, value["s"])
		}
		if _, text := value["i"].(string); !text && !json.Valid([]byte(one)) {
			t.Fatalf("%q became the number %v", one, value["i"])
		}
		if got, isBool := value["b"].(bool); isBool && one != map[bool]string{true: "true", false: "false"}[got] {
			t.Fatalf("%q became %v", one, got)
		}
		if list, ok := value["a"].([]any); !ok || len(list) != 2 {
			t.Fatalf("two values became %v", value["a"])
		}
	})
}

func TestRouteMethodsAreSorted(t *testing.T) {
	t.Parallel()
	_, allowed := mustRouted(t, map[string]string{"x": "http: [{method: PUT, path: /a}, {method: DELETE, path: /a}, {method: GET, path: /a}]\n"}).Route("POST", "a")
	if !slices.IsSorted(allowed) || len(allowed) != 3 {
		t.Errorf("allowed = %v", allowed)
	}
}
