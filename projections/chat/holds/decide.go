package holds

import (
	"fmt"
	"slices"

	"parley/log/event"
	"parley/projections/chat/command"
	"parley/projections/chat/form"
)

// Limits.
const (
	MaxHolds   = 500    // that are not released
	maxEver    = 10_000 // names, released ones too
	maxFilter  = 1_000  // rooms, categories and authors of one hold
	maxAuthors = 10_000 // of all holds together: a purge may have to say all of them
	maxReason  = 4_096  // bytes
	maxListed  = 100    // messages in a refusal
)

// Rule is the rule that a message under a legal hold is not removed.
const Rule = "H1"

// Decide turns a command about holds into the one event that it leads to, nil if it changes nothing, or refuses it. head is
// the offset of the log's last event. Commands of others are none of its business, and known is false.
func (h *Holds) Decide(c command.Command, head event.Offset) (ev event.Event, known bool, err error) {
	switch c := c.(type) {
	case *command.SetHold:
		ev, err = h.set(c, head)
	case *command.ReleaseHold:
		ev, err = h.release(c)
	default:
		return nil, false, nil
	}
	return ev, true, err
}

func (h *Holds) set(c *command.SetHold, head event.Offset) (event.Event, error) {
	if err := form.Title("hold", c.Hold, form.MaxNameCharacters); err != nil {
		return nil, err
	}
	info := c.Info
	if err := check(c.Hold, &info, head); err != nil {
		return nil, err
	}
	old := h.rows.Get(c.Hold)
	active := old != nil && !old.Released
	count, authors := 0, len(info.Authors)
	h.rows.Scan(func(r *Hold) bool {
		if !r.Released && r.Name != c.Hold {
			count++
			authors += len(r.Info.Authors)
		}
		return true
	})
	switch {
	case active && c.Create:
		return nil, command.Refuse(command.CodeConflict, "set hold %q: there is one", c.Hold).Breaks("R12", "")
	case active && c.Revision != 0 && c.Revision != old.Revision:
		return nil, command.Changed(fmt.Sprintf("hold %q", c.Hold), c.Revision, old.Revision)
	case !active && c.Revision != 0:
		return nil, command.Refuse(command.CodeConflict, "set hold %q: it was released meanwhile", c.Hold).Breaks("R13", "")
	case active && equal(&old.Info, &info):
		return nil, nil
	case count >= MaxHolds || old == nil && h.rows.Len() >= maxEver:
		return nil, command.Refuse(command.CodeTooLarge, "set hold %q: there are %d, and %d names were ever used", c.Hold, count, h.rows.Len())
	case authors > maxAuthors:
		return nil, command.Refuse(command.CodeTooLarge, "set hold %q: all holds name %d authors together, at most %d", c.Hold, authors, maxAuthors)
	}
	return &event.HoldSet{Hold: c.Hold, Info: info}, nil
}

// check refuses what no hold can be, and brings the rest into one order.
func check(name string, info *event.HoldInfo, head event.Offset) error {
	what := fmt.Sprintf("hold %q", name)
	if err := form.Line("reason of "+what, info.Reason, maxReason); err != nil {
		return err
	}
	switch {
	case len(info.Rooms)+len(info.Categories)+len(info.Authors) > maxFilter:
		return command.Refuse(command.CodeTooLarge, "set %s: %d rooms, categories and authors, at most %d", what, len(info.Rooms)+len(info.Categories)+len(info.Authors), maxFilter)
	case info.From < 0 || info.To < 0 || info.To != 0 && info.To < info.From:
		return command.Refuse(command.CodeInvalid, "set %s: it begins at %s and ends at %s", what, info.From, info.To)
	case info.FromOffset > head+1:
		return command.Refuse(command.CodeInvalid, "set %s from event %d: the log ends at %d", what, info.FromOffset, head)
	}
	for _, r := range info.Rooms {
		if !form.ID(string(r)) {
			return command.Refuse(command.CodeInvalid, "set %s: room %q is not a GUID", what, r)
		}
	}
	for _, g := range info.Categories {
		if !form.ID(string(g)) {
			return command.Refuse(command.CodeInvalid, "set %s: category %q is not a GUID", what, g)
		}
	}
	for _, p := range info.Authors {
		if !form.User(p) || form.Line("author of "+what, string(p), form.MaxPrincipalBytes) != nil {
			return command.Refuse(command.CodeInvalid, "set %s: author %q is not \"sip:name@domain\" in lower case", what, p).About(p)
		}
	}
	info.Rooms, info.Categories, info.Authors = sorted(info.Rooms), sorted(info.Categories), sorted(info.Authors)
	return nil
}

func sorted[T ~string](list []T) []T {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

func equal(a, b *event.HoldInfo) bool {
	return a.Reason == b.Reason && slices.Equal(a.Rooms, b.Rooms) && slices.Equal(a.Categories, b.Categories) &&
		slices.Equal(a.Authors, b.Authors) && a.From == b.From && a.To == b.To && a.FromOffset == b.FromOffset
}

func (h *Holds) release(c *command.ReleaseHold) (event.Event, error) {
	old := h.rows.Get(c.Hold)
	if old == nil {
		return nil, command.Refuse(command.CodeNotFound, "release hold: no hold %q", c.Hold)
	}
	if err := form.Line(fmt.Sprintf("reason of releasing hold %q", c.Hold), c.Reason, maxReason); err != nil {
		return nil, err
	}
	if old.Released {
		return nil, command.Refuse(command.CodeNotFound, "release hold: %q was released before, by %s", c.Hold, old.ReleasedBy)
	}
	return &event.HoldReleased{Hold: c.Hold, Reason: c.Reason}, nil
}

// Held collects messages that holds keep, for a refusal.
type Held struct {
	names []string
	rows  []command.RowFault
	more  int    // that are not in rows
	first uint64 // message
}

// Look notes a message that some hold keeps. line is its place in a list from 1, 0 where there is none.
func (f *Held) Look(keeps []event.Keep, line int, m event.MessageRef, by event.Principal, at event.Time) {
	f.look(keeps, line, m, func(k *event.Keep) bool { return k.Covers(m.Offset, by, at) })
}

// Unknown is Look for a message whose author and time nobody told: every hold that its place does not rule out keeps it.
func (f *Held) Unknown(keeps []event.Keep, line int, m event.MessageRef) {
	f.look(keeps, line, m, func(k *event.Keep) bool { return m.Offset >= k.First && (k.Last == 0 || m.Offset <= k.Last) })
}

func (f *Held) look(keeps []event.Keep, line int, m event.MessageRef, covers func(*event.Keep) bool) {
	var by []string
	for i := range keeps {
		if k := &keeps[i]; covers(k) && !slices.Contains(by, k.Hold) {
			by = append(by, k.Hold)
		}
	}
	if len(by) == 0 {
		return
	}
	for _, n := range by {
		f.Name(n)
	}
	if f.first == 0 {
		f.first = m.MessageID
	}
	if len(f.rows) == maxListed {
		f.more++
		return
	}
	if line == 0 {
		line = len(f.rows) + 1
	}
	f.rows = append(f.rows, command.RowFault{Line: uint32(line), Text: fmt.Sprintf("message %d is kept by %s", m.MessageID, quoted(by))})
}

// Name notes a hold.
func (f *Held) Name(hold string) {
	if !slices.Contains(f.names, hold) {
		f.names = append(f.names, hold)
	}
}

// Refusal names the holds, and the first messages that they keep; nil if there is none.
func (f *Held) Refusal(what string, room event.RoomID) error {
	if len(f.names) == 0 {
		return nil
	}
	slices.Sort(f.names)
	hold := "legal hold"
	if len(f.names) > 1 {
		hold = "legal holds"
	}
	var r *command.Refusal
	switch n := len(f.rows) + f.more; n {
	case 0:
		r = command.Refuse(command.CodeConflict, "%s %s: %s %s may keep messages of it", what, room, hold, quoted(f.names))
	case 1:
		r = command.Refuse(command.CodeConflict, "%s %s: message %d is kept by %s %s", what, room, f.first, hold, quoted(f.names))
	default:
		r = command.Refuse(command.CodeConflict, "%s %s: %d of its messages, the first is %d, are kept by %s %s", what, room, n, f.first, hold, quoted(f.names))
	}
	r = r.Breaks(Rule, "")
	r.Room, r.Rows = room, f.rows
	return r
}
