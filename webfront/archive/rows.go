package archive

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat"
	"parley/projections/chat/directory/bulk"
	"parley/projections/chat/policy"
	"parley/projections/history"
)

// mapping leads from the ids of the archive to those of the pool, where they differ: an object of the pool with the name
// of one in the archive is overwritten and keeps its id.
type mapping struct {
	units      map[event.UnitID]event.UnitID
	groups     map[event.GroupID]event.GroupID
	addIns     map[event.AddInID]event.AddInID
	categories map[event.CategoryID]event.CategoryID
	rooms      map[event.RoomID]event.RoomID
}

func newMapping() mapping {
	return mapping{map[event.UnitID]event.UnitID{}, map[event.GroupID]event.GroupID{}, map[event.AddInID]event.AddInID{},
		map[event.CategoryID]event.CategoryID{}, map[event.RoomID]event.RoomID{}}
}

func mapped[K comparable](m map[K]K, id K) K {
	if to, ok := m[id]; ok {
		return to
	}
	return id
}

func (m *mapping) principal(p event.Principal) event.Principal {
	if id, ok := p.Group(); ok {
		return event.GroupPrincipal(mapped(m.groups, id))
	}
	if id, ok := p.Unit(); ok {
		return event.UnitPrincipal(mapped(m.units, id))
	}
	return p
}

func (m *mapping) principals(ps []event.Principal) []event.Principal {
	out := make([]event.Principal, 0, len(ps))
	for _, p := range ps {
		out = append(out, m.principal(p))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// directoryRows collects units, then accounts, then groups: each kind is one import, because its rows may speak of each
// other in any order.
type directoryRows struct {
	rows    []chat.ImportRow // groups without their members
	members []chat.ImportRow // groups with their members
}

// place is a unit as an import names it.
func place(id event.UnitID) string {
	if id == "" {
		return ""
	}
	return string(event.UnitPrincipal(id))
}

func (d *directoryRows) unit(p *pass, line uint32, v *Unit) {
	dir := p.now().Directory()
	parent := mapped(p.ids.units, v.Parent)
	if dir.Unit(v.ID) == nil {
		if u := dir.UnitByName(parent, v.Name); u != nil {
			p.ids.units[v.ID] = u.ID
		}
	}
	d.rows = append(d.rows, chat.ImportRow{Line: line, Kind: bulk.KindUnit, ID: string(mapped(p.ids.units, v.ID)), Name: v.Name, Unit: place(parent),
		Description: v.Description, Has: bulk.HasName | bulk.HasUnit | bulk.HasDescription})
}

func (d *directoryRows) user(p *pass, line uint32, v *User) {
	d.rows = append(d.rows, chat.ImportRow{Line: line, Kind: bulk.KindUser, Address: v.User.Address(), Name: v.Name, Unit: place(mapped(p.ids.units, v.Unit)),
		DisplayName: v.DisplayName, Email: v.Email, GivenName: v.GivenName, Surname: v.Surname, Company: v.Company, Enabled: v.Enabled,
		Has: bulk.HasName | bulk.HasUnit | bulk.HasDisplayName | bulk.HasEmail | bulk.HasGivenName | bulk.HasSurname | bulk.HasCompany | bulk.HasEnabled})
}

func (d *directoryRows) group(p *pass, line uint32, v *Group) {
	dir := p.now().Directory()
	if dir.Group(v.ID) == nil {
		if g := dir.GroupByName(v.Name); g != nil {
			p.ids.groups[v.ID] = g.ID
		}
	}
	row := chat.ImportRow{Line: line, Kind: bulk.KindGroup, ID: string(mapped(p.ids.groups, v.ID)), Name: v.Name, Unit: place(mapped(p.ids.units, v.Unit)),
		Description: v.Description, Email: v.Email, Has: bulk.HasName | bulk.HasUnit | bulk.HasDescription | bulk.HasEmail}
	d.rows = append(d.rows, row)
	row.Has |= bulk.HasMembers
	for _, m := range v.Members {
		row.Members = append(row.Members, string(m)) // mapped when all groups are known
	}
	d.members = append(d.members, row)
}

// flush imports what was collected. Groups come twice: all of them first, then who is in them.
func (d *directoryRows) flush(ctx context.Context, p *pass) error {
	rows, members := d.rows, d.members
	d.rows, d.members = nil, nil
	for i := range members {
		for j, m := range members[i].Members {
			members[i].Members[j] = string(p.ids.principal(event.Principal(m)))
		}
	}
	for _, part := range [][]chat.ImportRow{rows, members} {
		for _, c := range chunks(part) {
			if err := p.directory(ctx, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// directory gives rows of the directory. In a check bad ones are left out and the others tried again: the rows after them
// are not bad because of those.
func (p *pass) directory(ctx context.Context, c *chat.ImportDirectory) error {
	if p.state == nil {
		return p.give(ctx, c.Rows[0].Line, c)
	}
	for len(c.Rows) > 0 {
		err := p.fold(c)
		if err == nil {
			return nil
		}
		if err := p.fault(c.Rows[0].Line, err); err != nil {
			return err
		}
		bad := map[uint32]bool{}
		for _, r := range chat.AsRefusal(err).Rows {
			bad[r.Line] = true
		}
		good := slices.DeleteFunc(slices.Clone(c.Rows), func(r chat.ImportRow) bool { return bad[r.Line] })
		if len(good) == len(c.Rows) {
			return nil // it is not about single rows
		}
		c = &chat.ImportDirectory{Rows: good}
	}
	return nil
}

// chunkRows is how many rows go into one command: an entry of the log holds them.
const chunkRows = min(chat.MaxImportRows, 5000)

func chunks(rows []chat.ImportRow) (out []*chat.ImportDirectory) {
	for c := range slices.Chunk(rows, chunkRows) {
		out = append(out, &chat.ImportDirectory{Rows: c})
	}
	return out
}

// Directory parts the rows of an import of any size and order into commands, so that none speaks of what only a later one
// makes: units from the top down, then what is in them, then who is in which group, and at last what goes.
func Directory(rows []chat.ImportRow) (out []*chat.ImportDirectory) {
	if len(rows) <= chunkRows {
		return []*chat.ImportDirectory{{Rows: rows}}
	}
	var units, entries, members, gone []chat.ImportRow
	for _, r := range rows {
		switch bare := r; {
		case r.Remove:
			gone = append(gone, r)
		case r.Kind == bulk.KindUnit:
			units = append(units, r)
		default:
			bare.Members, bare.MemberOf, bare.Has = nil, nil, r.Has&^bulk.HasMembers
			entries = append(entries, bare)
			if len(r.MemberOf) > 0 || r.Has&bulk.HasMembers != 0 {
				members = append(members, r)
			}
		}
	}
	slices.SortStableFunc(units, func(x, y chat.ImportRow) int { return strings.Count(x.Unit, "=") - strings.Count(y.Unit, "=") })
	for _, part := range [][]chat.ImportRow{units, entries, members, gone} {
		out = append(out, chunks(part)...)
	}
	return out
}

// scope leads the scope of the archive's pool to that of this one.
func (p *pass) scope(s *chat.State, scope event.Scope) event.Scope {
	if scope == policy.Pool(p.from) {
		return policy.Pool(s.Domain())
	}
	return scope
}

func (p *pass) policy(s *chat.State, v *Policy) (chat.Command, error) {
	scope := p.scope(s, v.Scope)
	old, exists := s.Policies().Policy(scope)
	return &chat.SetPolicy{Scope: scope, Info: event.PolicyInfo{Enabled: v.Enabled, Description: v.Description}, Create: !exists, Revision: old.Revision}, nil
}

func (p *pass) configuration(s *chat.State, v *Configuration) (chat.Command, error) {
	scope := p.scope(s, v.Scope)
	old, exists := s.Policies().Configuration(scope)
	return &chat.SetConfiguration{Scope: scope, Create: !exists, Revision: old.Revision, Info: event.ConfigurationInfo{
		DefaultChatHistory: v.DefaultChatHistory, MaxFileSizeKB: v.MaxFileSizeKB, ParticipantUpdateLimit: v.ParticipantUpdateLimit,
		RoomManagementURL: v.RoomManagementURL, MessageSizeLimit: v.MessageSizeLimit, StorySizeLimit: v.StorySizeLimit, SearchLimit: v.SearchLimit}}, nil
}

func (p *pass) compliance(s *chat.State, v *Compliance) (chat.Command, error) {
	if v.RunIntervalSeconds < 0 || v.RunIntervalSeconds > 1<<32 {
		return nil, chat.Refuse(chat.CodeInvalid, "run_interval_seconds is %d", v.RunIntervalSeconds)
	}
	scope := p.scope(s, v.Scope)
	old, exists := s.Policies().Compliance(scope)
	return &chat.SetCompliance{Scope: scope, Create: !exists, Revision: old.Revision, Info: event.ComplianceInfo{
		AdapterName: v.AdapterName, AdapterType: v.AdapterType, OutputDirectory: v.OutputDirectory, RunInterval: v.RunIntervalSeconds * 1e9,
		OneRoomPerFile: v.OneRoomPerFile, AddRoomDetails: v.AddRoomDetails, AddUserDetails: v.AddUserDetails,
		AttachmentsManifest: v.AttachmentsManifest, CustomConfiguration: v.CustomConfiguration}}, nil
}

func (p *pass) addIn(s *chat.State, v *AddIn) chat.Command {
	info := event.AddInInfo{Name: v.Name, URL: v.URL}
	old, ok := s.AddIn(v.ID)
	if !ok {
		old, ok = s.AddInByName(v.Name)
	}
	switch {
	case !ok:
		return &chat.CreateAddIn{ID: v.ID, Info: info}
	case old.ID != v.ID:
		p.ids.addIns[v.ID] = old.ID
	}
	if old.Info == info {
		return nil
	}
	return &chat.ChangeAddIn{ID: old.ID, Info: info, Revision: old.Revision}
}

func (p *pass) category(s *chat.State, v *Category) chat.Command {
	info := event.CategoryInfo{Name: v.Name, Description: v.Description, Allowed: p.ids.principals(v.Allowed), Denied: p.ids.principals(v.Denied),
		Creators: p.ids.principals(v.Creators), Invitations: v.Invitations, FileUpload: v.FileUpload, ChatHistory: v.ChatHistory}
	old, ok := s.Category(v.ID)
	if !ok {
		old, ok = s.CategoryByName(v.Name)
	}
	if info.RetentionDays = old.Info.RetentionDays; v.Retention != nil {
		info.RetentionDays = *v.Retention
	}
	switch {
	case !ok:
		return &chat.CreateCategory{ID: v.ID, Info: info}
	case old.ID != v.ID:
		p.ids.categories[v.ID] = old.ID
	}
	info.ArchiveLag, info.ArchiveFeeds = old.Info.ArchiveLag, old.Info.ArchiveFeeds // feeds are a pool's own
	was := old.Info
	for _, l := range []*[]event.Principal{&was.Allowed, &was.Denied, &was.Creators} {
		*l = p.ids.principals(*l)
	}
	if string(wire.Marshal(&was)) == string(wire.Marshal(&info)) {
		return nil
	}
	return &chat.ChangeCategory{ID: old.ID, Info: info, Revision: old.Revision}
}

func (p *pass) room(s *chat.State, v *Room) chat.Command {
	info := event.RoomInfo{Name: v.Name, Description: v.Description, Category: mapped(p.ids.categories, v.Category), Type: v.Type, Privacy: v.Privacy,
		Invitations: v.Invitations, AddIn: string(mapped(p.ids.addIns, event.AddInID(v.AddIn))), Disabled: v.Disabled}
	then := map[event.Principal]event.Role{}
	for who, role := range v.access() {
		then[p.ids.principal(who)] |= role
	}
	old, ok := s.Room(v.ID)
	if !ok {
		old, ok = s.RoomByName(v.Name)
	}
	if !ok {
		cmd := &chat.CreateRoom{ID: v.ID, Info: info}
		for _, who := range sorted(then) {
			cmd.Access = append(cmd.Access, event.Access{Principal: who, Role: then[who]})
		}
		return cmd
	}
	if old.ID != v.ID {
		p.ids.rooms[v.ID] = old.ID
	}
	cmd := &chat.ChangeRoom{ID: old.ID, Info: info, Revision: old.Revision}
	now := map[event.Principal]event.Role{}
	for a := range s.Access(old.ID) {
		now[a.Principal] = a.Role
	}
	all := maps.Clone(now)
	maps.Copy(all, then)
	for _, who := range sorted(all) {
		if now[who] != then[who] {
			cmd.Access = append(cmd.Access, event.Access{Principal: who, Role: then[who]})
		}
	}
	if old.Info == info && len(cmd.Access) == 0 {
		return nil
	}
	return cmd
}

// grants collects the users of a policy.
type grants struct {
	scope event.Scope
	users []event.Principal
	line  uint32 // of the first
}

// grantUsers is how many users go into one command.
const grantUsers = 10_000

func (g *grants) add(ctx context.Context, p *pass, line uint32, v *Grant) error {
	if v.Scope != g.scope || len(g.users) == grantUsers {
		if err := g.flush(ctx, p); err != nil {
			return err
		}
		g.scope, g.line = v.Scope, line
	}
	if _, ok := p.now().User(v.User); !ok {
		f := chat.Refuse(chat.CodeNotFound, "no user %s", v.User)
		f.Principal = v.User
		return p.fault(line, f)
	}
	g.users = append(g.users, v.User)
	return nil
}

func (g *grants) flush(ctx context.Context, p *pass) error {
	users := g.users
	if g.users = nil; len(users) == 0 {
		return nil
	}
	return p.give(ctx, g.line, &chat.GrantPolicy{Users: users, Scope: g.scope})
}

// messages collects the messages of a room.
type messages struct {
	room  event.RoomID
	batch []chat.ImportedMessage
	lines []uint32
	bytes int
	last  uint64                     // id of the newest message of the room that came
	page  map[uint64]history.Message // what the pool has, of the ids from and on
	from  uint64
}

// batchBytes bounds what goes into one command: an entry of the log has 16 MiB.
const batchBytes = 2 << 20

func (m *messages) add(ctx context.Context, p *pass, line uint32, v *Message) error {
	room := mapped(p.ids.rooms, v.Room)
	if room != m.room || len(m.batch) == chat.MaxImportMessages || m.bytes > batchBytes {
		if err := m.flush(ctx, p); err != nil {
			return err
		}
	}
	if room != m.room {
		m.room, m.page, m.last = room, nil, 0
	}
	at, err := time.Parse(time.RFC3339Nano, v.PostedAt)
	if err != nil || at.Year() < 1970 || at.Year() > 2261 {
		return p.fault(line, chat.Refuse(chat.CodeInvalid, "posted_at %q is no time", v.PostedAt))
	}
	im := chat.ImportedMessage{ID: v.MessageID, Author: v.Author, PostedAt: event.Time(at.UnixNano()), Alert: v.Alert, Story: v.Story,
		Text: v.Text, RTF: v.RTF, Title: v.Title}
	for _, l := range v.Links {
		im.Links = append(im.Links, event.Link{Kind: l.Kind, URI: l.URI, Name: l.Name, Size: l.Size})
	}
	r, ok := p.now().Room(room)
	if !ok {
		return p.fault(line, chat.Refuse(chat.CodeNotFound, "no room %s", v.Room))
	}
	if v.MessageID <= m.last {
		return p.fault(line, chat.Refuse(chat.CodeInvalid, "message %d of room %q comes after message %d", v.MessageID, r.Info.Name, m.last))
	}
	m.last = v.MessageID
	if v.MessageID <= r.LastMessage {
		p.res.Skipped++
		return m.compare(ctx, p, line, r, &im)
	}
	m.batch, m.lines = append(m.batch, im), append(m.lines, line)
	m.bytes += len(im.Text) + len(im.RTF) + 200
	return nil
}

// compare refuses a message whose id is that of another one here: the two rooms have gone their own ways. One that is not
// there any more was removed, and stays so.
func (m *messages) compare(ctx context.Context, p *pass, line uint32, r chat.Room, im *chat.ImportedMessage) error {
	if m.page == nil || im.ID < m.from || im.ID >= m.from+pageMessages {
		m.page, m.from = map[uint64]history.Message{}, im.ID
		page, err := p.t.History(ctx, r.ID, m.from, m.from+pageMessages-1)
		if err != nil {
			return err
		}
		for _, h := range page {
			m.page[h.ID] = h
		}
	}
	if h, ok := m.page[im.ID]; ok && !h.Erased && (h.By != im.Author || h.At != im.PostedAt || h.Text != im.Text) {
		f := chat.Refuse(chat.CodeConflict, "message %d of room %q is another one here", im.ID, r.Info.Name)
		f.Rule, f.Room, f.Principal = "R13", r.ID, im.Author
		return p.fault(line, f)
	}
	return nil
}

func (m *messages) flush(ctx context.Context, p *pass) error {
	batch, lines := m.batch, m.lines
	m.batch, m.lines, m.bytes = nil, nil, 0
	if len(batch) == 0 {
		return nil
	}
	c := &chat.ImportMessages{Room: m.room, Source: p.from, Messages: batch}
	if p.state == nil {
		return p.give(ctx, lines[0], c)
	}
	err := p.fold(c)
	if f, ok := err.(*chat.Refusal); ok {
		for i := range f.Rows { // the command counts its own messages
			if n := int(f.Rows[i].Line); n >= 1 && n <= len(lines) {
				f.Rows[i].Line = lines[n-1]
			}
		}
	}
	if err != nil {
		return p.fault(lines[0], err)
	}
	return nil
}
