package containertest

import (
	"errors"
	"testing"

	"attune/runtimes/container"
)

func exerciseNames(t *testing.T, b *bench) {
	t.Run("a name is taken until its container is removed", func(t *testing.T) {
		spec := b.spec("true")
		spec.Name = b.gateway + "-name"
		first := Start(t, b.engine, spec)
		if first.Name() != spec.Name {
			t.Errorf("Name() = %q, want %q", first.Name(), spec.Name)
		}
		wantTaken(t, b.engine, spec)
		wait(t, first)
		wantTaken(t, b.engine, spec)
		if err := first.Remove(t.Context()); err != nil {
			t.Fatalf("Remove(): %v", err)
		}
		if second := Create(t, b.engine, spec); second.ID() == first.ID() {
			t.Error("two containers have one ID")
		}
	})
	t.Run("without a name there is one", func(t *testing.T) {
		one, other := Create(t, b.engine, b.spec("true")), Create(t, b.engine, b.spec("true"))
		if one.Name() == "" || one.Name() == other.Name() {
			t.Errorf("names are %q and %q", one.Name(), other.Name())
		}
	})
}

func wantTaken(t *testing.T, engine container.Engine, spec container.Spec) {
	t.Helper()
	if _, err := engine.Create(t.Context(), spec); !errors.Is(err, container.ErrNameTaken) {
		t.Errorf("Create(): %v, want ErrNameTaken", err)
	}
}
