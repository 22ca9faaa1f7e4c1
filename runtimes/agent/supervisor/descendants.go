package supervisor

import (
	"errors"
	"fmt"
	"time"

	"attune/runtimes/agent/wire"
)

// descendants cleans up where there is no container: all processes that an
// execution leaves come back to the agent, a child subreaper, and only its own
// children are killed.
type descendants struct {
	children *reaper
	scratch  string
}

var _ cleaner = descendants{}

func (d descendants) place(dir string, files []wire.File) error { return place(dir, files) }

func (d descendants) clear() error {
	if err := d.kill(); err != nil {
		return err
	}
	return wipe(d.scratch, time.Now().Add(wipeTime))
}

// kill kills children until there are none; grandchildren become children when
// their parent is gone.
func (d descendants) kill() error {
	limit := time.Now().Add(killTime)
	for d.children.reap() {
		if err := d.children.killChildren(); err != nil {
			return fmt.Errorf("kill children: %w", err)
		}
		if time.Now().After(limit) {
			return errors.New("processes are left that can't be killed")
		}
		select {
		case <-d.children.changed:
		case <-time.After(pollTime):
		}
	}
	return nil
}
