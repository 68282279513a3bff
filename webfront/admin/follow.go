package admin

import (
	"context"
	"net/http"
	"time"

	"parley/log/event"
	"parley/projections/chat"
)

// askAgain is how often whoever follows the log is asked again whether he may, while nothing happens in it.
const askAgain = time.Second

// followed is the log as somebody reads on at its head. A token that was revoked or has expired, or a role that was taken
// away, ends it: he gets no event that comes after that.
type followed struct {
	Log
	api *API
	r   *http.Request // his, with his token
}

// may asks again what was asked when he came.
func (f followed) may() error {
	c, known := f.api.authenticate(f.r, true)
	if !known {
		return chat.Refuse(CodeUnauthenticated, "the credential has expired or was revoked meanwhile")
	}
	ask, _ := f.r.Context().Value(askedKey{}).(asked)
	return c.may(ask.route.right)
}

// Read returns events that he may see as of the last of them: what the credential is looked up in may be behind the log.
func (f followed) Read(from event.Offset, most int) ([]event.Envelope, error) {
	run, err := f.Log.Read(from, most)
	if err == nil && len(run) > 0 {
		err = f.api.Pool.Await(f.r.Context(), run[len(run)-1].Offset)
	}
	if err == nil {
		err = f.may()
	}
	if err != nil {
		return nil, err
	}
	return run, nil
}

// WaitFor waits for an event, and no longer than he may.
func (f followed) WaitFor(ctx context.Context, at event.Offset) error {
	for {
		short, cancel := context.WithTimeout(ctx, askAgain)
		err := f.Log.WaitFor(short, at)
		over := short.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil || !over {
			return err
		}
		if err := f.may(); err != nil {
			return err
		}
	}
}
