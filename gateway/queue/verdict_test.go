package queue

import (
	"testing"
	"time"

	"attune/gateway/execution"
	"attune/gateway/pack"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	retry := pack.Retry{Attempts: 3, Min: time.Second, Max: 4 * time.Second, On: []string{execution.CodeActionFailed}}
	failure := func(code string, retryable, started bool, after time.Duration) *execution.Error {
		return &execution.Error{Failure: execution.Failure{Code: code, Retryable: retryable, Started: started}, RetryAfter: after}
	}
	again, uncounted := verdict{status: execution.StatusQueued}, verdict{status: execution.StatusQueued, uncounted: true}
	ends := func(status execution.Status) verdict { return verdict{status: status} }
	for name, test := range map[string]struct {
		failure *execution.Error
		s       situation
		want    verdict
		least   time.Duration // of the pause
		most    time.Duration
	}{
		"success":                           {nil, situation{attempt: 3}, ends(execution.StatusSucceeded), 0, 0},
		"success though cancelled":          {nil, situation{attempt: 1, cancelled: true}, ends(execution.StatusSucceeded), 0, 0},
		"named by the action":               {failure(execution.CodeActionFailed, false, true, 0), situation{attempt: 1}, again, 0, time.Second},
		"named, second":                     {failure(execution.CodeActionFailed, false, true, 0), situation{attempt: 2}, again, 0, 2 * time.Second},
		"named, last":                       {failure(execution.CodeActionFailed, false, true, 0), situation{attempt: 3}, ends(execution.StatusDead), 0, 0},
		"not named":                         {failure(execution.CodeBadOutput, false, true, 0), situation{attempt: 1}, ends(execution.StatusFailed), 0, 0},
		"timed out":                         {failure(execution.CodeTimedOut, false, true, 0), situation{attempt: 1}, ends(execution.StatusTimedOut), 0, 0},
		"says so itself":                    {failure(execution.CodeInstanceLost, true, false, 0), situation{attempt: 1}, again, 0, time.Second},
		"says when":                         {failure(execution.CodeEnvironmentFailed, true, false, 9*time.Second), situation{attempt: 1}, again, 9 * time.Second, 9 * time.Second},
		"a pack that is gone":               {failure(execution.CodeNotFound, false, false, 0), situation{attempt: 1}, again, 0, time.Second},
		"a pack that stays gone":            {failure(execution.CodeNotFound, false, false, 0), situation{attempt: 3}, ends(execution.StatusDead), 0, 0},
		"environment being built":           {failure(execution.CodeEnvironmentBuild, true, false, 4*time.Second), situation{attempt: 3}, uncounted, 4 * time.Second, 5 * time.Second},
		"overloaded":                        {failure(execution.CodeOverloaded, true, false, 0), situation{attempt: 3}, uncounted, time.Second, 1250 * time.Millisecond},
		"overloaded for too long":           {failure(execution.CodeOverloaded, true, false, 0), situation{attempt: 1, tooOld: true}, ends(execution.StatusDead), 0, 0},
		"cut by the stop":                   {failure(execution.CodeCancelled, false, true, 0), situation{attempt: 3, stopping: true}, uncounted, 0, 0},
		"cancelled":                         {failure(execution.CodeCancelled, false, true, 0), situation{attempt: 1, cancelled: true}, ends(execution.StatusCancelled), 0, 0},
		"cancelled while it waits":          {failure(execution.CodeOverloaded, true, false, 0), situation{attempt: 1, cancelled: true}, ends(execution.StatusCancelled), 0, 0},
		"cancelled, but failed by itself":   {failure(execution.CodeActionFailed, false, true, 0), situation{attempt: 1, cancelled: true}, ends(execution.StatusFailed), 0, 0},
		"cancelled and cut by the stop":     {failure(execution.CodeDraining, false, true, 0), situation{attempt: 1, cancelled: true, stopping: true}, ends(execution.StatusCancelled), 0, 0},
		"cut by a caller that there isn't":  {failure(execution.CodeCancelled, false, true, 0), situation{attempt: 1}, ends(execution.StatusCancelled), 0, 0},
		"started, then the engine was away": {failure(execution.CodeEngineUnavailable, true, true, 0), situation{attempt: 1}, again, 0, time.Second},
	} {
		test.s.retry = retry
		for range 20 { // pauses are random
			got := judge(test.failure, test.s)
			if got.after < test.least || got.after > test.most {
				t.Errorf("%s: pause %v, want %v to %v", name, got.after, test.least, test.most)
			}
			got.after = 0
			if got != test.want {
				t.Errorf("%s: judge() = %+v, want %+v", name, got, test.want)
			}
		}
	}
}

func TestBackoffGrowsToItsBound(t *testing.T) {
	t.Parallel()
	retry := pack.Retry{Min: time.Second, Max: 10 * time.Second}
	for attempt, ceiling := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second, 100: 10 * time.Second} {
		most := time.Duration(0)
		for range 300 {
			most = max(most, backoff(retry, attempt))
		}
		if most > ceiling || most < ceiling/2 {
			t.Errorf("the longest of 300 pauses after attempt %d is %v, want nearly %v", attempt, most, ceiling)
		}
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	var p pace
	if got := p.until(1000); got != mostUntil {
		t.Errorf("until() before anything has ended = %v, want %v", got, mostUntil)
	}
	begin := time.Now().Add(-paceSpan)
	p.since = begin
	for range 100 {
		p.note(begin.Add(time.Second))
	}
	if got := p.until(1000); got < 4*time.Second || got > 6*time.Second {
		t.Errorf("until() at ten a second = %v, want about 5s for a twentieth of 1000", got)
	}
	if got := p.until(10); got != leastUntil {
		t.Errorf("until() of a short queue = %v, want %v", got, leastUntil)
	}
}
