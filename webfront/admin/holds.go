package admin

import (
	"errors"
	"fmt"
	"net/http"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/holds"
	"parley/projections/chat/roles"
	"parley/webfront/answer"
	"parley/webfront/objects"
)

func (a *API) holdRoutes() []route {
	return []route{
		{method: "GET", path: "/holds", right: roles.HoldRead, summary: "Legal holds, by name", out: []objects.Hold{}, handle: a.listHolds,
			params: []param{{Name: "released", Kind: "boolean", Doc: "those that were released too"}, resultSize}},
		{method: "GET", path: "/holds/{hold}", right: roles.HoldRead, summary: "One legal hold, also one that was released", out: objects.Hold{}, handle: a.getHold},
		{method: "PUT", path: "/holds/{hold}", right: roles.HoldChange, in: objects.HoldChange{}, out: objects.Hold{}, params: []param{whatIf}, handle: a.setHold,
			summary: "Set a legal hold, or change it: what it keeps can be neither removed nor replaced, and is not purged"},
		{method: "DELETE", path: "/holds/{hold}", right: roles.HoldChange, out: Removed{}, handle: a.releaseHold,
			params: []param{{Name: "reason", Doc: "for people"}, whatIf}, summary: "Release a legal hold"},
		{method: "POST", path: "/categories/{category}/purge", right: roles.MessageRemove, in: objects.PurgeCategory{}, out: objects.Purged{}, params: []param{whatIf}, handle: a.purgeCategory,
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
	return answer.JSON(w, http.StatusOK, out[:min(limit, len(out))])
}

func (a *API) getHold(w http.ResponseWriter, r *http.Request) error {
	return a.answerHold(w, r.PathValue("hold"))
}

func (a *API) answerHold(w http.ResponseWriter, name string) error {
	h, ok := a.Pool.State().Holds().Hold(name)
	if !ok {
		return chat.Refuse(chat.CodeNotFound, "no hold %q", name)
	}
	return answer.JSON(w, http.StatusOK, objects.ShowHold(h))
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
		return answer.JSON(w, http.StatusOK, Removed{Removed: name, Offset: out.Offset})
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
	c, o, err := body[objects.PurgeCategory](a, r)
	if err != nil {
		return err
	}
	s := a.Pool.State()
	receipts := s.Offset()
	if a.Receipts != nil {
		receipts = min(receipts, a.Receipts())
	}
	out, cmds, err := a.env.PlanPurge(r.Context(), s, r.PathValue("category"), c, a.Now(), receipts, asksWhatIf(r))
	if err != nil {
		return err
	}
	for _, cmd := range cmds {
		res, err := a.Pool.Submit(r.Context(), chat.Request{Origin: part(o, fmt.Sprintf("%s %d to %d", cmd.Room, cmd.First.Offset, cmd.Last.Offset)), Command: cmd})
		if err != nil {
			return err
		}
		out.Offset = max(out.Offset, res.Offset)
	}
	a.confirmed(r.Context(), w, out.Offset)
	return answer.JSON(w, http.StatusOK, out)
}
