package runtimes

import (
	"context"
	"errors"
	"fmt"

	"attune/runtimes/container"
)

// RemoveLeftovers removes the instances and probes of gateways that are gone,
// and reports how many. gone is asked with the ID of the gateway that made a
// container. Builders are not touched: they are adopted.
func RemoveLeftovers(ctx context.Context, engine container.Engine, gone func(gateway string) bool) (int, error) {
	removed := 0
	var errs []error
	for _, role := range []string{container.RoleInstance, container.RoleProbe} {
		found, err := engine.Find(ctx, map[string]string{container.LabelRole: role})
		if err != nil {
			return removed, fmt.Errorf("look for leftovers: %w", err)
		}
		for _, c := range found {
			if !gone(c.Labels()[container.LabelGateway]) {
				continue
			}
			if err := c.Remove(ctx); err != nil {
				errs = append(errs, fmt.Errorf("remove leftover %s: %w", c.ID(), err))
				continue
			}
			removed++
		}
	}
	return removed, errors.Join(errs...)
}
