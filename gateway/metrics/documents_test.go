package metrics

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"attune/runtimes/strictyaml"
)

var (
	metricName = regexp.MustCompile(`\b(attune|process|go)_[a-z0-9_]+`)
	selector   = regexp.MustCompile(`\b((?:attune|process|go)_[a-z0-9_]+)\{([^}]*)\}`)
	labelName  = regexp.MustCompile(`([a-z_]+)(?:=|!=|=~|!~)"`)
	grouping   = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

// exposed are the labels of every series that there is, by its name.
func exposed(t *testing.T) map[string]map[string]bool {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text(t, everything(t))))
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]map[string]bool{}
	for name, family := range families {
		labels := map[string]bool{"job": true, "instance": true} // of the scrape
		for _, metric := range family.GetMetric() {
			for _, pair := range metric.GetLabel() {
				labels[pair.GetName()] = true
			}
		}
		series[name] = labels
		if family.GetType().String() == "HISTOGRAM" {
			labels["le"] = true
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				series[name+suffix] = labels
			}
		}
	}
	return series
}

// checkQuery compares a query with what there is. It returns the names in it.
func checkQuery(t *testing.T, where, query string, series map[string]map[string]bool) []string {
	t.Helper()
	known := map[string]bool{}
	names := metricName.FindAllString(query, -1)
	if len(names) == 0 {
		t.Errorf("%s: %q asks for nothing of ours", where, query)
	}
	for _, name := range names {
		if series[name] == nil {
			t.Errorf("%s: there is no metric %s", where, name)
		}
		for label := range series[name] {
			known[label] = true
		}
	}
	for _, match := range selector.FindAllStringSubmatch(query, -1) {
		for _, label := range labelName.FindAllStringSubmatch(match[2], -1) {
			if !series[match[1]][label[1]] {
				t.Errorf("%s: %s has no label %s", where, match[1], label[1])
			}
		}
	}
	for _, match := range grouping.FindAllStringSubmatch(query, -1) {
		for label := range strings.SplitSeq(match[1], ",") {
			if !known[strings.TrimSpace(label)] {
				t.Errorf("%s: %q groups by %s, which nothing in it has", where, query, label)
			}
		}
	}
	for _, pair := range []string{"()", "{}", "[]"} {
		if strings.Count(query, pair[:1]) != strings.Count(query, pair[1:]) {
			t.Errorf("%s: %q has an unbalanced %s", where, query, pair)
		}
	}
	return names
}

// TestDashboardAsksForWhatThereIs, and leaves nothing of ours out.
func TestDashboardAsksForWhatThereIs(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../docs/grafana/attune.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Title  string `json:"title"`
		Panels []struct {
			ID      int    `json:"id"`
			Type    string `json:"type"`
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
		Templating struct {
			List []struct {
				Name  string `json:"name"`
				Query any    `json:"query"`
			} `json:"list"`
		} `json:"templating"`
	}
	if err := json.Unmarshal(content, &dashboard); err != nil {
		t.Fatal(err)
	}
	series, asked, ids := exposed(t), map[string]bool{}, map[int]bool{}
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] || panel.Title == "" || (panel.Type != "row" && len(panel.Targets) == 0) {
			t.Errorf("panel %d %q: want an ID of its own, a title and a query", panel.ID, panel.Title)
		}
		ids[panel.ID] = true
		for _, target := range panel.Targets {
			query := strings.ReplaceAll(target.Expr, "$__rate_interval", "5m")
			for _, name := range checkQuery(t, panel.Title, query, series) {
				asked[name] = true
			}
		}
	}
	for _, variable := range dashboard.Templating.List {
		if query, ok := variable.Query.(map[string]any); ok {
			checkQuery(t, "variable "+variable.Name, fmt.Sprint(query["query"]), series)
		}
	}
	for name := range series {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		if strings.HasPrefix(name, namespace) && name != "attune_build_info" && !slices.ContainsFunc([]string{"", "_bucket", "_sum", "_count"}, func(s string) bool { return asked[base+s] }) &&
			base != "attune_http_request_duration_seconds" { // of actions there is a better one
			t.Errorf("no panel shows %s", name)
		}
	}
}

// alertRules is a file of rules as Prometheus reads it.
type alertRules struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []struct {
			Alert       string            `yaml:"alert"`
			Expr        string            `yaml:"expr"`
			For         string            `yaml:"for"`
			Labels      map[string]string `yaml:"labels"`
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

func TestAlertsAskForWhatThereIs(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../docs/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules alertRules
	var faults strictyaml.Faults
	strictyaml.Read("alerts.yaml", content, &rules, &faults, strictyaml.Options{})
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	series, names := exposed(t), map[string]bool{}
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			checkQuery(t, rule.Alert, rule.Expr, series)
			if names[rule.Alert] || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("alert %q: want a name of its own, a severity, a summary and a description", rule.Alert)
			}
			names[rule.Alert] = true
		}
	}
	if len(names) < 5 {
		t.Errorf("only %d alerts", len(names))
	}
}
