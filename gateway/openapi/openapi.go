// Package openapi writes the OpenAPI 3.1 document of the gateway: of the routes
// that it is told of, and of every action, from the schemas of its pack.
//
// It is a pure function of what it is given. Schemas of actions are parts of the
// document as their authors wrote them; those of the gateway's own answers are
// read off the Go types that are encoded.
package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"attune/gateway/pack"
)

// Object is a JSON object.
type Object = map[string]any

// Spec is what a document is made of.
type Spec struct {
	Version    string // of the gateway
	Server     string // base URL
	Keys       bool   // whether callers need one
	Operations []Operation
	Actions    []*pack.Action // that the reader may see
	Later      []Answer       // of an action, beside its result: what a call is told that isn't run at once
	Problems   []Problem
	ProblemOf  any // a value of the type of a problem's body
	// Parameters by "in:name", "query:limit" for example; "in:path:name" is for
	// one path alone.
	Parameters map[string]Parameter
	Enums      map[reflect.Type][]any  // the values of types that have few
	Names      map[reflect.Type]string // of the schemas of types whose own name says too little
}

// Operation is one method of one path.
type Operation struct {
	Method  string
	Path    string // "/packs/:ref"
	Tag     string
	Summary string   // one line
	Detail  string   // Markdown; empty = the summary says it all
	Query   []string // names in Spec.Parameters, as those of the path are
	Headers []string // likewise
	Body    any      // a struct that its JSON body is encoded from, or an Object that is its schema; nil = none
	Answers []Answer
	// Problems are the codes that it may answer with, beside those that every
	// operation has.
	Problems []string
	Open     bool // needs no key
}

// Answer is a way in which an operation succeeds.
type Answer struct {
	Status  int
	Detail  string
	Media   []string // the first is the usual one; empty = no body
	Body    any      // a value of the type of its JSON, or an Object that is its schema; nil = any text
	Headers []string // names in headers.go
}

// Problem is one of the problems that there are.
type Problem struct {
	Code   string
	Status int
	Title  string
}

// Parameter is a part of a path, of a query, or a header.
type Parameter struct {
	Detail  string
	Schema  Object
	Example any
}

// Build writes the document. It is the same for the same Spec, byte by byte.
func Build(spec Spec) ([]byte, error) {
	b := &builder{spec: spec, schemas: Object{}, paths: Object{}}
	problem := b.of(spec.ProblemOf)
	for _, op := range spec.Operations {
		item := b.item(op.Path)
		item[strings.ToLower(op.Method)] = b.operation(op)
	}
	for _, action := range spec.Actions {
		if err := b.action(action); err != nil {
			return nil, fmt.Errorf("describe %s: %w", action.Ref, err)
		}
	}
	document := Object{
		"openapi":           "3.1.0",
		"jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
		"info": Object{
			"title": "Attune Gateway", "version": spec.Version,
			"description": "Every action of every pack, and the gateway's own API. Errors are problems of RFC 9457.",
			"license":     Object{"name": "MIT", "identifier": "MIT"},
		},
		"servers":  []any{Object{"url": spec.Server}},
		"tags":     b.tags(),
		"paths":    b.paths,
		"security": b.security(),
		"components": Object{
			"schemas":   b.schemas,
			"responses": b.responses(problem),
			"headers":   headers,
			"securitySchemes": Object{"key": Object{
				"type": "http", "scheme": "bearer",
				"description": "An API key, where the gateway has any.",
			}},
		},
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(document); err != nil {
		return nil, fmt.Errorf("encode the document: %w", err)
	}
	return out.Bytes(), nil
}

// security says that a key is needed, or that it is not but may be sent.
func (b *builder) security() []any {
	needed := []any{Object{"key": []any{}}}
	if b.spec.Keys {
		return needed
	}
	return append(needed, Object{})
}

// builder collects a document.
type builder struct {
	spec    Spec
	schemas Object
	paths   Object
}

func (b *builder) item(path string) Object {
	path = pathParameter.ReplaceAllString(path, "{$1}")
	item, ok := b.paths[path].(Object)
	if !ok {
		item = Object{}
		b.paths[path] = item
	}
	return item
}

// pathParameter is a parameter as the router spells it.
var pathParameter = regexp.MustCompile(`:([a-z]+)`)

// tags lists the groups in the order in which they come first.
func (b *builder) tags() []any {
	var names []string
	note := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, op := range b.spec.Operations {
		note(op.Tag)
	}
	for _, action := range b.spec.Actions {
		note(actionTag(action))
	}
	tags := make([]any, len(names))
	for i, name := range names {
		tags[i] = Object{"name": name}
	}
	return tags
}
