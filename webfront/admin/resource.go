package admin

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/answer"
	"parley/webfront/objects"
)

// resource serves one kind of object.
type resource[V, J, C any, P objects.Changer[C]] struct{ *objects.Resource[V, J, C, P] }

// serve returns the routes of a kind of object.
func serve[V, J, C any, P objects.Changer[C]](a *API, o *objects.Resource[V, J, C, P]) []route {
	return (&resource[V, J, C, P]{o}).routes(a)
}

func (rs *resource[V, J, C, P]) routes(a *API) []route {
	one := rs.Path + "/{" + rs.Key + "}"
	shown := []param{}
	if rs.AsObjects {
		shown = append(shown, asObject)
	}
	written := append(slices.Clone(shown), whatIf)
	out := []route{
		{method: "GET", path: rs.Path, right: rs.Read, summary: rs.Lists, out: []J{},
			params: slices.Concat(rs.ListParams, shown, []param{resultSize, poolParam}),
			handle: func(w http.ResponseWriter, r *http.Request) error { return rs.getAll(a, w, r) }},
		{method: "GET", path: one, right: rs.Read, summary: "One " + rs.Noun, out: *new(J), params: append(slices.Clone(shown), poolParam),
			handle: func(w http.ResponseWriter, r *http.Request) error { return rs.getOne(a, w, r) }},
	}
	if rs.Make != nil {
		out = append(out, route{method: "POST", path: rs.Path, right: rs.Create, summary: rs.Makes, in: *new(C), out: *new(J), status: http.StatusCreated,
			params: append(slices.Clone(written), poolParam),
			handle: func(w http.ResponseWriter, r *http.Request) error { return rs.post(a, w, r) }})
	}
	if rs.Alter != nil {
		out = append(out, route{method: "PATCH", path: one, right: rs.Change, summary: rs.Alters, in: *new(C), out: *new(J), params: written,
			handle: func(w http.ResponseWriter, r *http.Request) error { return rs.patch(a, w, r) }})
	}
	if rs.Drop != nil {
		out = append(out, route{method: "DELETE", path: one, right: rs.Remove, summary: rs.Drops, out: Removed{},
			params: append(slices.Clone(rs.RmParams), whatIf),
			handle: func(w http.ResponseWriter, r *http.Request) error { return rs.delete(a, w, r) }})
	}
	return out
}

func (rs *resource[V, J, C, P]) view(s *chat.State, r *http.Request) objects.View {
	return objects.View{State: s, Objects: r.URL.Query().Get(asObject.Name) == "true", Now: event.Time(time.Now().UnixNano())}
}

func (rs *resource[V, J, C, P]) getAll(a *API, w http.ResponseWriter, r *http.Request) error {
	limit, err := limitOf(r.URL.Query())
	if err != nil {
		return err
	}
	s := a.Pool.State()
	objects, err := rs.List(r.Context(), s, r.URL.Query())
	if err != nil {
		return err
	}
	v, out := rs.view(s, r), make([]J, 0, len(objects))
	for _, o := range objects {
		out = append(out, rs.Show(v, o))
	}
	slices.SortStableFunc(out, func(x, y J) int { return strings.Compare(strings.ToLower(rs.Order(x)), strings.ToLower(rs.Order(y))) })
	return answer.JSON(w, http.StatusOK, out[:min(limit, len(out))])
}

// limitOf reads the cap of a list; absent means all.
func limitOf(q url.Values) (int, error) {
	v := q.Get(resultSize.Name)
	if v == "" {
		return int(^uint(0) >> 1), nil
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return 0, chat.Refuse(chat.CodeInvalid, "result_size=%q is not a number from 0 to 2147483647", v)
	}
	return int(n), nil
}

func (rs *resource[V, J, C, P]) getOne(a *API, w http.ResponseWriter, r *http.Request) error {
	s := a.Pool.State()
	o, err := rs.Find(s, r.PathValue(rs.Key))
	if err != nil {
		return err
	}
	return answer.JSON(w, http.StatusOK, rs.Show(rs.view(s, r), o))
}

// Gone is the answer to a change of something that somebody else removed since.
type Gone struct {
	ID      string       `json:"id"`
	Removed bool         `json:"removed"`
	Offset  event.Offset `json:"offset"`
}

func (rs *resource[V, J, C, P]) answer(a *API, w http.ResponseWriter, r *http.Request, status int, id string, at event.Offset) error {
	s := a.Pool.State()
	o, err := rs.Find(s, id)
	if err != nil {
		return answer.JSON(w, status, Gone{ID: id, Removed: true, Offset: at})
	}
	return answer.JSON(w, status, rs.Show(rs.view(s, r), o))
}

func (rs *resource[V, J, C, P]) post(a *API, w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[C](a, r)
	if err != nil {
		return err
	}
	if P(c).Saw() != nil {
		return chat.Refuse(chat.CodeInvalid, "a new %s has no revision yet", rs.Noun)
	}
	cmd, err := rs.Make(a.Pool.State(), c)
	if err != nil {
		return err
	}
	return a.submit(w, r, o, cmd, func(out chat.Outcome) error {
		id := rs.Made(a.Pool.State(), c, out.Result)
		w.Header().Set("Location", Prefix+rs.Path+"/"+url.PathEscape(id))
		return rs.answer(a, w, r, http.StatusCreated, id, out.Offset)
	})
}

func (rs *resource[V, J, C, P]) patch(a *API, w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[C](a, r)
	if err != nil {
		return err
	}
	first, err := rs.Find(a.Pool.State(), r.PathValue(rs.Key))
	if err != nil {
		e, err := a.replay(r, o, err)
		if err != nil {
			return err
		}
		id := subject(e)
		if id == "" {
			return chat.Refuse(chat.CodeConflict, "the %s was used for something else", KeyHeader)
		}
		a.confirmed(r.Context(), w, e.Offset)
		return rs.answer(a, w, r, http.StatusOK, id, e.Offset)
	}
	id := rs.ID(first)
	change := func() error {
		s := a.Pool.State()
		now, err := rs.Find(s, id)
		if err != nil {
			return chat.Refuse(chat.CodeNotFound, "%s %q was removed", rs.Noun, r.PathValue(rs.Key))
		}
		revision := rs.Revision(now)
		if seen := P(c).Saw(); seen != nil {
			revision = *seen
		}
		cmd, err := rs.Alter(s, now, c, revision)
		if err != nil {
			return err
		}
		return a.submit(w, r, o, cmd, func(out chat.Outcome) error {
			return rs.answer(a, w, r, http.StatusOK, id, out.Offset)
		})
	}
	if P(c).Saw() != nil {
		return change()
	}
	return retryConflict(r.Context(), func() (at event.Offset) {
		if now, err := rs.Find(a.Pool.State(), id); err == nil {
			at = rs.Revision(now)
		}
		return at
	}, change)
}

// Removed is the answer to DELETE.
type Removed struct {
	Removed string       `json:"removed" doc:"name of what is gone"`
	Offset  event.Offset `json:"offset"`
}

func (rs *resource[V, J, C, P]) delete(a *API, w http.ResponseWriter, r *http.Request) error {
	o, err := a.origin(r, nil)
	if err != nil {
		return err
	}
	found, err := rs.Find(a.Pool.State(), r.PathValue(rs.Key))
	if err != nil {
		e, err := a.replay(r, o, err)
		if err != nil {
			return err
		}
		a.confirmed(r.Context(), w, e.Offset)
		return answer.JSON(w, http.StatusOK, Removed{Removed: nameOfRemoved(e, path.Base(r.URL.Path)), Offset: e.Offset})
	}
	cmd, err := rs.Drop(found, r.URL.Query())
	if err != nil {
		return err
	}
	return a.submit(w, r, o, cmd, func(out chat.Outcome) error {
		return answer.JSON(w, http.StatusOK, Removed{Removed: rs.Name(found), Offset: out.Offset})
	})
}

// subject returns the identity of the object that an event changed, "" if it changed none.
func subject(e event.Envelope) string {
	switch v := e.Event.(type) {
	case *event.RoomChanged:
		return string(e.Room)
	case *event.CategoryChanged:
		return string(v.Category)
	case *event.AddInChanged:
		return string(v.AddIn)
	case *event.GroupChanged:
		return string(v.Group)
	case *event.UnitChanged:
		return string(v.Unit)
	}
	return ""
}

// nameOfRemoved returns what an event removed; otherwise is for events that do not say.
func nameOfRemoved(e event.Envelope, otherwise string) string {
	switch v := e.Event.(type) {
	case *event.RoomRemoved:
		return v.Name
	case *event.AddInRemoved:
		return v.Name
	case *event.GroupRemoved:
		return v.Name
	case *event.UnitRemoved:
		return v.Name
	}
	return otherwise
}

// isPool reports whether a name is one of the pool: its domain, or the host of its address.
func isPool(s *chat.State, name string) bool {
	_, host, _ := strings.Cut(strings.TrimPrefix(s.PoolURI(), "sip:"), "@")
	return strings.EqualFold(name, s.Domain()) || strings.EqualFold(name, host)
}
