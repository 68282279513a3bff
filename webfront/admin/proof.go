package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/roles"
	"parley/webfront/answer"
)

// Prover makes proofs of what feeds delivered. docs/proof.md says what they are.
type Prover interface {
	// Checkpoint returns the log's size and root with this node's signature. since, unless 0, is the size of an earlier
	// checkpoint that it shall lead from.
	Checkpoint(ctx context.Context, since int64) (LogCheckpoint, error)
	// Prove returns the proof for the files of a feed with the events from..to; 0: from the first, to the last delivered.
	// since, unless 0, is the size of an earlier checkpoint that it shall lead from; size, unless 0, that of the checkpoint
	// that it is made under, which the caller has.
	Prove(ctx context.Context, feed string, from, to event.Offset, since, size int64) (FeedProof, error)
	// Records calls visit with the time and the stored bytes, without bodies, of the events from..to.
	Records(ctx context.Context, from, to event.Offset, visit func(at event.Time, stored []byte) error) error
}

// FeedProof is what a proof's directory is made of, beside the records and the files.
type FeedProof struct {
	Proof      json.RawMessage `json:"proof" doc:"proof.json"`
	Checkpoint string          `json:"checkpoint" doc:"signed note"`
	Adapter    string          `json:"adapter" doc:"of the feed"`
	Keys       json.RawMessage `json:"keys,omitempty" doc:"keys.json; absent: the pool has the key that it began with"`
	Directory  string          `json:"directory" doc:"where the node that answers has the feed's files; empty: they are not files here"`
}

// LogCheckpoint is the answer to GET /checkpoint.
type LogCheckpoint struct {
	Checkpoint  string   `json:"checkpoint" doc:"signed note (C2SP tlog-checkpoint)"`
	Consistency []string `json:"consistency,omitempty" doc:"with since: consistency proof from there, hashes in base64"`
}

// LogRecord is one event as the log has it, without its body.
type LogRecord struct {
	At    event.Time `json:"at" doc:"nanoseconds since 1970"`
	Event []byte     `json:"event" doc:"stored bytes"`
}

func (a *API) proofRoutes() []route {
	from := param{Name: "from", Kind: "integer", Doc: "first event offset"}
	to := param{Name: "to", Kind: "integer", Doc: "last event offset"}
	since := param{Name: "since", Kind: "integer", Doc: "size of an earlier checkpoint that the proof shall lead from"}
	return []route{
		{method: "GET", path: "/checkpoint", right: roles.FeedProve, out: LogCheckpoint{}, handle: a.checkpoint, params: []param{since},
			summary: "The size of the log and the root of the Merkle tree over it, signed: keep it, and have it proven later that the log continues it"},
		{method: "GET", path: "/feeds/{feed}/proof", right: roles.FeedProve, recorded: true, out: FeedProof{}, handle: a.proveFeed,
			params:  []param{from, to, since, {Name: "size", Kind: "integer", Doc: "of the checkpoint that it is made under, one that the caller has; absent: a new one"}},
			summary: "The proof for the files of a feed; it grows to whole files"},
		{method: "GET", path: "/log/records", right: roles.FeedProve, recorded: true, lines: true, handle: a.logRecords, params: []param{from, to},
			summary: "Events as they are stored and hashed, without what was said; one {at, event} per line, a last line {problem} says that the rest could not be read"},
	}
}

// prover refuses on a node that cannot sign.
func (a *API) prover() (Prover, error) {
	if a.Prover == nil {
		return nil, a.noKey()
	}
	return a.Prover, nil
}

func (a *API) checkpoint(w http.ResponseWriter, r *http.Request) error {
	p, err := a.prover()
	if err != nil {
		return err
	}
	since, err := sizeOf(r.URL.Query(), "since")
	if err != nil {
		return err
	}
	c, err := p.Checkpoint(r.Context(), since)
	if err != nil {
		return err
	}
	return answer.JSON(w, http.StatusOK, c)
}

func (a *API) proveFeed(w http.ResponseWriter, r *http.Request) error {
	p, err := a.prover()
	if err != nil {
		return err
	}
	v, feed := r.URL.Query(), r.PathValue("feed")
	from, to, err := rangeOf(v)
	if err != nil {
		return err
	}
	since, err := sizeOf(v, "since")
	if err != nil {
		return err
	}
	size, err := sizeOf(v, "size")
	if err != nil {
		return err
	}
	if _, ok := a.Pool.State().Feed(feed); !ok {
		return chat.Refuse(chat.CodeNotFound, "no feed %q", feed)
	}
	if err := a.record(r); err != nil {
		return err
	}
	proven, err := p.Prove(r.Context(), feed, from, to, since, size)
	if err != nil {
		return err
	}
	return answer.JSON(w, http.StatusOK, proven)
}

func (a *API) logRecords(w http.ResponseWriter, r *http.Request) error {
	p, err := a.prover()
	if err != nil {
		return err
	}
	v := r.URL.Query()
	from, to, err := rangeOf(v)
	if err != nil {
		return err
	}
	head := a.Pool.Node().Committed
	if from = max(from, 1); to == 0 {
		to = head
	}
	if to > head || from > to {
		return chat.Refuse(chat.CodeInvalid, "there are no events from %d to %d: the log ends at %d", from, to, head)
	}
	if err := a.record(r); err != nil {
		return err
	}
	s := answer.NewStream(w)
	return s.End(p.Records(r.Context(), from, to, func(at event.Time, stored []byte) error { return s.Add(LogRecord{at, stored}) }))
}

// sizeOf reads the size of a checkpoint; 0: it is absent.
func sizeOf(v url.Values, name string) (n int64, err error) {
	if s := v.Get(name); s != "" {
		if n, err = strconv.ParseInt(s, 10, 64); err != nil || n < 1 {
			return 0, chat.Refuse(chat.CodeInvalid, "%s=%q is not the size of a checkpoint", name, s)
		}
	}
	return n, nil
}

// rangeOf reads from and to; what is absent is 0.
func rangeOf(v url.Values) (from, to event.Offset, err error) {
	if from, err = offsetOf(v, "from"); err != nil {
		return 0, 0, err
	}
	if to, err = offsetOf(v, "to"); err != nil {
		return 0, 0, err
	}
	if to != 0 && from > to {
		return 0, 0, chat.Refuse(chat.CodeInvalid, "there are no events from %d to %d", from, to)
	}
	return from, to, nil
}
