package queuetest

import (
	"slices"
	"testing"
	"time"

	"attune/gateway/execution"
	"attune/gateway/queue"
)

func testTurns(t *testing.T, p Pair) {
	for range 6 {
		p.mustAdd(t, job("loud.run"), job("loud.other"))
	}
	p.mustAdd(t, job("quiet.run"), job("quiet.run"), job("third.run"))
	turns := map[string]int{}
	for _, c := range p.claim(t, queue.Ask{Owner: "a", Most: 5}) {
		turns[record(c.Entry, execution.StatusQueued).Pack]++
	}
	if turns["loud"] != 2 || turns["quiet"] != 2 || turns["third"] != 1 {
		t.Errorf("the first five claims are of %v, want two of loud and quiet each, one of third", turns)
	}
	if got := len(p.claim(t, queue.Ask{Owner: "a", Most: 100})); got != 10 {
		t.Errorf("%d jobs were left, want 10", got)
	}
}

func testPriorities(t *testing.T, p Pair) {
	prioritized := func(priority queue.Priority) queue.Addition {
		return job("demo.run", func(a *queue.Addition) { a.Priority = priority })
	}
	low, normal, high := prioritized(queue.PriorityLow), prioritized(queue.PriorityNormal), prioritized(queue.PriorityHigh)
	p.mustAdd(t, low, normal, high)
	got := ids(p.claim(t, queue.Ask{Owner: "a", Most: 10}))
	if want := []string{high.ID, normal.ID, low.ID}; !slices.Equal(got, want) {
		t.Errorf("Claim() = %v, want high, normal, low: %v", got, want)
	}
	if first, then := queue.PriorityHigh.HeadStart(), queue.PriorityLow.HeadStart(); first != time.Minute || then != -time.Minute {
		t.Errorf("head starts are %v and %v, want a minute", first, then)
	}
	// In the order in which they came.
	same := []queue.Addition{prioritized(0), prioritized(0), prioritized(0)}
	for i := range same {
		p.mustAdd(t, same[i])
		time.Sleep(2 * time.Millisecond) // the rank is in milliseconds, and IDs of one millisecond are random
	}
	got = ids(p.claim(t, queue.Ask{Owner: "a", Most: 10}))
	if want := []string{same[0].ID, same[1].ID, same[2].ID}; !slices.Equal(got, want) {
		t.Errorf("Claim() = %v, want %v", got, want)
	}
}

func testActionBound(t *testing.T, p Pair) {
	p.mustAdd(t, job("demo.narrow"), job("demo.narrow"), job("demo.narrow"), job("demo.wide"), job("demo.wide"), job("demo.paused"))
	ask := queue.Ask{Owner: "a", Most: 10, Actions: map[string]int{"demo.narrow": 1, "demo.paused": 0}}
	claims := p.claim(t, ask)
	count := map[string]int{}
	for _, c := range claims {
		count[c.Action]++
	}
	if count["demo.narrow"] != 1 || count["demo.wide"] != 2 || count["demo.paused"] != 0 {
		t.Fatalf("Claim() = %v, want one narrow and two wide", count)
	}
	ask.Owner = "b"
	if got := p.claim(t, ask); len(got) != 0 {
		t.Errorf("another worker claims %v beyond the bound", ids(got))
	}
	for _, c := range claims {
		if c.Action == "demo.narrow" {
			if err := p.Jobs.Done(t.Context(), c, record(c.Entry, execution.StatusSucceeded)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := p.claim(t, ask); len(got) != 1 || got[0].Action != "demo.narrow" {
		t.Errorf("after the end of one Claim() = %v, want the next", ids(got))
	}
}

func testKeyBound(t *testing.T, p Pair) {
	of := func(caller string) queue.Addition {
		return job("demo.run", func(a *queue.Addition) { a.Caller = caller })
	}
	p.mustAdd(t, of("greedy"), of("greedy"), of("greedy"), of("modest"), of(""), of(""), of(""))
	ask := queue.Ask{Owner: "a", Most: 10, PerKey: 2}
	count := map[string]int{}
	claims := p.claim(t, ask)
	for _, c := range claims {
		count[c.Caller]++
	}
	if count["greedy"] != 2 || count["modest"] != 1 || count[""] != 3 {
		t.Fatalf("Claim() = %v, want two of greedy, one of modest, three of nobody", count)
	}
	for _, c := range claims {
		if err := p.Jobs.Again(t.Context(), c, record(c.Entry, execution.StatusQueued), time.Hour, false); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.claim(t, ask); len(got) != 1 || got[0].Caller != "greedy" {
		t.Errorf("after the others were put back Claim() = %v, want greedy's third", ids(got))
	}
}
