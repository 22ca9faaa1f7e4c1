package execution

// Stats are what a Recorder has before it at a moment.
type Stats struct {
	Queued, Running int // executions that have not ended
	Pending         int // ended ones that the store does not have yet
	Lost            int // ended ones that were never stored, so far
}

// Stats tell what the recorder has before it.
func (r *Recorder) Stats() Stats {
	stats := r.live.stats()
	r.mu.Lock()
	defer r.mu.Unlock()
	stats.Pending, stats.Lost = len(r.pending), r.lostAll
	return stats
}

func (l *Live) stats() Stats {
	var stats Stats
	for _, running := range l.all() {
		if running.inPhase() == phaseRun {
			stats.Running++
		} else {
			stats.Queued++
		}
	}
	return stats
}

func (r *Running) inPhase() phase {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.phase
}
