package adaptertest

import (
	"strings"

	"parley/log/event"
	"parley/projections/chat"
)

// Ids of the scene.
const (
	Domain                   = "contoso.test"
	Lobby   event.RoomID     = "11111111-1111-4111-8111-111111111111"
	Board   event.RoomID     = "22222222-2222-4222-8222-222222222222"
	Empty   event.RoomID     = "33333333-3333-4333-8333-333333333333"
	General event.CategoryID = "99999999-9999-4999-8999-999999999999"
	Alice   event.Principal  = "sip:alice@contoso.test"
	Bob     event.Principal  = "sip:bob@contoso.test"
	Carol   event.Principal  = "sip:carol@contoso.test"
	admin   event.Principal  = "admin:scene"
)

// Marks are the offsets between the acts of the scene: the last event of each.
type Marks struct {
	Directory event.Offset // nothing but administration so far
	Talk      event.Offset // joins, posts, reads, parts in two rooms
	Renamed   event.Offset // a room and a user have new names, and posts go on
	Lost      event.Offset // node n2 was lost with everybody on it
	Restarted event.Offset // node n1 came back in a new incarnation without having been declared lost
	Quiet     event.Offset // a change that no archive of conversations wants
}

// Scene plays a short day in a new world: everything an adapter of conversations has to get right.
func Scene() (*World, Marks) {
	w := NewWorld()
	var m Marks
	trusted := func(c chat.Command) { w.Must(chat.Request{Origin: chat.Origin{By: admin, Trusted: true}, Command: c}) }
	node := func(n event.NodeID, i event.Incarnation) {
		w.Must(chat.Request{Origin: chat.Origin{By: event.NodePrincipal(n), Node: n, Incarnation: i, Trusted: true}, Command: &chat.StartNode{Version: "test"}})
	}
	as := func(p event.Principal, end event.Endpoint, n event.NodeID, c chat.Command) {
		nd, _ := w.State().Node(n)
		w.Must(chat.Request{Origin: chat.Origin{By: p, Endpoint: end, Node: n, Incarnation: nd.Incarnation}, Command: c})
	}
	trusted(&chat.FormPool{Domain: Domain, PoolURI: "sip:parley@" + Domain})
	node("n1", 1)
	node("n2", 1)
	trusted(&chat.CreateUser{User: Alice, Info: event.UserInfo{DisplayName: "Alice Adams", Email: "alice@contoso.test", Enabled: true}})
	trusted(&chat.CreateUser{User: Bob, Info: event.UserInfo{DisplayName: `Bob "the <b>" & co`, Email: "bob@mail.contoso.test", Enabled: true}})
	trusted(&chat.CreateUser{User: Carol, Info: event.UserInfo{Enabled: true}})
	trusted(&chat.CreateCategory{ID: General, Info: event.CategoryInfo{Name: "General", Allowed: []event.Principal{"*"}, ChatHistory: true}})
	open := event.RoomInfo{Name: "Lobby", Category: General, Type: event.RoomNormal, Privacy: event.PrivacyOpen, Invitations: event.InvitationsInherit}
	trusted(&chat.CreateRoom{ID: Lobby, Info: open})
	board := open
	board.Name = "Board & <friends>"
	trusted(&chat.CreateRoom{ID: Board, Info: board})
	empty := open
	empty.Name = "Empty"
	trusted(&chat.CreateRoom{ID: Empty, Info: empty})
	m.Directory = w.Head()

	as(Alice, "a1", "n1", &chat.Join{Rooms: []event.RoomID{Lobby}})
	as(Bob, "b1", "n2", &chat.Join{Rooms: []event.RoomID{Lobby, Board}, Batch: true})
	as(Alice, "a1", "n1", &chat.Post{Room: Lobby, Text: "hello"})
	as(Bob, "b1", "n2", &chat.Post{Room: Lobby, Text: "a < b && c > \"d\" 'e'\nsecond line\tand a tab\r\n  two spaces, Grüße, 漢字, \U0001F600 and ]]>"})
	as(Bob, "b1", "n2", &chat.Post{Room: Board, Text: "formatted", RTF: `{\rtf1\b formatted}`, Alert: true})
	as(Alice, "a1", "n1", &chat.ReadHistory{Room: Lobby, Last: 30})
	as(Carol, "c1", "n2", &chat.Join{Rooms: []event.RoomID{Lobby}})
	as(Carol, "c1", "n2", &chat.Part{Rooms: []event.RoomID{Lobby}, Reason: event.PartAsked})
	as(Alice, "a1", "n1", &chat.Post{Room: Lobby, Text: strings.Repeat("long ", 1500)})
	m.Talk = w.Head()

	open.Name = "Foyer"
	trusted(&chat.ChangeRoom{ID: Lobby, Info: open})
	as(Alice, "a1", "n1", &chat.Post{Room: Lobby, Text: "in the foyer"})
	trusted(&chat.ChangeUser{User: Alice, Info: event.UserInfo{DisplayName: "Alice Baker", Email: "alice.baker@contoso.test", Enabled: true}})
	as(Alice, "a1", "n1", &chat.Post{Room: Lobby, Text: "as Baker"})
	m.Renamed = w.Head()

	as(Carol, "c2", "n2", &chat.Join{Rooms: []event.RoomID{Lobby, Board}, Batch: true})
	as(Carol, "c2", "n1", &chat.Join{Rooms: []event.RoomID{Board}}) // the same endpoint on another node stays
	trusted(&chat.LoseNode{Node: "n2", Incarnation: 1, Reason: "silent"})
	m.Lost = w.Head()

	node("n1", 2)
	m.Restarted = w.Head()

	empty.Description = "still empty"
	trusted(&chat.ChangeRoom{ID: Empty, Info: empty})
	m.Quiet = w.Head()
	return w, m
}

// Late goes on with a scene: a story, a message with a file and one with a word that means something to a spreadsheet, a
// search, a removal, text that XML cannot carry, and names that want to be lines of their own.
func Late(w *World) {
	as := func(p event.Principal, c chat.Command) {
		nd, _ := w.State().Node("n1")
		w.Must(chat.Request{Origin: chat.Origin{By: p, Endpoint: "late", Node: "n1", Incarnation: nd.Incarnation}, Command: c})
	}
	trusted := func(c chat.Command) { w.Must(chat.Request{Origin: chat.Origin{By: admin, Trusted: true}, Command: c}) }
	g, _ := w.State().Category(General)
	g.Info.FileUpload, g.Info.Description = true, "for all"
	trusted(&chat.ChangeCategory{ID: General, Info: g.Info})
	u, _ := w.State().User(Alice)
	u.Info.GivenName, u.Info.Surname, u.Info.Company, u.Info.DisplayName = "Alice", "Baker", "Contoso & Söhne", "Bäcker, Alice"
	trusted(&chat.ChangeUser{User: Alice, Info: u.Info})
	as(Alice, &chat.Join{Rooms: []event.RoomID{Lobby, Board}, Batch: true})
	as(Alice, &chat.Post{Room: Lobby, Story: true, Title: "A long \"story\", with commas", Text: "It was a dark and\nstormy night."})
	as(Alice, &chat.Post{Room: Lobby, Text: "see =SUM(A1:A2).xlsx", Links: []event.Link{{Kind: event.LinkFile, URI: "ma-filelink://contoso.test/0f8fad5b-d9cb-469f-a165-70867728950e.xlsx", Name: "=SUM(A1:A2).xlsx", Size: 4711}}})
	as(Alice, &chat.Post{Room: Lobby, Text: "=1+1", Alert: true})
	as(Alice, &chat.Post{Room: Board, Text: "bell \x07 and noncharacter \uFFFE, separator \u2028 and backslash \\"})
	as(Alice, &chat.SearchMessages{Rooms: []event.RoomID{Lobby, Board}, Query: event.Query{Text: "plan \"b\"", Match: event.MatchAll, Authors: []event.Principal{Bob}}, Limit: 10})
	trusted(&chat.ClearRoom{Room: Board, Until: w.State().At()})
}

// Imported goes on with a scene that had its late part: messages of an archive, of somebody who is in the room, of somebody
// whom the directory does not know, and a story with a file; then the room goes on.
func Imported(w *World) {
	posted := event.Time(1600000000123456789)
	w.Must(chat.Request{Origin: chat.Origin{By: admin, Trusted: true}, Command: &chat.ImportMessages{Room: Lobby, Source: "old.test", Messages: []chat.ImportedMessage{
		{ID: 101, Author: Alice, PostedAt: posted, Text: "from the old pool", Alert: true},
		{ID: 102, Author: "sip:zoe@old.test", PostedAt: posted + 1e9, Text: "two\nlines, \"quoted\" & <marked>", RTF: `{\rtf1 two}`},
		{ID: 105, Author: Bob, PostedAt: posted + 2e9, Story: true, Title: "An old story", Text: "with a file",
			Links: []event.Link{{Kind: event.LinkFile, URI: "ma-filelink://old.test/0f8fad5b-d9cb-469f-a165-70867728950e.txt", Name: "old.txt", Size: 12}}},
	}}})
	nd, _ := w.State().Node("n1")
	w.Must(chat.Request{Origin: chat.Origin{By: Alice, Endpoint: "late", Node: "n1", Incarnation: nd.Incarnation}, Command: &chat.Post{Room: Lobby, Text: "and on it goes"}})
}
