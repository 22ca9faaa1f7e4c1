package pack

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"attune/runtimes/strictyaml"
)

// Route is a method and a path of an action's own, below those of its pack.
type Route struct {
	Method   string
	Path     string            // "/orders/:id": a segment that begins with a colon is a parameter
	Headers  map[string]string // parameter → name of the header that it comes from
	Body     BodyMode
	Into     string // the parameter that the body becomes; empty = its members become parameters
	Envelope bool   // the result says status, headers and body of the answer
}

// BodyMode is how a route reads a request's body.
type BodyMode string

// Modes of a body.
const (
	BodyJSON   BodyMode = "json"
	BodyText   BodyMode = "text"   // as it is: UTF-8
	BodyBase64 BodyMode = "base64" // whatever bytes, in base64
	BodyNone   BodyMode = "none"   // there must be none
)

// RouteMethods are those that a route can have; GET is also HEAD.
var RouteMethods = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}

// Bounds of a route's path.
const (
	maxRoutePath     = 255
	maxRouteSegments = 16
)

var (
	routeLiteral   = regexp.MustCompile(`^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$`)
	routeParameter = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)
	headerName     = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,63}$`)
)

// routeFile is one entry of http, as it is written.
type routeFile struct {
	Method        string            `yaml:"method"`
	Path          string            `yaml:"path"`
	Headers       map[string]string `yaml:"headers"`
	Body          string            `yaml:"body"`
	BodyParameter string            `yaml:"body_parameter"`
	Response      string            `yaml:"response"`
}

// routes reads the http key of an action whose schema is known.
func (a *actionFile) routes(doc *strictyaml.Document, action *Action) []Route {
	var routes []Route
	for i, file := range a.HTTP {
		where := func(key string) []string { return at("http", strconv.Itoa(i), key) }
		route := Route{
			Method: strings.ToUpper(file.Method), Path: file.Path, Headers: file.Headers, Into: file.BodyParameter, Envelope: file.Response == "envelope",
		}
		if !slices.Contains(RouteMethods, route.Method) {
			doc.Faultf(where("method"), "http[%d]: method must be one of %s", i, strings.Join(RouteMethods, ", "))
		}
		if fault := checkRoutePath(file.Path); fault != "" {
			doc.Faultf(where("path"), "http[%d]: path %s", i, fault)
		}
		route.Body = file.mode(doc, i, route.Method)
		if file.Response != "" && file.Response != "result" && file.Response != "envelope" {
			doc.Faultf(where("response"), "http[%d]: response must be result or envelope", i)
		}
		if route.Envelope && action.OutputFormat != FormatJSON {
			doc.Faultf(where("response"), "http[%d]: response envelope needs output_format json", i)
		}
		route.check(doc, i, action.Parameters)
		for _, other := range routes {
			if other.shape() == route.shape() {
				doc.Faultf(where("path"), "http[%d]: %s %s is there twice", i, route.Method, route.Path)
			}
		}
		routes = append(routes, route)
	}
	return routes
}

// mode is how the body is read: where nothing is said, as JSON if the method has
// one.
func (r routeFile) mode(doc *strictyaml.Document, i int, method string) BodyMode {
	where := at("http", strconv.Itoa(i), "body")
	mode := BodyMode(r.Body)
	switch {
	case r.Body == "" && (method == "GET" || method == "DELETE"):
		mode = BodyNone
	case r.Body == "":
		mode = BodyJSON
	case !slices.Contains([]BodyMode{BodyJSON, BodyText, BodyBase64, BodyNone}, mode):
		doc.Faultf(where, "http[%d]: body must be json, text, base64 or none", i)
	case method == "GET" && mode != BodyNone:
		doc.Faultf(where, "http[%d]: a GET has no body", i)
	}
	switch {
	case (mode == BodyText || mode == BodyBase64) && r.BodyParameter == "":
		doc.Faultf(where, "http[%d]: body_parameter is missing: the parameter that the %s becomes", i, mode)
	case mode == BodyNone && r.BodyParameter != "":
		doc.Faultf(at("http", strconv.Itoa(i), "body_parameter"), "http[%d]: body_parameter is there, but no body", i)
	}
	return mode
}

// checkRoutePath says what is wrong with a path; empty = nothing.
func checkRoutePath(path string) string {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case path == "":
		return "is missing, for example /orders/:id"
	case !strings.HasPrefix(path, "/") || path == "/":
		return "must begin with / and name something, for example /orders/:id"
	case len(path) > maxRoutePath || len(segments) > maxRouteSegments:
		return fmt.Sprintf("may have %d characters and %d segments", maxRoutePath, maxRouteSegments)
	}
	var seen []string
	for _, segment := range segments {
		name, isParameter := strings.CutPrefix(segment, ":")
		switch {
		case isParameter && !routeParameter.MatchString(name):
			return "has a parameter whose name isn't a letter or _, then letters, digits and _"
		case isParameter && slices.Contains(seen, name):
			return "has a parameter twice"
		case !isParameter && !routeLiteral.MatchString(segment):
			return "must be made of segments of letters, digits and . _ ~ -, or :name, with one / before each"
		}
		if isParameter {
			seen = append(seen, name)
		}
	}
	return ""
}

// check looks at the parameters that a route fills.
func (r Route) check(doc *strictyaml.Document, i int, schema *Schema) {
	given := map[string]string{} // parameter → key
	give := func(name, key string, where []string, inURL bool) {
		switch {
		case given[name] != "":
			doc.Faultf(where, "http[%d]: parameter %s comes from two places, %s and %s", i, name, given[name], key)
		case !schema.knows(name):
			doc.Faultf(where, "http[%d]: %s has parameter %s, which the action doesn't declare", i, key, name)
		case inURL && slices.Contains(schema.Secrets(), name):
			doc.Faultf(where, "http[%d]: parameter %s is a secret, which doesn't belong into a URL: others log it", i, name)
		}
		given[name] = key
	}
	for _, segment := range r.segments() {
		if name, isParameter := strings.CutPrefix(segment, ":"); isParameter {
			give(name, "path", at("http", strconv.Itoa(i), "path"), true)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		where := at("http", strconv.Itoa(i), "headers", name)
		give(name, "headers", where, false)
		header := r.Headers[name]
		if lower := strings.ToLower(header); !headerName.MatchString(header) || lower == "authorization" || lower == "proxy-authorization" {
			doc.Faultf(where, "http[%d]: %s is no header that an action can have", i, quote(header))
		}
	}
	if r.Into != "" {
		give(r.Into, "body_parameter", at("http", strconv.Itoa(i), "body_parameter"), false)
	}
}

func (r Route) segments() []string { return strings.Split(strings.TrimPrefix(r.Path, "/"), "/") }

// shape is what two routes can't have in common: the names of parameters don't
// tell them apart.
func (r Route) shape() string {
	segments := r.segments()
	for i, segment := range segments {
		if strings.HasPrefix(segment, ":") {
			segments[i] = ":"
		}
	}
	return r.Method + " /" + strings.Join(segments, "/")
}

// match finds the parameters in a path, as it was sent, without its first /.
// False: it is another's, or has something in it that no value may be.
func (r Route) match(path string) (map[string]string, bool) {
	own, sent := r.segments(), strings.Split(path, "/")
	if len(own) != len(sent) {
		return nil, false
	}
	values := map[string]string{}
	for i, segment := range own {
		name, isParameter := strings.CutPrefix(segment, ":")
		if !isParameter {
			if segment != sent[i] {
				return nil, false
			}
			continue
		}
		value, err := url.PathUnescape(sent[i])
		if err != nil || value == "" || value == "." || value == ".." || !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
			return nil, false
		}
		values[name] = value
	}
	return values, true
}

// precedes tells which of two routes that match one path is meant: the one that
// has a literal where the other has a parameter, as far to the left as they
// differ.
func (r Route) precedes(other Route) bool {
	mine, theirs := r.segments(), other.segments()
	for i := range mine {
		a, b := strings.HasPrefix(mine[i], ":"), strings.HasPrefix(theirs[i], ":")
		if a != b {
			return b
		}
	}
	return false
}

// Routed is a request that has found its action.
type Routed struct {
	Action *Action
	Route  Route
	Path   map[string]string // the parameters in the path
}

// Route finds the action of a pack that a method and a path mean, as it was sent,
// without its first /. If there is none, allowed are the methods that the path has;
// none = there is nothing at that path.
func (p *Pack) Route(method, path string) (found *Routed, allowed []string) {
	for _, action := range p.Actions {
		if !action.Enabled {
			continue
		}
		for _, route := range action.HTTP {
			values, matches := route.match(path)
			if !matches {
				continue
			}
			allowed = append(allowed, route.Method)
			if route.Method == method && (found == nil || route.precedes(found.Route)) {
				found = &Routed{Action: action, Route: route, Path: values}
			}
		}
	}
	slices.Sort(allowed)
	return found, slices.Compact(allowed)
}

// clashes finds the routes of an action that an earlier one has.
func (l *loader) clashes(doc *strictyaml.Document, action *Action) {
	for i, route := range action.HTTP {
		shape := route.shape()
		if before, taken := l.shapes[shape]; taken && before != doc.Source {
			doc.Faultf(at("http", strconv.Itoa(i), "path"), "http[%d]: %s %s is also a route of %s", i, route.Method, route.Path, before)
			continue
		}
		l.shapes[shape] = doc.Source
	}
}
