package containertest

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"attune/runtimes/container"
)

func exerciseFind(t *testing.T, b *bench) {
	t.Run("in every state, until removed", func(t *testing.T) {
		spec := b.spec(blocks)
		spec.Labels = map[string]string{container.LabelGateway: b.gateway, container.LabelDigest: "d1", "empty": ""}
		c := Create(t, b.engine, spec)
		wantFound(t, b, spec.Labels, c)
		if err := c.Start(t.Context()); err != nil {
			t.Fatalf("Start(): %v", err)
		}
		wantFound(t, b, spec.Labels, c)
		b.fixture.Kill(t, c)
		wait(t, c)
		wantFound(t, b, spec.Labels, c)
		if err := c.Remove(t.Context()); err != nil {
			t.Fatalf("Remove(): %v", err)
		}
		wantFound(t, b, spec.Labels)
	})
	t.Run("only those with all labels", func(t *testing.T) {
		for _, digest := range []string{"d2", "d3"} {
			spec := b.spec("true")
			spec.Name = b.gateway + "-" + digest
			spec.Labels = map[string]string{container.LabelGateway: b.gateway, container.LabelDigest: digest}
			Create(t, b.engine, spec)
		}
		for want, labels := range map[string]map[string]string{
			"d2 d3": {container.LabelGateway: b.gateway},
			"d3":    {container.LabelGateway: b.gateway, container.LabelDigest: "d3"},
			"":      {container.LabelGateway: b.gateway, container.LabelDigest: "d"},
		} {
			if got := strings.ReplaceAll(strings.Join(found(t, b, labels), " "), b.gateway+"-", ""); got != want {
				t.Errorf("Find(%v) = %q, want %q", labels, got, want)
			}
		}
	})
	t.Run("what is found can be worked with", func(t *testing.T) {
		spec := b.spec("echo adopted; exit 8")
		spec.Labels = map[string]string{container.LabelGateway: b.gateway, container.LabelPack: "adopted"}
		made := Start(t, b.engine, spec)
		again, err := b.engine.Find(t.Context(), spec.Labels)
		if err != nil || len(again) != 1 {
			t.Fatalf("Find() = %v, %v", again, err)
		}
		c := again[0]
		for key, value := range spec.Labels {
			if c.Labels()[key] != value {
				t.Errorf("label %s = %q, want %q", key, c.Labels()[key], value)
			}
		}
		if c.ID() != made.ID() || wait(t, c).Code != 8 || logs(t, c) != "adopted\n" {
			t.Errorf("%s is not %s, or its end is another", c.ID(), made.ID())
		}
	})
}

func wantFound(t *testing.T, b *bench, labels map[string]string, want ...container.Container) {
	t.Helper()
	var names []string
	for _, c := range want {
		names = append(names, c.Name())
	}
	if got := found(t, b, labels); !slices.Equal(got, names) {
		t.Errorf("Find(%v) = %q, want %q", maps.Clone(labels), got, names)
	}
}

func found(t *testing.T, b *bench, labels map[string]string) (names []string) {
	t.Helper()
	all, err := b.engine.Find(t.Context(), labels)
	if err != nil {
		t.Fatalf("Find(): %v", err)
	}
	for _, c := range all {
		names = append(names, c.Name())
	}
	return names
}

// sorted puts lines in order, where it is not promised.
func sorted(lines string) string {
	return strings.Join(slices.Sorted(strings.SplitSeq(strings.TrimSpace(lines), "\n")), "\n")
}
