package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"attune/runtimes/container"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/client"
)

// portError translates an error of the client. missing is what "not found"
// means to the caller; nil if it means nothing special.
func portError(ctx context.Context, err, missing error) error {
	switch {
	case err == nil:
		return nil
	case missing != nil && errdefs.IsNotFound(err):
		return fmt.Errorf("%w: %w", missing, err)
	case ctx.Err() != nil:
		// Before "unavailable": an ended ctx cuts the connection too.
		return container.Ended(ctx)
	case unavailable(err):
		return fmt.Errorf("%w: %w", container.ErrUnavailable, err)
	}
	return err
}

// unavailable tells a connection that can't be made, or that was cut in the
// middle of an answer, from an answer.
func unavailable(err error) bool {
	var network net.Error
	return client.IsErrConnectionFailed(err) || errdefs.IsUnavailable(err) || errors.As(err, &network) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// createError also knows the two answers that only a create gives.
func (e *Engine) createError(ctx context.Context, image string, err error) error {
	switch {
	case errdefs.IsConflict(err):
		return fmt.Errorf("%w: %w", container.ErrNameTaken, err)
	case errdefs.IsNotFound(err):
		e.images.Delete(image)
	}
	return portError(ctx, err, container.ErrNoImage)
}

// closeAfter closes what an error made useless, and loses neither error.
func closeAfter(err error, closer func() error) error {
	return errors.Join(err, closer())
}
