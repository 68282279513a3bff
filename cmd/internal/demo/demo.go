// Package demo is the directory that the sandbox and `pool init --demo` start with. It is data: whoever forms the
// pool submits it, once, like any other administrator.
package demo

import (
	"crypto/sha256"
	"fmt"

	"parley/log/event"
	"parley/projections/chat"
)

// Password of every demo user.
const Password = "parley"

// By is who creates the demo directory, for the log.
const By event.Principal = "admin:demo"

// Users are the names of the demo users, without domain.
func Users() []string { return []string{"alice", "bob", "carol", "dave", "erin"} }

// Lobby is the name of the open room, where the demo users talk.
const Lobby = "Lobby"

// SecretFunc makes what the server keeps of a password.
type SecretFunc func(user event.Principal, realm, password string) event.Secret

// Requests returns the commands that create the directory in a pool of this domain. The ids in them follow from
// domain and name, and so do the command ids: submitting them twice, also from two nodes at once or after a crash
// half way, changes nothing.
func Requests(domain string, secret SecretFunc) []chat.Request {
	var out []chat.Request
	add := func(key string, c chat.Command) {
		sum := sha256.Sum256([]byte("parley demo command\x00" + domain + "\x00" + key))
		out = append(out, chat.Request{Origin: chat.Origin{By: By, Trusted: true, ID: event.CommandID(sum[:16])}, Command: c})
	}
	uri := func(name string) event.Principal { return event.UserPrincipal(name + "@" + domain) }
	for _, name := range Users() {
		u := uri(name)
		add("user "+name, &chat.CreateUser{User: u, Secret: secret(u, domain, Password),
			Info: event.UserInfo{DisplayName: string(name[0]-'a'+'A') + name[1:], Email: name + "@" + domain, Enabled: true}})
	}
	general := event.CategoryID(guid(domain, "category", "General"))
	add("category General", &chat.CreateCategory{ID: general, Info: event.CategoryInfo{
		Name: "General", Description: "Rooms for everyone", Allowed: []event.Principal{"*"},
		Invitations: true, FileUpload: true, ChatHistory: true,
	}})
	room := func(name, description string, typ event.RoomType, privacy event.Privacy, access ...event.Access) {
		add("room "+name, &chat.CreateRoom{ID: event.RoomID(guid(domain, "room", name)), Access: access, Info: event.RoomInfo{
			Name: name, Description: description, Category: general, Type: typ, Privacy: privacy, Invitations: event.InvitationsInherit,
		}})
	}
	room(Lobby, "Everyone meets here", event.RoomNormal, event.PrivacyOpen)
	room("Operations", "Work in progress", event.RoomNormal, event.PrivacyClosed,
		event.Access{Principal: uri("alice"), Role: event.RoleMember | event.RoleManager},
		event.Access{Principal: uri("bob"), Role: event.RoleMember})
	room("Board", "By invitation only", event.RoomNormal, event.PrivacySecret,
		event.Access{Principal: uri("carol"), Role: event.RoleMember})
	room("Announcements", "Read here, presenters write", event.RoomAuditorium, event.PrivacyOpen,
		event.Access{Principal: uri("alice"), Role: event.RoleMember | event.RolePresenter}) // a presenter must be a member
	return out
}

// guid derives a version 8 UUID (RFC 9562 section 5.8) from names.
func guid(domain, kind, name string) string {
	b := sha256.Sum256([]byte("parley demo\x00" + domain + "\x00" + kind + "\x00" + name))
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
