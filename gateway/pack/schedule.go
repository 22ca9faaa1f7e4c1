package pack

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"attune/gateway/calendar"
)

// Schedule calls an action of its pack again and again.
type Schedule struct {
	Ref        ActionRef // pack.name, in the grammar of an action's
	Action     *Action
	Calendar   *calendar.Calendar
	Jitter     time.Duration // each run is later by less than this
	Misfire    Misfire
	Overlap    Overlap
	Parameters json.RawMessage // an object; defaults are filled in at the call
	Enabled    bool            // resolved: false where its pack or action is disabled, too
	Spec       ScheduleSpec    // as it was written
}

// Misfire is what becomes of slots that passed while no gateway was there.
type Misfire string

const (
	MisfireSkip Misfire = "skip" // nothing
	MisfireOnce Misfire = "once" // one run for all of them
)

// Overlap is what becomes of a slot whose predecessor's run has not ended.
type Overlap string

const (
	OverlapAllow   Overlap = "allow"   // both run
	OverlapSkip    Overlap = "skip"    // the slot is left out
	OverlapReplace Overlap = "replace" // the run is cancelled
)

// MaxJitter bounds how much later than its slot a run may be.
const MaxJitter = time.Hour

// ScheduleSpec is a schedule as people write it: in schedules/<name>.yaml, or as
// a document of the API.
type ScheduleSpec struct {
	Ref        string          `json:"ref"`
	Action     string          `json:"action"`
	Cron       string          `json:"cron,omitempty"`
	Every      string          `json:"every,omitempty"` // seconds, or a duration
	Timezone   string          `json:"timezone,omitempty"`
	Jitter     string          `json:"jitter,omitempty"`
	Misfire    string          `json:"misfire,omitempty"`
	Overlap    string          `json:"overlap,omitempty"`
	Parameters json.RawMessage `json:"parameters,omitempty"`
	Enabled    *bool           `json:"enabled,omitempty"`
}

// ParseScheduleSpec reads a document of the API, strictly. The error wraps
// ErrInvalidJSON; the problems are members that don't exist or have the wrong
// type. Whether what they say makes sense is Catalog.Schedule's to tell.
func ParseScheduleSpec(document []byte) (spec ScheduleSpec, problems []Problem, err error) {
	value, err := parseDocument(document)
	if err != nil {
		return spec, nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return spec, []Problem{{Detail: "must be an object"}}, nil
	}
	texts := map[string]*string{
		"ref": &spec.Ref, "action": &spec.Action, "cron": &spec.Cron, "every": &spec.Every, "timezone": &spec.Timezone,
		"jitter": &spec.Jitter, "misfire": &spec.Misfire, "overlap": &spec.Overlap,
	}
	for name, value := range object {
		where, ok := pointer([]string{name}), true
		switch {
		case texts[name] != nil:
			if *texts[name], ok = value.(string); !ok {
				problems = append(problems, Problem{where, "must be a string"})
			}
		case name == "enabled":
			var enabled bool
			if enabled, ok = value.(bool); !ok {
				problems = append(problems, Problem{where, "must be true or false"})
			}
			spec.Enabled = &enabled
		case name == "parameters":
			if spec.Parameters, err = compact(value); err != nil {
				return spec, nil, err
			}
		default:
			problems = append(problems, Problem{Detail: "has a member that a schedule does not have"})
		}
	}
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Pointer, b.Pointer) })
	return spec, problems, nil
}

// Schedule makes a schedule of what an operator wrote. The problems say what is
// wrong with it; then there is no schedule.
func (c *Catalog) Schedule(spec ScheduleSpec) (*Schedule, []Problem) {
	var problems []Problem
	schedule := spec.read(c.Action, func(where []string, detail string) {
		problems = append(problems, Problem{pointer(where), detail})
	})
	if len(problems) > 0 {
		return nil, problems
	}
	return schedule, nil
}

// Schedules lists the schedules in the files of all packs by ref.
func (c *Catalog) Schedules() []*Schedule {
	var all []*Schedule
	for _, pack := range c.packs {
		all = append(all, pack.Schedules...)
	}
	return all
}

// read checks everything, and tells fault of what is wrong. Details are fixed
// texts, which show nothing of the spec.
func (s ScheduleSpec) read(find func(ActionRef) (*Action, bool), fault func(where []string, detail string)) *Schedule {
	schedule := &Schedule{Spec: s}
	var err error
	if schedule.Ref, err = ParseActionRef(s.Ref); err != nil {
		fault(at("ref"), "must be pack.name, each a lower-case letter and up to 62 of a-z, 0-9, _ and -")
	}
	s.when(schedule, fault)
	schedule.Misfire = oneOf(s.Misfire, "misfire", fault, MisfireSkip, MisfireOnce)
	schedule.Overlap = oneOf(s.Overlap, "overlap", fault, OverlapAllow, OverlapSkip, OverlapReplace)
	called, err := ParseActionRef(s.Action)
	if err != nil {
		fault(at("action"), "must be pack.action")
		return schedule
	}
	if schedule.Ref.Pack != "" && called.Pack != schedule.Ref.Pack {
		fault(at("action"), "must be an action of the schedule's own pack")
		return schedule
	}
	action, found := find(called)
	if !found {
		fault(at("action"), "is not an action of this pack")
		return schedule
	}
	schedule.Action = action
	schedule.Enabled = action.Enabled && (s.Enabled == nil || *s.Enabled)
	if schedule.Parameters = s.Parameters; len(schedule.Parameters) == 0 {
		schedule.Parameters = json.RawMessage("{}")
	}
	s.parameters(action.Parameters, fault)
	return schedule
}

// when reads the calendar and the jitter.
func (s ScheduleSpec) when(schedule *Schedule, fault func(where []string, detail string)) {
	var err error
	switch {
	case (s.Cron == "") == (s.Every == ""):
		fault(nil, "needs cron or every, one of them")
		return
	case s.Cron != "":
		schedule.Calendar, err = calendar.Cron(s.Cron, s.Timezone)
	default:
		if s.Timezone != "" {
			fault(at("timezone"), "is for cron: every counts from the beginning of 1970, UTC")
		}
		interval, failed := seconds(s.Every)
		if failed != nil {
			interval = 0
		}
		schedule.Calendar, err = calendar.Every(interval)
	}
	if err != nil {
		key := map[bool]string{true: "cron", false: "every"}[s.Cron != ""]
		if errors.Is(err, calendar.ErrZone) {
			key = "timezone"
		}
		fault(at(key), err.Error())
		return
	}
	if s.Jitter == "" {
		return
	}
	schedule.Jitter, err = seconds(s.Jitter)
	switch {
	case err != nil || schedule.Jitter < 0 || schedule.Jitter > MaxJitter:
		fault(at("jitter"), fmt.Sprintf("must be seconds or a duration up to %v, for example 30 or 5m", MaxJitter))
	case schedule.Jitter > shortest(schedule.Calendar):
		fault(at("jitter"), "is longer than the time between two runs")
	}
}

// shortest is the least time between two slots, as far as one can see.
func shortest(c *calendar.Calendar) time.Duration {
	if c.Interval() > 0 {
		return c.Interval()
	}
	const looked = 50
	least, slot := MaxJitter, c.Next(time.Now())
	for range looked {
		next := c.Next(slot)
		if next.IsZero() {
			break
		}
		least, slot = min(least, next.Sub(slot)), next
	}
	return least
}

// parameters checks them as a call would be checked. Secrets come from the
// store: a file is none, and neither is a document that everybody may see who
// may see the schedule.
func (s ScheduleSpec) parameters(schema *Schema, fault func(where []string, detail string)) {
	if schema == nil {
		return // of an action that has a fault
	}
	var object map[string]json.RawMessage
	if len(s.Parameters) > 0 && json.Unmarshal(s.Parameters, &object) == nil {
		for _, name := range schema.Secrets() {
			if _, given := object[name]; given {
				fault(at("parameters", name), "is a secret, which everybody could see here: store it (attune secret set)")
			}
		}
	}
	_, problems, err := schema.Apply(s.Parameters)
	if err != nil {
		fault(at("parameters"), err.Error())
	}
	for _, problem := range schema.withoutMissingSecrets(problems) {
		where := strings.Split(problem.Pointer, "/")[1:]
		if problem.Pointer == "" {
			where = nil
		}
		for i, step := range where {
			where[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		}
		fault(append(at("parameters"), where...), problem.Detail)
	}
}

// oneOf reads a word that is one of a few; empty means the first.
func oneOf[T ~string](word, key string, fault func(where []string, detail string), known ...T) T {
	if word == "" {
		return known[0]
	}
	if slices.Contains(known, T(word)) {
		return T(word)
	}
	words := make([]string, len(known))
	for i, k := range known {
		words[i] = string(k)
	}
	fault(at(key), "must be one of "+strings.Join(words, ", "))
	return known[0]
}
