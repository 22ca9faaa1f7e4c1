package supervisor

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"sync"
)

// oomGuard counts what the kernel kills for want of memory, and sees to it that
// the kernel prefers user code to the agent. A nil guard does nothing.
type oomGuard struct {
	mu     sync.Mutex // held over a start
	score  *os.File   // /proc/self/oom_score_adj
	own    string     // the agent's own value
	events *os.File   // holds the kernel's counter; nil where it doesn't tell
}

func newOOMGuard() *oomGuard {
	g := &oomGuard{}
	for _, path := range []string{"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"} {
		if events, err := os.Open(path); err == nil {
			g.events = events
			break
		}
	}
	f, err := os.OpenFile("/proc/self/oom_score_adj", os.O_RDWR, 0)
	if err != nil {
		return g // without it the kernel takes the largest, mostly the right one
	}
	own := make([]byte, 16)
	if n, _ := f.ReadAt(own, 0); n > 0 { // the error is the end of the file
		g.score, g.own = f, strings.TrimSpace(string(own[:n]))
	}
	return g
}

// prefer makes a process that is started meanwhile the kernel's first choice. The
// value is inherited; going back to one's own is allowed to everybody.
func (g *oomGuard) prefer(start func()) {
	if g == nil || g.score == nil {
		start()
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	// Neither write can make things worse than not having tried.
	g.score.WriteAt([]byte("1000"), 0)
	start()
	g.score.WriteAt([]byte(g.own), 0)
}

// kills returns how many processes of this container the kernel has killed; -1
// where it doesn't tell.
func (g *oomGuard) kills() int64 {
	if g == nil || g.events == nil {
		return -1
	}
	var text [1024]byte
	n, _ := g.events.ReadAt(text[:], 0) // the error is the end of the file
	return oomKills(text[:n])
}

// oomKills finds the counter, which has the same name in both cgroup versions.
func oomKills(text []byte) int64 {
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte("oom_kill ")); ok {
			if n, err := strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}
