package pack

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// Problem is one way in which a document doesn't fit its schema. The detail says
// what the schema wants, and never shows the value.
type Problem struct {
	Pointer string `json:"pointer"` // RFC 6901; empty = the document itself
	Detail  string `json:"detail"`
}

// Bounds of what is reported.
const (
	maxProblems = 50
	maxPointer  = 200
	maxChoices  = 300 // characters of a list of allowed values
)

// problems flattens a validation error: every leaf, sorted by where it is.
func problems(err error) []Problem {
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return []Problem{{Detail: "doesn't fit its schema"}}
	}
	var c collector
	c.collect(invalid)
	c.prune()
	return c.found
}

// collector keeps the first of all problems, by where they are.
type collector struct{ found []Problem }

func (c *collector) add(p Problem) {
	if c.found = append(c.found, p); len(c.found) >= 20*maxProblems {
		c.prune()
	}
}

// prune sorts what was found, and forgets what won't be reported.
func (c *collector) prune() {
	slices.SortFunc(c.found, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Pointer, b.Pointer), cmp.Compare(a.Detail, b.Detail))
	})
	c.found = slices.Compact(c.found)
	c.found = c.found[:min(len(c.found), maxProblems)]
}

func (c *collector) collect(e *jsonschema.ValidationError) {
	add := func(detail string, below ...string) {
		path := append(slices.Clip(e.InstanceLocation), below...)
		c.add(Problem{Pointer: pointer(path), Detail: detail})
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range k.Missing {
			add(missing, name)
		}
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			add("is not known here", name)
		}
	case *kind.PropertyNames:
		add("has a name that is not allowed", k.Property)
	case *kind.AnyOf, *kind.OneOf:
		add("fits none of the alternatives, or several where it may be one") // the branches would only confuse
	default:
		if len(e.Causes) == 0 {
			add(detail(e.ErrorKind))
		}
		for _, cause := range e.Causes {
			c.collect(cause)
		}
	}
}

// missing is the detail of a property that must be there.
const missing = "is required"

// detail says what the schema wants.
func detail(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return "must be of type " + strings.Join(k.Want, " or ")
	case *kind.Enum:
		return "must be one of " + list(k.Want)
	case *kind.Const:
		return "must be " + list([]any{k.Want})
	case *kind.Format:
		return "must be in the format " + k.Want
	case *kind.Pattern:
		return "must match the pattern " + k.Want
	case *kind.FalseSchema:
		return "is not allowed"
	case *kind.Not:
		return "is one of the things that it must not be"
	case *kind.UniqueItems:
		return "must not hold an item twice"
	case *kind.Contains, *kind.MinContains, *kind.MaxContains:
		return "doesn't hold the right number of certain items"
	case *kind.DependentRequired:
		return "needs a further property: " + strings.Join(k.Missing, ", ")
	}
	return cmp.Or(bound(k), "doesn't fit its schema")
}

// bound is the detail of a limit.
func bound(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Minimum:
		return "must be at least " + rational(k.Want)
	case *kind.Maximum:
		return "must be at most " + rational(k.Want)
	case *kind.ExclusiveMinimum:
		return "must be more than " + rational(k.Want)
	case *kind.ExclusiveMaximum:
		return "must be less than " + rational(k.Want)
	case *kind.MultipleOf:
		return "must be a multiple of " + rational(k.Want)
	case *kind.MinLength:
		return "must have at least " + counted(k.Want, "character")
	case *kind.MaxLength:
		return "must have at most " + counted(k.Want, "character")
	case *kind.MinItems:
		return "must have at least " + counted(k.Want, "item")
	case *kind.MaxItems:
		return "must have at most " + counted(k.Want, "item")
	case *kind.AdditionalItems:
		return "has " + counted(k.Count, "item") + " too many"
	case *kind.MinProperties:
		return "must have at least " + counted(k.Want, "key")
	case *kind.MaxProperties:
		return "must have at most " + counted(k.Want, "key")
	}
	return ""
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

func rational(r *big.Rat) string {
	value, _ := r.Float64()
	return strconv.FormatFloat(value, 'g', -1, 64)
}

func list(values []any) string {
	words := make([]string, len(values))
	for i, value := range values {
		encoded, err := compact(value)
		if err != nil {
			encoded = []byte("?")
		}
		words[i] = string(encoded)
	}
	text := strings.Join(words, ", ")
	if len(text) > maxChoices {
		return fmt.Sprintf("%d allowed values", len(values))
	}
	return text
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// pointer is a JSON Pointer, cut where a caller has made it absurdly long.
func pointer(path []string) string {
	var out strings.Builder
	for _, step := range path {
		out.WriteByte('/')
		out.WriteString(pointerEscapes.Replace(step))
		if out.Len() > maxPointer {
			return strings.ToValidUTF8(out.String()[:maxPointer], "") + "…"
		}
	}
	return out.String()
}
