package commands

import (
	"context"
	"slices"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/blocks"
	"parley/sipfront/xccos"
)

// limitOf is how many results a search may have: what the client wants, and no more than the configuration allows.
func limitOf(st *chat.State, q *xccos.QIB) int {
	limit := int(st.Limits().SearchLimit)
	if q.MaxResults > 0 {
		limit = int(min(uint64(q.MaxResults), uint64(limit)))
	}
	return limit
}

func matchOf(q *xccos.QIB) event.Match {
	switch {
	case q.Exact:
		return event.MatchExact
	case q.MatchAll:
		return event.MatchAll
	}
	return event.MatchOr
}

// searchRooms lists rooms. What the user may not see is not found (docs/rules.md, Rights in a room).
func (d *Desk) searchRooms(k *Call) {
	q := k.data().Search
	d.read(func(ctx context.Context) {
		st := d.Pool.State()
		wanted, refusal := filter(st, q, k.user())
		if refusal != nil {
			k.fail(refusal)
			return
		}
		limit := limitOf(st, q)
		rooms, err := d.Pool.FindRooms(ctx, RoomQuery{Text: q.Criteria, Match: matchOf(q), Descriptions: q.Extended, Limit: limit + 1,
			Visible: func(r event.RoomID) bool { return st.Rights(r, k.user()).See && wanted(r) }})
		if err != nil {
			d.broken(k, "rooms", err)
			return
		}
		k.Reply(0, func(st *chat.State) (*xccos.Data, *chat.Refusal) {
			return blocks.Found(st, k.user(), rooms, limit), nil
		})
	})
}

// filter returns what a search wants of a room besides its words. Disabled rooms are found by whoever asks for them and
// may enable them again.
func filter(st *chat.State, q *xccos.QIB, user event.Principal) (func(event.RoomID) bool, *chat.Refusal) {
	var tests []func(*chat.Room) bool
	want := func(test func(*chat.Room) bool) { tests = append(tests, test) }
	for _, f := range []struct {
		uri  string
		role func(chat.Rights) bool
	}{{q.Member, func(r chat.Rights) bool { return r.Member }}, {q.Manager, func(r chat.Rights) bool { return r.Manager }}} {
		if f.uri == "" {
			continue
		}
		p, refusal := principal(st, f.uri)
		if refusal != nil {
			return nil, refusal
		}
		want(func(r *chat.Room) bool { return f.role(st.Rights(r.ID, p)) })
	}
	if q.Category != "" {
		c, refusal := category(st, q.Category, user)
		if refusal != nil {
			return nil, refusal
		}
		want(func(r *chat.Room) bool { return r.Info.Category == c.ID })
	}
	if q.AddIn != "" {
		want(func(r *chat.Room) bool { return strings.EqualFold(r.Info.AddIn, q.AddIn) })
	}
	disabled := strings.EqualFold(q.Disabled, "true")
	want(func(r *chat.Room) bool { return r.Info.Disabled == disabled })
	if q.Visibility != "" || q.Behavior != "" || q.Invite != "" {
		is := xccos.ChanIB{Behavior: q.Behavior, Info: []xccos.Prop{{ID: xccos.InfoVisibility, Value: q.Visibility}}}
		var info event.RoomInfo
		if refusal := fields(st, &is, &info); refusal != nil {
			return nil, refusal
		}
		want(func(r *chat.Room) bool {
			return (info.Type == "" || info.Type == r.Info.Type) && (info.Privacy == "" || info.Privacy == r.Info.Privacy)
		})
	}
	if q.Invite != "" {
		invites := strings.EqualFold(q.Invite, "true")
		want(func(r *chat.Room) bool {
			c, _ := st.Category(r.Info.Category)
			return (c.Info.Invitations && r.Info.Invitations == event.InvitationsInherit) == invites
		})
	}
	return func(id event.RoomID) bool {
		r, ok := st.Room(id)
		return ok && !slices.ContainsFunc(tests, func(test func(*chat.Room) bool) bool { return !test(&r) })
	}, nil
}

// principals tells who is behind addresses. Who is not known is left out.
func (d *Desk) principals(k *Call) {
	k.give(func(st *chat.State) *xccos.Data {
		var found []event.Principal
		for i := range k.data().Users {
			p, refusal := principal(st, k.data().Users[i].URI)
			if refusal == nil && st.Directory().Exists(p) {
				found = append(found, p)
			}
		}
		return blocks.People(st, found, false)
	})
}

// searchPeople finds users and groups by their names; or, with a role, whoever could get it in a room or a category.
func (d *Desk) searchPeople(k *Call) {
	q := k.data().Search
	d.read(func(context.Context) {
		st := d.Pool.State()
		may, refusal := candidates(st, k)
		if refusal != nil {
			k.fail(refusal)
			return
		}
		limit := limitOf(st, q)
		found := people(st, q, may, limit+1)
		more := len(found) > limit
		found = found[:min(len(found), limit)]
		k.give(func(st *chat.State) *xccos.Data { return blocks.People(st, found, more) })
	})
}

// candidates returns who could get the role that is asked about: whoever is in the category, and as a presenter, whoever is
// a member (docs/rules.md, R1 and R5).
func candidates(st *chat.State, k *Call) (func(event.Principal) bool, *chat.Refusal) {
	data := k.data()
	role := strings.ToUpper(data.Search.Role)
	everybody := func(event.Principal) bool { return true }
	inCategory := func(id event.CategoryID) func(event.Principal) bool {
		return func(p event.Principal) bool { return st.Covers(id, p) }
	}
	switch {
	case len(data.Chans) > 0 && data.Chans[0].URI+data.Chans[0].Name != "":
		r, refusal := roomBy(st, &data.Chans[0], k.user())
		if refusal != nil {
			return nil, refusal
		}
		covered := inCategory(r.Info.Category)
		if role != xccos.RolePresenter && role != "VOICED" {
			return covered, nil
		}
		if r.Info.Type != event.RoomAuditorium {
			return func(event.Principal) bool { return false }, nil
		}
		return func(p event.Principal) bool {
			return covered(p) && (r.Info.Privacy == event.PrivacyOpen || slices.ContainsFunc(st.Directory().Containing(p),
				func(q event.Principal) bool { return st.Role(r.ID, q)&event.RoleMember != 0 }))
		}, nil
	case len(data.Categories) > 0 && data.Categories[0].URI != "":
		c, refusal := category(st, data.Categories[0].URI, k.user())
		return inCategory(c.ID), refusal
	case role != "":
		return nil, chat.Refuse(chat.CodeInvalid, "a role in which room or category?")
	}
	return everybody, nil
}

// people returns the users, groups and, of those who could get a role, units that match, users first, by principal.
func people(st *chat.State, q *xccos.QIB, may func(event.Principal) bool, limit int) (found []event.Principal) {
	words := strings.Fields(strings.ToLower(q.Criteria))
	if q.Exact && len(words) > 0 {
		words = []string{strings.Join(words, " ")}
	}
	take := func(p event.Principal, names ...string) bool {
		if matches(words, q.MatchAll, names) && may(p) {
			found = append(found, p)
		}
		return len(found) < limit
	}
	begins := func(name, with string) bool { return strings.HasPrefix(strings.ToLower(name), strings.ToLower(with)) }
	for u := range st.Users() {
		i := &u.Info
		if q.FirstName != "" && !begins(i.GivenName, q.FirstName) || q.LastName != "" && !begins(i.Surname, q.LastName) ||
			q.Email != "" && !begins(i.Email, q.Email) && !begins(u.URI.Address(), q.Email) {
			continue
		}
		user, _, _ := strings.Cut(u.URI.Address(), "@")
		names := []string{i.DisplayName, i.Name, i.GivenName, i.Surname, user}
		if q.Extended {
			names = append(names, u.URI.Address(), i.Email)
		}
		if !take(u.URI, names...) {
			return found
		}
	}
	if q.FirstName+q.LastName != "" {
		return found
	}
	d := st.Directory()
	for g := range d.Groups() {
		if q.Email != "" && !begins(g.Info.Email, q.Email) {
			continue
		}
		if !take(event.GroupPrincipal(g.ID), g.Info.Name) {
			return found
		}
	}
	if q.Role != "" && q.Email == "" {
		for u := range d.Units() {
			if !take(event.UnitPrincipal(u.ID), u.Info.Name) {
				break
			}
		}
	}
	return found
}

// matches reports whether words begin words of the names: all of them, or any. No word matches everybody.
func matches(words []string, every bool, names []string) bool {
	if len(words) == 0 {
		return true
	}
	begins := func(word string) bool {
		return slices.ContainsFunc(names, func(name string) bool {
			name = strings.ToLower(name)
			return strings.HasPrefix(name, word) || strings.Contains(name, " "+word)
		})
	}
	if every {
		return !slices.ContainsFunc(words, func(w string) bool { return !begins(w) })
	}
	return slices.ContainsFunc(words, begins)
}

// token gets a token for the file service. Who may post in a room of a category that lets files in may upload one there,
// who may read may download (docs/rules.md, Rights in a room).
func (d *Desk) token(k *Call) {
	upload := k.Item.ID == xccos.CmdGetFUTok
	st := d.Pool.State()
	room, refusal := RoomOf(st, k.data().File.ChannelURI)
	if refusal == nil {
		refusal = mayTransfer(st, room, k, upload)
	}
	if refusal == nil && d.Files == nil {
		refusal = chat.Refuse(chat.CodeUnsupported, "the pool has no file service")
	}
	if refusal != nil {
		k.fail(refusal)
		return
	}
	d.read(func(ctx context.Context) {
		token, uri, err := d.Files.Token(ctx, k.user(), room, k.data().File.FileURL, upload)
		if err != nil {
			k.fail(chat.AsRefusal(err))
			return
		}
		k.give(func(*chat.State) *xccos.Data { return &xccos.Data{Token: &xccos.Token{Token: token, ServerURI: uri}} })
	})
}

func mayTransfer(st *chat.State, room event.RoomID, k *Call, upload bool) *chat.Refusal {
	r, refusal := seen(st, room, k.user())
	if refusal != nil {
		return refusal
	}
	if r.Info.Disabled {
		return chat.Refuse(chat.CodeDisabled, "the room is disabled")
	}
	rights := st.Rights(room, k.user())
	c, _ := st.Category(r.Info.Category)
	switch {
	case !upload && !rights.ReadHistory:
		return chat.Refuse(chat.CodeForbidden, "no right to read in this room")
	case !upload:
	case !st.Participates(room, k.user()):
		return chat.Refuse(chat.CodeNotJoined, "not in the room")
	case !rights.Post:
		return chat.Refuse(chat.CodeForbidden, "no right to post in this room")
	case !c.Info.FileUpload:
		return chat.Refuse(chat.CodeForbidden, "the category lets no files in")
	}
	return nil
}
