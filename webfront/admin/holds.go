package admin

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"parley/compliance/retention"
	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/holds"
	"parley/projections/chat/roles"
	"parley/webfront/objects"
)

// PurgeCategory is the body of POST /categories/{category}/purge.
type PurgeCategory struct {
	RetentionDays *uint64 `json:"retention_days,omitempty" doc:"with what_if: as if the category kept messages for so many days"`
}

// Purged is its answer.
type Purged struct {
	WhatIf        bool         `json:"what_if" doc:"nothing was purged; this is what would be"`
	Category      string       `json:"category"`
	RetentionDays uint64       `json:"retention_days"`
	Until         string       `json:"until" doc:"messages of then and before are over"`
	Rooms         int          `json:"rooms" doc:"that have such messages"`
	Messages      int          `json:"messages" doc:"that go; those that no history has are not counted"`
	Held          int          `json:"held" doc:"that are over too, but a legal hold keeps them"`
	Waiting       int          `json:"waiting" doc:"that are over too, but some compliance feed has no receipt for them"`
	Offset        event.Offset `json:"offset" doc:"of the last event; 0: none"`
}

func (a *API) holdRoutes() []route {
	return []route{
		{method: "GET", path: "/holds", right: roles.HoldRead, summary: "Legal holds, by name", out: []objects.Hold{}, handle: a.listHolds,
			params: []param{{Name: "released", Kind: "boolean", Doc: "those that were released too"}, resultSize}},
		{method: "GET", path: "/holds/{hold}", right: roles.HoldRead, summary: "One legal hold, also one that was released", out: objects.Hold{}, handle: a.getHold},
		{method: "PUT", path: "/holds/{hold}", right: roles.HoldChange, in: objects.HoldChange{}, out: objects.Hold{}, params: []param{whatIf}, handle: a.setHold,
			summary: "Set a legal hold, or change it: what it keeps can be neither removed nor replaced, and is not purged"},
		{method: "DELETE", path: "/holds/{hold}", right: roles.HoldChange, out: Removed{}, handle: a.releaseHold,
			params: []param{{Name: "reason", Doc: "for people"}, whatIf}, summary: "Release a legal hold"},
		{method: "POST", path: "/categories/{category}/purge", right: roles.MessageRemove, in: PurgeCategory{}, out: Purged{}, params: []param{whatIf}, handle: a.purgeCategory,
			summary: "Purge now what the category's retention keeps no longer, which otherwise happens once a day"},
	}
}

func (a *API) listHolds(w http.ResponseWriter, r *http.Request) error {
	limit, err := limitOf(r.URL.Query())
	if err != nil {
		return err
	}
	out := []objects.Hold{}
	for h := range a.Pool.State().Holds().All() {
		if !h.Released || r.URL.Query().Get("released") == "true" {
			out = append(out, objects.ShowHold(h))
		}
	}
	return writeJSON(w, http.StatusOK, out[:min(limit, len(out))])
}

func (a *API) getHold(w http.ResponseWriter, r *http.Request) error {
	return a.answerHold(w, r.PathValue("hold"))
}

func (a *API) answerHold(w http.ResponseWriter, name string) error {
	h, ok := a.Pool.State().Holds().Hold(name)
	if !ok {
		return chat.Refuse(chat.CodeNotFound, "no hold %q", name)
	}
	return writeJSON(w, http.StatusOK, objects.ShowHold(h))
}

func (a *API) setHold(w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[objects.HoldChange](a, r)
	if err != nil {
		return err
	}
	name := r.PathValue("hold")
	revision := func() event.Offset {
		h, _ := a.Pool.State().Holds().Hold(name)
		return h.Revision
	}
	change := func() error {
		cmd, err := objects.HoldCommand(a.Pool.State(), name, c)
		if err != nil {
			return err
		}
		return a.submit(w, r, o, cmd, func(chat.Outcome) error { return a.answerHold(w, name) })
	}
	if c.Revision != nil || c.Create {
		return change()
	}
	return retryConflict(r.Context(), revision, change)
}

func (a *API) releaseHold(w http.ResponseWriter, r *http.Request) error {
	o, err := a.origin(r, nil)
	if err != nil {
		return err
	}
	name := r.PathValue("hold")
	return a.submit(w, r, o, &chat.ReleaseHold{Hold: name, Reason: r.URL.Query().Get("reason")}, func(out chat.Outcome) error {
		return writeJSON(w, http.StatusOK, Removed{Removed: name, Offset: out.Offset})
	})
}

// heldRefusal prefers the refusal that names the messages over that of the rules, which name the holds alone.
func heldRefusal(looked, err error) error {
	if f := (*chat.Refusal)(nil); looked != nil && errors.As(err, &f) && f.Rule == holds.Rule {
		return looked
	}
	return err
}

func (a *API) purgeCategory(w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[PurgeCategory](a, r)
	if err != nil {
		return err
	}
	s := a.Pool.State()
	g, err := objects.FindCategory(s, r.PathValue("category"))
	if err != nil {
		return err
	}
	out := Purged{WhatIf: asksWhatIf(r), Category: g.Info.Name, RetentionDays: g.Info.RetentionDays}
	if c.RetentionDays != nil {
		if !out.WhatIf {
			return chat.Refuse(chat.CodeInvalid, "purge category %q: another retention is only for what_if; change the category first", g.Info.Name)
		}
		out.RetentionDays = *c.RetentionDays
	}
	if out.RetentionDays == 0 || out.RetentionDays > holds.MaxDays {
		return chat.Refuse(chat.CodeConflict, "purge category %q: it keeps messages for ever; a retention has 1 to %d days", g.Info.Name, holds.MaxDays)
	}
	until := retention.Over(a.Now(), out.RetentionDays)
	out.Until = until.String()
	receipts := s.Offset()
	if a.Receipts != nil {
		receipts = min(receipts, a.Receipts())
	}
	var rooms []chat.Room
	for room := range s.Rooms() {
		if room.Info.Category == g.ID {
			rooms = append(rooms, room)
		}
	}
	slices.SortFunc(rooms, func(x, y chat.Room) int { return strings.Compare(string(x.ID), string(y.ID)) })
	n := 0
	for _, room := range rooms {
		p, err := retention.Look(r.Context(), s, room, until, receipts, a.History)
		if err != nil {
			return err
		}
		if len(p.Commands) > 0 {
			out.Rooms++
		}
		out.Messages, out.Held, out.Waiting = out.Messages+p.Due, out.Held+p.Held, out.Waiting+p.Waiting
		if out.WhatIf {
			continue
		}
		for _, cmd := range p.Commands {
			res, err := a.Pool.Submit(r.Context(), chat.Request{Origin: part(o, n), Command: cmd})
			if err != nil {
				return err
			}
			n, out.Offset = n+1, max(out.Offset, res.Offset)
		}
	}
	a.confirmed(r.Context(), w, out.Offset)
	return writeJSON(w, http.StatusOK, out)
}
