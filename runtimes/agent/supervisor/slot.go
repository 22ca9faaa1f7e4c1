package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"attune/runtimes/agent"
	"attune/runtimes/agent/wire"
)

// place is as whom and where an execution runs.
type place struct {
	uid     int    // of user code; means nothing where nothing is isolated
	scratch string // what it may write: its HOME and TMPDIR
	alone   bool   // nobody else writes there
}

// slot is a place for one execution or worker at a time.
type slot struct{ place }

// errUnkilled says that an execution goes on though it should be over.
var errUnkilled = errors.New("processes are left that can't be killed")

// cleaner does what only user code's own uid can do.
type cleaner interface {
	// private makes a directory that only the uid can enter.
	private(uid int, dir string) error
	// put makes the files of an execution before it starts.
	put(p place, files []wire.File) error
	// signal signals the process group of a process that is no child of the agent.
	signal(p place, pid int, number syscall.Signal)
	// clear kills what an execution has left and wipes what it could write. leader
	// is its first process, 0 = none. Without a scratch directory nothing is wiped
	// there. An error says what is still there. Bounded in time.
	clear(p place, leader int) error
	// wipe removes what the uid has in the scratch directory. Bounded in time.
	wipe(p place) error
}

// places makes the places of all slots, then those of the stock. One slot has the
// scratch directory as a whole. Where there are more, each has a directory of its
// own in it, which no other can enter, and the rest is the agent's.
func (s *supervisor) places() ([]place, error) {
	slots := s.setup.Slots
	all := slots
	if s.setup.Parent != nil || s.setup.Stock != nil {
		all += s.setup.StockCount + slots // those kept, and those in use
	}
	places := make([]place, all)
	for n := range places {
		places[n] = place{uid: agent.UID(n), scratch: s.Scratch}
		if slots == 1 {
			continue
		}
		places[n].scratch = filepath.Join(s.Scratch, strconv.Itoa(n))
		places[n].alone = true
		if err := s.cleaner.private(places[n].uid, places[n].scratch); err != nil {
			return nil, err
		}
	}
	if slots > 1 && s.setup.Parent != nil {
		if err := s.cleaner.private(agent.ParentUID, s.parentScratch()); err != nil {
			return nil, err
		}
	}
	if slots > 1 {
		if err := os.Chmod(s.Scratch, 0o755); err != nil {
			return nil, fmt.Errorf("close scratch directory: %w", err)
		}
	}
	return places, nil
}

// parentScratch is what the parent may write. With one slot it shares that one's
// directory: user code may come upon what modules write there when they are
// imported, and the next execution finds it gone.
func (s *supervisor) parentScratch() string {
	if s.setup.Slots == 1 {
		return s.Scratch
	}
	return filepath.Join(s.Scratch, "parent")
}

// clear removes everything of an execution, and what the parent has written beside
// it.
func (s *supervisor) clear(p place, leader int) error {
	err := s.cleaner.clear(p, leader)
	if err == nil && s.isolated && !p.alone && s.parent.idle() && !empty(p.scratch) {
		err = s.cleaner.wipe(place{uid: agent.ParentUID, scratch: p.scratch})
	}
	return err
}
