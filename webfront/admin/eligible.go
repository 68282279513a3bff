package admin

import (
	"net/http"
	"slices"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/directory"
	"parley/projections/chat/roles"
	"parley/webfront/answer"
	"parley/webfront/objects"
)

func (a *API) eligibleRoutes() []route {
	return []route{{method: "GET", path: "/eligible", right: roles.EligibleRead, out: []objects.WhoObject{},
		summary: "Principals who could be put into the lists of a category or a room: allowed and not denied",
		params: []param{{Name: "category", Doc: "either this"}, {Name: "room", Doc: "or this"},
			{Name: "presenters", Kind: "boolean", Doc: "who could present in the room, which must be an auditorium: its members"},
			{Name: "filter", Doc: "only addresses or names that match, with * and ?"}, resultSize, poolParam},
		handle: a.getEligible}}
}

// principals is a list of principals, ready to be asked whether it contains another.
type principals struct {
	d      *directory.Directory
	people map[event.Principal]bool
	shared map[directory.Ref]bool
}

func newPrincipals(d *directory.Directory, list []event.Principal) principals {
	p := principals{d, map[event.Principal]bool{}, map[directory.Ref]bool{}}
	for _, who := range list {
		if r, ok := d.Find(who); ok && directory.IsCollective(who) {
			p.shared[r] = true
		}
		p.people[who] = true
	}
	return p
}

func (p principals) contain(who event.Principal) bool {
	if p.people[who] {
		return true
	}
	return slices.ContainsFunc(p.d.ReachOf(who, nil), func(r directory.Ref) bool { return p.shared[r] })
}

// getEligible is the product's Get-CsPersistentChatEligiblePrincipal.
func (a *API) getEligible(w http.ResponseWriter, r *http.Request) error {
	s, q := a.Pool.State(), r.URL.Query()
	limit, err := limitOf(q)
	if err != nil {
		return err
	}
	presenters := q.Get("presenters") == "true"
	if (q.Get("category") == "") == (q.Get("room") == "") {
		return chat.Refuse(chat.CodeInvalid, "name either a category or a room")
	}
	if presenters && q.Get("room") == "" {
		return chat.Refuse(chat.CodeInvalid, "presenters are asked of a room")
	}
	var members []event.Principal
	category := q.Get("category")
	if v := q.Get("room"); v != "" {
		room, err := objects.FindRoom(s, v)
		if err != nil {
			return err
		}
		if presenters && room.Info.Type != event.RoomAuditorium {
			f := chat.Refuse(chat.CodeInvalid, "room %q is no auditorium: everybody in it may post, and nobody presents", room.Info.Name)
			f.Rule, f.Room = "R6", room.ID
			return f
		}
		category = string(room.Info.Category)
		for x := range s.Access(room.ID) {
			if x.Role&event.RoleMember != 0 {
				members = append(members, x.Principal)
			}
		}
	}
	c, err := objects.FindCategory(s, category)
	if err != nil {
		return err
	}
	d := s.Directory()
	allowed, denied, in := newPrincipals(d, c.Info.Allowed), newPrincipals(d, c.Info.Denied), newPrincipals(d, members)
	out := []objects.WhoObject{}
	take := func(p event.Principal) {
		f := q.Get("filter")
		if allowed.contain(p) && !denied.contain(p) && (!presenters || in.contain(p)) {
			if o := objects.WhoIs(s, p); objects.Glob(f, p.Address()) || objects.Glob(f, string(p)) || objects.Glob(f, o.Name) {
				out = append(out, o)
			}
		}
	}
	for u := range s.Users() {
		take(u.URI)
	}
	for g := range d.Groups() {
		take(event.GroupPrincipal(g.ID))
	}
	for u := range d.Units() {
		take(event.UnitPrincipal(u.ID))
	}
	slices.SortFunc(out, func(x, y objects.WhoObject) int { return strings.Compare(string(x.Principal), string(y.Principal)) })
	return answer.JSON(w, http.StatusOK, out[:min(limit, len(out))])
}
