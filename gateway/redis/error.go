package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// ErrUnavailable says that Redis didn't answer, or can't serve at the moment:
// it is away, loading, full, or no primary. Whether the command was carried out
// is not known. A later retry is right.
var ErrUnavailable = errors.New("redis is unavailable")

// classify makes an error of go-redis one of ours.
func classify(err error) error {
	var reply goredis.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return err // the caller's own doing
	case !errors.As(err, &reply), temporary(err):
		return fmt.Errorf("%w: %w", ErrUnavailable, withoutArguments(err))
	}
	return withoutArguments(err)
}

// temporary tells a server that can't serve now from one that doesn't like the
// command.
func temporary(err error) bool {
	for _, is := range []func(error) bool{
		goredis.IsLoadingError, goredis.IsReadOnlyError, goredis.IsMasterDownError, goredis.IsClusterDownError,
		goredis.IsTryAgainError, goredis.IsMaxClientsError, goredis.IsOOMError, goredis.IsNoReplicasError,
	} {
		if is(err) {
			return true
		}
	}
	// A script of somebody else runs too long; the last snapshot went wrong.
	return goredis.HasErrorPrefix(err, "BUSY ") || goredis.HasErrorPrefix(err, "MISCONF ")
}

// withoutArguments: a server that doesn't know a command quotes its arguments,
// which may hold what an execution printed.
func withoutArguments(err error) error {
	var reply goredis.Error
	if !errors.As(err, &reply) {
		return err
	}
	if text, _, found := strings.Cut(reply.Error(), ", with args beginning with:"); found {
		return errors.New(text)
	}
	return err
}
