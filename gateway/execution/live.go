package execution

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
)

// Live knows the executions of one gateway that have not ended. Safe for
// concurrent use.
type Live struct {
	mu      sync.RWMutex
	running map[string]*Running // by ID
}

// NewLive returns one without any execution.
func NewLive() *Live { return &Live{running: make(map[string]*Running)} }

// Begin takes an execution in, until End. cancel ends it; prepare sets its output
// up before anybody can follow it.
func (l *Live) Begin(x *Execution, limits Limits, cancel context.CancelCauseFunc, prepare ...func(*output)) *Running {
	r := newRunning(x, limits, cancel)
	for _, f := range prepare {
		f(r.out)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running[x.ID] = r
	return r
}

// End gives the readers of an execution its record, which kept stores before
// the execution is forgotten here: at any time it is found in one of the two.
func (l *Live) End(x *Execution, kept func()) {
	l.mu.RLock()
	r := l.running[x.ID]
	l.mu.RUnlock()
	if r != nil {
		r.finish(x)
	}
	kept()
	if r != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.running, x.ID)
	}
}

// Running finds an execution.
func (l *Live) Running(id string) (*Running, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	r, ok := l.running[id]
	return r, ok
}

// all are the executions at this moment.
func (l *Live) all() []*Running {
	l.mu.RLock()
	defer l.mu.RUnlock()
	all := make([]*Running, 0, len(l.running))
	for _, r := range l.running {
		all = append(all, r)
	}
	return all
}

// Summaries are the executions as they are now.
func (l *Live) Summaries() []*Execution {
	running := l.all()
	summaries := make([]*Execution, len(running))
	for i, r := range running {
		summaries[i] = r.Summary()
	}
	return summaries
}

// withLive adds what ran when the store was asked to the page that it has found:
// what has not ended is as it was here, not as the store was told.
func (p Page) withLive(query Query, live []*Execution) (Page, error) {
	if len(live) == 0 {
		return p, nil
	}
	here := make(map[string]*Execution, len(live))
	for _, x := range live {
		here[x.ID] = x
	}
	all := make([]*Execution, 0, len(p.Executions)+len(live))
	for _, x := range p.Executions {
		if here[x.ID] == nil || x.Status.Ended() {
			all = append(all, x)
			delete(here, x.ID)
		}
	}
	for _, x := range here {
		selected, err := query.selects(x, p.Next)
		if err != nil {
			return Page{}, err
		}
		if selected {
			all = append(all, x)
		}
	}
	slices.SortFunc(all, func(a, b *Execution) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(b.ID, a.ID))
	})
	page, err := NewPage(query, all)
	if page.Next == "" {
		page.Next = p.Next
	}
	return page, err
}

// selects tells whether an execution belongs on the page between the query's
// cursor and the next one, which is empty on the last page.
func (q Query) selects(x *Execution, next string) (bool, error) {
	if q.Action != "" && q.Action != x.Action || q.Status != "" && q.Status != x.Status || x.CreatedAt.Before(q.Since) {
		return false, nil
	}
	at, err := x.Position()
	if err != nil {
		return false, err
	}
	if q.Cursor != "" {
		after, err := ParseCursor(q.Cursor)
		if err != nil || at.compare(after) >= 0 {
			return false, err
		}
	}
	if next != "" {
		last, err := ParseCursor(next)
		if err != nil || at.compare(last) < 0 {
			return false, err
		}
	}
	return true, nil
}

func (p Position) compare(other Position) int {
	return cmp.Or(cmp.Compare(p.CreatedAt, other.CreatedAt), strings.Compare(p.ID, other.ID))
}
