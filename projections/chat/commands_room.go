package chat

import (
	"unicode/utf8"

	"parley/log/event"
	"parley/projections/chat/messages"
)

// atHome refuses a session command from an incarnation of a node that the log knows to be over: a session opened for
// it would never be parted.
func (d *decider) atHome() error {
	n := d.s.nodes.Get(d.Node)
	if n == nil || n.Alive && n.Incarnation == d.Incarnation {
		return nil
	}
	return Refuse(CodeUnavailable, "node %s is no longer in incarnation %d: try again", d.Node, d.Incarnation)
}

func checkRooms(what string, rooms []event.RoomID) error {
	for _, id := range rooms {
		if err := checkLine(what+": room", string(id), MaxNameBytes); err != nil {
			return err
		}
	}
	if len(rooms) == 0 {
		return Refuse(CodeInvalid, "%s: no room given", what)
	}
	if len(rooms) > MaxJoinRooms {
		return Refuse(CodeTooLarge, "%s: %d rooms, at most %d", what, len(rooms), MaxJoinRooms)
	}
	return nil
}

func (d *decider) mayJoin(id event.RoomID) error {
	_, rights, err := d.admit("join", id)
	if err != nil {
		return err
	}
	if !rights.Join && !d.Trusted {
		return inRoom(id, CodeForbidden, "join: %s is not allowed into room %s", d.By, id).Breaks(d.shut(id), d.By)
	}
	return nil
}

// join opens sessions (docs/rules.md, R1, R5 and R7). Joining again succeeds without an event.
func (d *decider) join(c *Join) (Decision, error) {
	if err := checkRooms("join", c.Rooms); err != nil {
		return Decision{}, err
	}
	if err := d.atHome(); err != nil {
		return Decision{}, err
	}
	if _, err := d.actor(); err != nil {
		return Decision{}, err
	}
	var out Decision
	asked := make(map[event.RoomID]struct{}, len(c.Rooms))
	for _, id := range c.Rooms {
		if _, twice := asked[id]; twice {
			continue
		}
		asked[id] = struct{}{}
		if err := d.mayJoin(id); err != nil {
			if !c.Batch {
				return Decision{}, err
			}
			out.Result.Refused = append(out.Result.Refused, *AsRefusal(err))
			continue
		}
		if d.s.Joined(id, d.By, d.Endpoint, d.Node) {
			continue
		}
		out.Events = append(out.Events, d.draft(id, &event.Joined{Endpoint: d.Endpoint, Incarnation: d.Incarnation}))
	}
	return out, nil
}

// refusedOf returns the refusals of a batch that took effect before. They are not in the log, so they are asked
// again: no room is called joined in which the session is not open.
func (s *State) refusedOf(r *Request, c *Join) (refused []Refusal) {
	if !c.Batch {
		return nil
	}
	d := &decider{s: s, Origin: r.Origin}
	for _, id := range c.Rooms {
		if s.Joined(id, r.By, r.Endpoint, r.Node) {
			continue
		}
		err := d.mayJoin(id)
		if err == nil {
			err = inRoom(id, CodeNotJoined, "join: %s is not in room %s (any more)", r.By, id)
		}
		refused = append(refused, *AsRefusal(err))
	}
	return refused
}

// part ends sessions. Asking to leave a room one is not in is refused; the end of a dialog ends what there is.
func (d *decider) part(c *Part) (Decision, error) {
	if err := checkRooms("part", c.Rooms); err != nil {
		return Decision{}, err
	}
	reason := c.Reason
	if reason == "" {
		reason = event.PartAsked
	}
	if err := checkLine("reason", string(reason), MaxNameBytes); err != nil {
		return Decision{}, err
	}
	var out Decision
	asked := make(map[event.RoomID]struct{}, len(c.Rooms))
	for _, id := range c.Rooms {
		if _, twice := asked[id]; twice {
			continue
		}
		asked[id] = struct{}{}
		x := d.s.session(id, d.By, d.Endpoint, d.Node)
		if x != nil {
			out.Events = append(out.Events, d.parted(x, reason))
			continue
		}
		if reason != event.PartAsked {
			continue
		}
		err := inRoom(id, CodeNotJoined, "part: %s is not in room %s", d.By, id)
		if len(c.Rooms) == 1 {
			return Decision{}, err
		}
		out.Result.Refused = append(out.Result.Refused, *AsRefusal(err))
	}
	return out, nil
}

// shut names the rule that keeps the actor out of a room: his category, or that he is no member.
func (d *decider) shut(id event.RoomID) string {
	r, u := d.s.rooms.Get(id), d.s.dir.User(d.By)
	if r != nil && u != nil && !d.s.categories.Get(r.Info.Category).covers(u.URI, d.s.dir.Reach(u, nil)) {
		return "R1"
	}
	return "R5"
}

// post decides a message (docs/rules.md, R6 and R14).
func (d *decider) post(c *Post) (Decision, error) {
	r, rights, err := d.admit("post", c.Room)
	if err != nil {
		return Decision{}, err
	}
	if !d.s.Joined(c.Room, d.By, d.Endpoint, d.Node) {
		return Decision{}, inRoom(c.Room, CodeNotJoined, "post: %s is not in room %s", d.By, c.Room)
	}
	cat := d.s.categories.Get(r.Info.Category)
	if !rights.Post && !d.Trusted {
		return Decision{}, inRoom(c.Room, CodeForbidden, "post: %s may not post in room %s", d.By, c.Room).Breaks("R6", d.By)
	}
	if err := messages.Post(c, d.s.Limits(), cat.Info.FileUpload || d.Trusted); err != nil {
		return Decision{}, err
	}
	if cat.Info.ArchiveLag != 0 && d.s.feeds.Behind(c.Room, cat.ID, &cat.Info, d.s.head.waited, d.env.At) != "" {
		return Decision{}, inRoom(c.Room, CodeNotArchived, "post: the archive of room %s is behind; posting goes on when it has caught up", c.Room)
	}
	id := d.s.lastMessage(c.Room) + 1
	return d.one(c.Room, &event.Posted{Endpoint: d.Endpoint, MessageID: id, Alert: c.Alert, Text: c.Text, RTF: c.RTF,
		Story: c.Story, Title: c.Title, Links: c.Links, Unlogged: !cat.Info.ChatHistory}, Result{Room: c.Room, MessageID: id})
}

// readHistory fixes which messages an answer shows, so that the log says what was read. One need not be joined.
func (d *decider) readHistory(c *ReadHistory) (Decision, error) {
	_, rights, err := d.admit("read history", c.Room)
	if err != nil {
		return Decision{}, err
	}
	if !rights.ReadHistory && !d.Trusted {
		return Decision{}, inRoom(c.Room, CodeForbidden, "read history: %s may not read room %s", d.By, c.Room).Breaks(d.shut(c.Room), d.By)
	}
	e := &event.HistoryRead{Endpoint: d.Endpoint, Asked: c.Last}
	if last := d.s.lastMessage(c.Room); last > 0 && d.s.ShowsHistory(c.Room) {
		e.First, e.Last = d.historyRange(c, last)
	}
	return d.one(c.Room, e, Result{Room: c.Room, First: e.First, Last: e.Last})
}

// publishSetting stores a publication whose version the client has seen (RFC 3903 calls it the entity tag). With a
// conflict Result.Version is the present one.
func (d *decider) publishSetting(c *PublishSetting) (Decision, error) {
	if _, err := d.actor(); err != nil {
		return Decision{}, err
	}
	p := c.Setting
	if err := checkName("setting", p.Category); err != nil {
		return Decision{}, err
	}
	if err := checkLine("expire type of a setting", p.ExpireType, MaxNameBytes); err != nil {
		return Decision{}, err
	}
	switch {
	case len(p.Content) > MaxSettingBytes:
		return Decision{}, Refuse(CodeTooLarge, "publish %s/%d: %d bytes, at most %d", p.Category, p.Instance, len(p.Content), MaxSettingBytes)
	case !utf8.ValidString(p.Content):
		return Decision{}, Refuse(CodeInvalid, "publish %s/%d: not UTF-8", p.Category, p.Instance)
	}
	var version uint64
	if old := d.s.setting(d.By, p.Category, p.Instance); old != nil {
		version = old.Version
	} else {
		n := 0
		for range d.s.Settings(d.By) {
			n++
		}
		if n >= MaxSettings {
			return Decision{}, Refuse(CodeTooLarge, "publish %s/%d: %s has %d settings already", p.Category, p.Instance, d.By, n)
		}
	}
	if p.Version != version {
		return Decision{Result: Result{Version: version}},
			Refuse(CodeConflict, "publish %s/%d: version %d, now it is %d", p.Category, p.Instance, p.Version, version)
	}
	p.Version++
	return d.one("", &event.SettingPublished{Setting: p}, Result{Version: p.Version})
}

func (d *decider) removeSetting(c *RemoveSetting) (Decision, error) {
	if _, err := d.actor(); err != nil {
		return Decision{}, err
	}
	if d.s.setting(d.By, c.Category, c.Instance) == nil {
		return Decision{}, Refuse(CodeNotFound, "remove setting: %s has no %q/%d", d.By, c.Category, c.Instance)
	}
	return d.one("", &event.SettingRemoved{Category: c.Category, Instance: c.Instance}, Result{})
}
