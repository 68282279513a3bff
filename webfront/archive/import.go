package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/directory/bulk"
)

// Target is the pool that an archive is imported into.
type Target struct {
	// State is the newest snapshot; it shows what Submit has returned for.
	State func() *chat.State
	// Scratch is a copy of it that belongs to the caller.
	Scratch func() *chat.State
	// Submit commits a command of the import, in the name of Origin. Two commands of one import have different steps; an
	// import that is repeated gives a command the step that it had before.
	Submit  func(ctx context.Context, step string, c chat.Command) (chat.Outcome, error)
	Origin  chat.Origin
	History History
	Now     func() event.Time
	NewID   func() string
}

// Result is what an import did, or would do.
type Result struct {
	Rows    int            `json:"rows"`
	Counts  map[string]int `json:"counts" doc:"rows of each kind"`
	Events  int            `json:"events" doc:"what was written, or would be; 0: everything was there already"`
	Offset  event.Offset   `json:"offset" doc:"of the last event; 0: none"`
	DryRun  bool           `json:"dry_run"`
	Source  string         `json:"source" doc:"domain of the pool that was exported"`
	AsOf    event.Offset   `json:"as_of" doc:"offset of its log at that time"`
	Skipped int            `json:"skipped" doc:"messages that are there already, or were removed here"`

	Unconfirmed string `json:"unconfirmed,omitempty" doc:"nodes that do not show it yet, and why"`
}

// maxBad bounds how many bad rows are told.
const maxBad = 10_000

// Import puts an archive into a pool: first all of it is tried on a copy of the state, and if one row is bad nothing
// changes and the error is a *chat.Refusal with every bad row. What is so already is no event, so an import can be
// repeated; one that broke off half way is finished by repeating it. progress is told the rows that were done, of one of
// the two passes "check" and "import".
func Import(ctx context.Context, file io.ReadSeeker, t Target, dryRun bool, progress func(pass string, rows int)) (Result, error) {
	check := &pass{name: "check", t: t, state: t.Scratch(), dry: true, progress: progress}
	res, err := check.run(ctx, file)
	if err != nil || dryRun || res.Events == 0 {
		res.DryRun = dryRun
		return res, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return Result{}, fmt.Errorf("read the archive again: %w", err)
	}
	done, err := (&pass{name: "import", t: t, progress: progress}).run(ctx, file)
	if err != nil {
		return done, err
	}
	done.Events = res.Events
	return done, nil
}

// inFlight is how many commands about rooms are committed at a time.
const inFlight = 16

// pass is one reading of an archive.
type pass struct {
	name     string
	t        Target
	state    *chat.State // of a check; nil: the pool's
	dry      bool
	progress func(string, int)

	res   Result
	bad   []chat.RowFault
	first *chat.Refusal
	from  string

	mu      sync.Mutex // guards what the commands in flight change: res.Offset and failed
	failed  error
	flights sync.WaitGroup
	slots   chan struct{}

	dir       directoryRows
	grants    grants
	messages  messages
	ids       mapping
	lastStage string
}

func (p *pass) now() *chat.State {
	if p.state != nil {
		return p.state
	}
	return p.t.State()
}

// run reads the archive to its end.
func (p *pass) run(ctx context.Context, file io.Reader) (Result, error) {
	a, err := NewReader(file)
	if err != nil {
		return Result{}, refuse(err)
	}
	p.from, p.slots, p.ids = a.Header.Domain, make(chan struct{}, inFlight), newMapping()
	p.res = Result{Counts: a.Counts, Source: a.Header.Domain, AsOf: a.Header.Offset}
	for {
		row, err := a.Next()
		if err == nil && row.Kind != p.lastStage {
			err = p.flush(ctx, p.lastStage)
			p.lastStage = row.Kind
		}
		if errors.Is(err, io.EOF) {
			err = p.flush(ctx, p.lastStage)
			if err == nil {
				break
			}
		}
		if err == nil {
			err = p.take(ctx, row)
		}
		if err != nil {
			p.flights.Wait()
			return p.res, refuse(err)
		}
		p.res.Rows++
		p.progress(p.name, p.res.Rows)
	}
	if len(p.bad) > 0 {
		return Result{}, p.refusal()
	}
	return p.res, nil
}

// refuse makes an error of an archive one of the caller.
func refuse(err error) error {
	if errors.Is(err, ErrDamaged) {
		return chat.Refuse(chat.CodeInvalid, "%v", err)
	}
	return err
}

// refusal names all bad rows.
func (p *pass) refusal() error {
	slices.SortStableFunc(p.bad, func(x, y chat.RowFault) int { return cmp.Compare(x.Line, y.Line) })
	f := *p.first
	f.Text = fmt.Sprintf("%d of %d rows are bad, nothing was changed; line %d: %s", len(p.bad), p.res.Rows, p.bad[0].Line, p.bad[0].Text)
	f.Rows = p.bad[:min(len(p.bad), maxBad)]
	return &f
}

// fault notes what is wrong with a row. In a check that is all; later it ends the import.
func (p *pass) fault(line uint32, err error) error {
	var f *chat.Refusal
	if !errors.As(err, &f) || !p.dry {
		return err
	}
	if f.Code == chat.CodeUnavailable {
		return err
	}
	if p.first == nil {
		p.first = f
	}
	if len(f.Rows) > 0 {
		p.bad = append(p.bad, f.Rows...)
	} else {
		p.bad = append(p.bad, chat.RowFault{Line: line, Text: f.Text})
	}
	return nil
}

// give decides a command on the copy, or commits it. line is that of its row; rows of the command itself have theirs.
func (p *pass) give(ctx context.Context, line uint32, c chat.Command) error {
	if p.state == nil {
		return p.landed(p.t.Submit(ctx, step(line, c), c))
	}
	if err := p.fold(c); err != nil {
		return p.fault(line, err)
	}
	return nil
}

// step tells a command of an import from the others by its place in the archive. What the pool has already makes no
// command, so their number says nothing.
func step(line uint32, c chat.Command) string {
	what := fmt.Sprintf("%T line %d", c, line)
	if d, ok := c.(*chat.ImportDirectory); ok && d.Rows[0].Has&bulk.HasMembers != 0 {
		what += " members" // the groups of these lines came before, without them
	}
	return what
}

func (p *pass) fold(c chat.Command) error {
	n, err := Try(p.state, p.t.Origin, c, p.t.Now(), p.t.NewID)
	p.res.Events += n
	return err
}

// Try decides a command on a state of the caller's own and folds what comes of it, which it counts.
func Try(s *chat.State, o chat.Origin, c chat.Command, now event.Time, newID func() string) (events int, err error) {
	at := max(now, s.At())
	o.ID = event.CommandID{} // nothing is a repetition here
	d, err := chat.Decide(s, chat.Request{Origin: o, Command: c}, chat.Env{At: at, NewID: newID})
	if err != nil {
		return 0, err
	}
	for _, e := range d.Events {
		if err := s.Fold(event.Envelope{Offset: s.Offset() + 1, At: at, Meta: e.Meta, Event: e.Event}, nil); err != nil {
			return 0, fmt.Errorf("try %T on a copy: %w", c, err)
		}
	}
	return len(d.Events), nil
}

func (p *pass) landed(out chat.Outcome, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && p.failed == nil {
		p.failed = err
	}
	p.res.Offset = max(p.res.Offset, out.Offset)
	return p.failed
}

// launch gives a command whose order among its like does not matter, several at a time.
func (p *pass) launch(ctx context.Context, line uint32, c chat.Command) error {
	if p.state != nil {
		return p.give(ctx, line, c)
	}
	p.slots <- struct{}{}
	p.flights.Go(func() {
		defer func() { <-p.slots }()
		out, err := p.t.Submit(ctx, step(line, c), c)
		if err != nil {
			err = fmt.Errorf("line %d: %w", line, err)
		}
		_ = p.landed(out, err) // kept for flush
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// flush ends a kind of row: what was collected becomes commands, and what is in flight lands.
func (p *pass) flush(ctx context.Context, kind string) error {
	var err error
	switch kind {
	case RowGroup, RowUser, RowUnit:
		err = p.dir.flush(ctx, p)
	case RowGrant:
		err = p.grants.flush(ctx, p)
	case RowMessage:
		err = p.messages.flush(ctx, p)
	}
	p.flights.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(err, p.failed)
}

// take turns a row into commands, now or with its like.
func (p *pass) take(ctx context.Context, row Row) error {
	if row.Bad != "" {
		return p.fault(row.Line, chat.Refuse(chat.CodeInvalid, "%s", row.Bad))
	}
	s := p.now()
	var c chat.Command
	var err error
	switch v := row.Value.(type) {
	case *Unit:
		p.dir.unit(p, row.Line, v)
		return nil
	case *User:
		p.dir.user(p, row.Line, v)
		return nil
	case *Group:
		p.dir.group(p, row.Line, v)
		return nil
	case *Grant:
		return p.grants.add(ctx, p, row.Line, v)
	case *Message:
		return p.messages.add(ctx, p, row.Line, v)
	case *Room:
		if c = p.room(s, v); c != nil {
			return p.launch(ctx, row.Line, c)
		}
		return nil
	case *Policy:
		c, err = p.policy(s, v)
	case *Configuration:
		c, err = p.configuration(s, v)
	case *Compliance:
		c, err = p.compliance(s, v)
	case *Endpoint:
		c = &chat.SetEndpoint{Address: v.Address, DisplayName: v.DisplayName}
	case *AddIn:
		c = p.addIn(s, v)
	case *Category:
		c = p.category(s, v)
	}
	if err != nil {
		return p.fault(row.Line, err)
	}
	if c == nil {
		return nil
	}
	return p.give(ctx, row.Line, c)
}
