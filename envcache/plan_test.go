package envcache

import (
	"slices"
	"testing"
)

func TestPlanBuildsEverythingInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	told := newEvents()
	c := r.gateway(t, func(o *Options) {
		o.Limits.Concurrency = 1
		o.Events = told.take
	})
	var recipes []*Recipe
	for _, ref := range []string{"one", "two", "three"} {
		recipe := r.recipe(t, "true")
		recipe.Pack = ref
		recipes = append(recipes, recipe)
	}
	c.Plan(recipes)
	c.Plan(recipes) // twice is once
	for _, recipe := range recipes {
		waitState(t, c, recipe, StateReady)
	}
	r.engine.wantBuilders(t, 3)
	var order []string
	for _, e := range told.list {
		if e.Phase == PhasePublished {
			order = append(order, e.Pack)
		}
	}
	if !slices.Equal(order, []string{"one", "two", "three"}) {
		t.Errorf("built in the order %v", order)
	}
	r.nothingLeft(t)
}

// What is planned is queued, and a caller doesn't wait for its turn in the plan.
func TestPlannedIsQueuedAndCallersGoFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	told := newEvents()
	g := newGate(t)
	c := r.gateway(t, func(o *Options) {
		o.Limits.Concurrency = 1
		o.Events = told.take
	})
	var recipes []*Recipe
	for _, ref := range []string{"one", "two", "three"} {
		recipe := r.recipe(t, "true")
		recipe.Pack = ref
		recipes = append(recipes, recipe)
	}
	recipes[0].Runtime = r.recipe(t, g.wait()).Runtime
	c.Plan(recipes)
	told.await(t, func(e Event) bool { return e.Pack == "one" && e.Line == "waiting" })
	for _, recipe := range recipes[1:] {
		wantStatus(t, c, recipe, StateQueued)
	}
	if _, err := c.join(recipes[2]); err != nil { // a caller of the last
		t.Fatal(err)
	}
	told.await(t, func(e Event) bool { return e.Pack == "three" && e.Phase == PhaseQueued })
	g.open(t)
	for _, recipe := range recipes {
		waitState(t, c, recipe, StateReady)
	}
	var order []string
	for _, e := range told.list {
		if e.Phase == PhaseCreate {
			order = append(order, e.Pack)
		}
	}
	if !slices.Equal(order, []string{"one", "three", "two"}) {
		t.Errorf("built in the order %v, want the caller's before the plan's", order)
	}
	r.engine.wantBuilders(t, 3)
}
