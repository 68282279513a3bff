// Package eraser follows the log and has it carry out the removals that are in it, on every node by itself.
//
// It has no state: how far it is stands in the log, beside what it did (log.Log.Erased). A crash at any point is made
// up for by the next start.
package eraser

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"parley/log"
	"parley/log/event"
)

// Attribute keys.
const (
	keyBodies = "bodies"
	keyOffset = "offset"
)

// DefaultGather is how long removals wait for others: a removal with a time costs a read of the log, and every erasure
// a compaction, and both are shared.
const DefaultGather = 10 * time.Second

// Log is the log as the eraser sees it; *log.Log is one.
type Log interface {
	Head() log.Head
	WaitFor(ctx context.Context, o event.Offset) error
	Erased() event.Offset
	Erase(ctx context.Context, to event.Offset, also ...func(context.Context) error) (int, error)
}

var _ Log = (*log.Log)(nil)

// Config of Run.
type Config struct {
	Log Log
	// Limit returns up to which offset bodies may be needed no more: removals beyond it wait. An archive that has not
	// got a message yet must get it before its text goes. nil: all of the log.
	Limit func() event.Offset
	// Copies get rid of what they hold of the bodies that removals up to an offset name. An error ends Run; what they
	// have not done is asked of them again after the next start.
	Copies []func(ctx context.Context, to event.Offset) error
	Gather time.Duration // 0: DefaultGather
	Logger *slog.Logger  // nil: silence
}

// Run erases until ctx ends or the log is closed; then it returns nil. Any other end is an error, after which nothing
// is erased any more: damage (event.ErrCorrupt), a disk that failed (log.ErrFailed), or a removal that names what is
// not a message (log.ErrRemoval).
func Run(ctx context.Context, c Config) error {
	if c.Gather <= 0 {
		c.Gather = DefaultGather
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	err := run(ctx, c)
	if ctx.Err() != nil || errors.Is(err, log.ErrClosed) {
		return nil
	}
	return fmt.Errorf("eraser: %w", err)
}

func run(ctx context.Context, c Config) error {
	t := time.NewTimer(c.Gather)
	defer t.Stop()
	for {
		done := c.Log.Erased()
		if err := c.Log.WaitFor(ctx, done+1); err != nil {
			return err
		}
		t.Reset(c.Gather)
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		to := c.Log.Head().Offset
		if c.Limit != nil {
			to = min(to, c.Limit())
		}
		if to <= done {
			continue
		}
		n, err := c.Log.Erase(ctx, to, func(ctx context.Context) error {
			for _, purge := range c.Copies {
				if err := purge(ctx, to); err != nil {
					return err
				}
			}
			return nil
		})
		if n > 0 {
			c.Logger.Info("message bodies were erased", keyBodies, n, keyOffset, uint64(to))
		}
		if err != nil {
			return err
		}
	}
}
