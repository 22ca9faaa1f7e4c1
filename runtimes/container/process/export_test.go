package process

import "attune/runtimes/container"

// Group returns the ID of a running container's process group.
func Group(c container.Container) int {
	i := c.(*instance)
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.group
}
