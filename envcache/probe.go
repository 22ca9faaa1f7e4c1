package envcache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Probe tells whether environments can be found and made: an error if the
// directory is gone or can't be written to. free is how many bytes are left there.
func (c *Cache) Probe() (free int64, err error) {
	if _, err := os.Stat(c.volume.store()); err != nil {
		return 0, fmt.Errorf("look for the environments: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(c.Root, ".probe-"+c.GatewayID), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, fmt.Errorf("write beside the environments: %w", err)
	}
	_, err = file.WriteString("attune\n")
	if err := errors.Join(err, file.Close(), os.Remove(file.Name())); err != nil {
		return 0, fmt.Errorf("write beside the environments: %w", err)
	}
	return c.volume.free()
}
