package api

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"attune/envcache"
	"attune/gateway/execution"
	"attune/gateway/hook"
	"attune/gateway/key"
	"attune/gateway/openapi"
	"attune/gateway/pack"
	"attune/gateway/schedule"
	"attune/gateway/secret"
)

// showOpenAPI answers with the document of what the caller may see. It is open
// to all, and no scope is needed for it: without a key it has the routes, and the
// actions that are open as well.
func (s *Server) showOpenAPI(c *fiber.Ctx, call *call) error {
	if err := s.authenticate(&c.Request().Header, call, key.Read, time.Now()); err != nil {
		return err
	}
	document, err := s.document(call)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderETag, document.etag)
	c.Set(fiber.HeaderCacheControl, "private, no-cache")
	c.Set(fiber.HeaderVary, fiber.HeaderAuthorization)
	if matches(c.Get(fiber.HeaderIfNoneMatch), document.etag) {
		c.Status(fiber.StatusNotModified)
		return nil
	}
	c.Set(fiber.HeaderContentType, "application/json")
	c.Context().Response.SetBodyRaw(document.body)
	return nil
}

// matches tells whether an If-None-Match names an entity.
func matches(header, etag string) bool {
	for one := range strings.SplitSeq(header, ",") {
		one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
		if one == "*" || one == etag {
			return true
		}
	}
	return false
}

// document is the OpenAPI document for those who see the same.
type document struct {
	body []byte
	etag string
}

// maxDocuments bounds how many are kept of one catalog: keys may see it in many
// different ways.
const maxDocuments = 32

// documents keeps the documents of the present catalog.
type documents struct {
	mu      sync.Mutex
	catalog *pack.Catalog
	kept    map[[sha256.Size]byte]*document // by the refs of their actions
}

func (s *Server) document(call *call) (*document, error) {
	catalog := s.Catalog()
	seen := seenActions(call, catalog)
	hash := sha256.New()
	if call.key != nil {
		hash.Write([]byte("with a key\n")) // never fails
	}
	for _, action := range seen {
		hash.Write([]byte(action.Ref.String() + "\n"))
	}
	which := [sha256.Size]byte(hash.Sum(nil))
	d := &s.openapi
	d.mu.Lock()
	defer d.mu.Unlock() // the same document is not made twice at once
	if d.catalog != catalog || len(d.kept) >= maxDocuments {
		d.catalog, d.kept = catalog, map[[sha256.Size]byte]*document{}
	}
	if found := d.kept[which]; found != nil {
		return found, nil
	}
	body, err := openapi.Build(s.openAPISpec(seen, call.key != nil))
	if err != nil {
		return nil, fmt.Errorf("make the OpenAPI document: %w", err)
	}
	sum := sha256.Sum256(body)
	made := &document{body: body, etag: `"` + hex.EncodeToString(sum[:16]) + `"`}
	d.kept[which] = made
	return made, nil
}

// seenActions are the enabled actions that the caller may call or look at.
func seenActions(call *call, catalog *pack.Catalog) []*pack.Action {
	var seen []*pack.Action
	for _, action := range catalog.Actions() {
		if action.Enabled && (call.may(key.Invoke, action.Ref.String()) || call.may(key.Read, string(action.Ref.Pack))) {
			seen = append(seen, action)
		}
	}
	return seen
}

func (s *Server) openAPISpec(actions []*pack.Action, keys bool) openapi.Spec {
	spec := openapi.Spec{
		Version: s.Version, Server: s.BaseURL, Keys: keys, Later: []openapi.Answer{acceptedLater}, Actions: actions, ProblemOf: Problem{}, Parameters: documentedParameters,
		Enums: map[reflect.Type][]any{
			reflect.TypeFor[execution.Status](): values(statuses),
			reflect.TypeFor[envcache.State]():   values(environmentStates),
			reflect.TypeFor[pack.Format]():      values([]pack.Format{pack.FormatJSON, pack.FormatYAML, pack.FormatDotenv, pack.FormatText, pack.FormatJSONL}),
		},
	}
	spec.Names = map[reflect.Type]string{
		reflect.TypeFor[envcache.Status](): "Environment", reflect.TypeFor[secret.Entry](): "Secret",
		reflect.TypeFor[schedule.Entry](): "Schedule", reflect.TypeFor[schedule.Slot](): "ScheduleSlot", reflect.TypeFor[pack.Problem](): "Fault",
		reflect.TypeFor[letterPayload](): "DeadLetter", reflect.TypeFor[actionPayload](): "Action", reflect.TypeFor[invocation](): "HowToInvoke",
		reflect.TypeFor[hook.Entry](): "DeliverySummary",
	}
	for code, kind := range kinds {
		spec.Problems = append(spec.Problems, openapi.Problem{Code: code, Status: kind.status, Title: kind.title})
	}
	slices.SortFunc(spec.Problems, func(a, b openapi.Problem) int {
		return cmp.Or(cmp.Compare(a.Status, b.Status), cmp.Compare(a.Code, b.Code))
	})
	for _, r := range s.routes() {
		if !r.ofActions() { // an action's own routes are its operations
			spec.Operations = append(spec.Operations, r.operation())
		}
	}
	return spec
}

// ofActions tells whether a route stands for those that actions have.
func (r route) ofActions() bool { return strings.HasSuffix(r.pattern, "/*") }

// operation is a route as the document has it.
func (r route) operation() openapi.Operation {
	doc := routeDocs[r.method+" "+r.pattern]
	problems := doc.problems
	if r.verb != "" {
		problems = append(slices.Clone(problems), codeUnauthenticated, codeForbidden, codeRateLimited)
	}
	if len(r.query) > 0 {
		problems = append(slices.Clone(problems), codeInvalidQuery)
	}
	return openapi.Operation{
		Method: r.method, Path: r.pattern, Tag: doc.tag, Summary: doc.summary, Detail: doc.detail,
		Query: r.query, Headers: doc.headers, Body: doc.body, Answers: doc.answers, Problems: problems, Open: r.verb == "",
	}
}

var environmentStates = []envcache.State{
	envcache.StateAbsent, envcache.StateQueued, envcache.StateBuilding,
	envcache.StateReady, envcache.StateDegraded, envcache.StateFailed,
}

func values[T any](list []T) []any {
	all := make([]any, len(list))
	for i, v := range list {
		all[i] = v
	}
	return all
}
