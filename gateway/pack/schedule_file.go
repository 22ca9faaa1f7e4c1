package pack

import (
	"cmp"
	"slices"
	"strings"

	"attune/runtimes/strictyaml"
)

const schedulesDir = "schedules"

// scheduleFile is schedules/<name>.yaml.
type scheduleFile struct {
	Ref        string         `yaml:"ref"`
	Action     string         `yaml:"action"`
	Cron       string         `yaml:"cron"`
	Every      string         `yaml:"every"`
	Timezone   string         `yaml:"timezone"`
	Jitter     string         `yaml:"jitter"`
	Misfire    string         `yaml:"misfire"`
	Overlap    string         `yaml:"overlap"`
	Parameters map[string]any `yaml:"parameters"`
	Enabled    *bool          `yaml:"enabled"`
}

// schedules reads all schedules of a pack, after its actions.
func (l *loader) schedules(pack *Pack) {
	find := func(ref ActionRef) (*Action, bool) {
		for _, action := range pack.Actions {
			if action.Ref == ref {
				return action, true
			}
		}
		return nil, false
	}
	first := map[ActionRef]string{} // the file that had the ref first
	for _, name := range l.tree.yamlFiles(schedulesDir) {
		schedule := l.schedule(name, find)
		if schedule == nil || schedule.Ref == (ActionRef{}) {
			continue
		}
		if before, twice := first[schedule.Ref]; twice {
			l.faults.Addf(name, 0, "ref %s is also that of %s", schedule.Ref, before)
			continue
		}
		first[schedule.Ref] = name
		pack.Schedules = append(pack.Schedules, schedule)
	}
	slices.SortFunc(pack.Schedules, func(a, b *Schedule) int { return cmp.Compare(a.Ref.Name, b.Ref.Name) })
}

func (l *loader) schedule(name string, find func(ActionRef) (*Action, bool)) *Schedule {
	var f scheduleFile
	doc := l.document(name, &f, nil)
	if doc == nil {
		return nil
	}
	spec := ScheduleSpec{
		Ref: f.Ref, Action: f.Action, Cron: f.Cron, Every: f.Every, Timezone: f.Timezone, Jitter: f.Jitter,
		Misfire: f.Misfire, Overlap: f.Overlap, Enabled: f.Enabled,
	}
	if f.Parameters != nil {
		var err error
		if spec.Parameters, err = compact(f.Parameters); err != nil {
			doc.Faultf(at("parameters"), "parameters can't be written as JSON")
		}
	}
	schedule := spec.read(find, func(where []string, detail string) { scheduleFault(doc, where, detail) })
	if l.ref != "" && schedule.Ref.Pack != "" && schedule.Ref.Pack != l.ref {
		doc.Faultf(at("ref"), "ref %s isn't in this pack: it must begin with %s.", schedule.Ref, l.ref)
	}
	return schedule
}

// scheduleFault says which key is meant, which its line alone doesn't.
func scheduleFault(doc *strictyaml.Document, where []string, detail string) {
	if len(where) == 0 {
		doc.Faultf(nil, "%s", detail)
		return
	}
	if len(where) == 1 && !doc.Has(where[0]) {
		doc.Faultf(nil, "%s is missing: it %s", where[0], detail)
		return
	}
	doc.Faultf(where, "%s %s", strings.Join(where, "."), detail)
}
