package objects

import (
	"context"
	"crypto/md5" //nolint:gosec // RFC 8760: for clients that know nothing better
	"crypto/sha256"
	"net/url"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/roles"
)

// User is an account as the API shows it. The secret is never shown.
type User struct {
	User                 event.Principal `json:"user"`
	DisplayName          string          `json:"display_name"`
	Email                string          `json:"email"`
	EnablePersistentChat bool            `json:"enable_persistent_chat" doc:"the account's own switch; a policy may say no all the same"`
	MayChat              bool            `json:"may_chat" doc:"what comes of the switch and the policy that holds"`
	Policy               event.Scope     `json:"policy" doc:"that the user was granted; empty: none of his own"`
	PasswordSet          bool            `json:"password_set"`
	Name                 string          `json:"name" doc:"relative name in the unit"`
	GivenName            string          `json:"given_name"`
	Surname              string          `json:"surname"`
	Company              string          `json:"company"`
	Unit                 string          `json:"unit" doc:"distinguished name of the organisational unit; empty: at the top"`
	MemberOf             []Who           `json:"member_of" doc:"groups, directly"`
	DistinguishedName    string          `json:"distinguished_name"`
	Revision             event.Offset    `json:"revision"`
}

// UserChange is the body of POST and PATCH; what is absent stays as it is. A new account is enabled unless it says
// otherwise, and cannot sign in with a password before it has one.
type UserChange struct {
	User                 *string `json:"user,omitempty" doc:"POST only: SIP address, or a name in the pool's domain"`
	DisplayName          *string `json:"display_name,omitempty"`
	Email                *string `json:"email,omitempty"`
	EnablePersistentChat *bool   `json:"enable_persistent_chat,omitempty"`
	Password             *string `json:"password,omitempty" doc:"1 to 1024 bytes; only its hash is kept"`
	Name                 *string `json:"name,omitempty"`
	GivenName            *string `json:"given_name,omitempty"`
	Surname              *string `json:"surname,omitempty"`
	Company              *string `json:"company,omitempty"`
	Unit                 *string `json:"unit,omitempty" doc:"organisational unit; empty: at the top"`
	Seen
}

// MaxPassword bounds a password, in bytes.
const MaxPassword = 1024

// NewSecret returns what the pool keeps of a password: H(address:realm:password) for each algorithm (RFC 7616 section
// 3.4.2), with the address without "sip:" as the user name.
func NewSecret(user event.Principal, realm, password string, withMD5 bool) event.Secret {
	a1 := []byte(user.Address() + ":" + realm + ":" + password)
	sum := sha256.Sum256(a1)
	s := event.Secret{Realm: realm, HA1SHA256: sum[:]}
	if withMD5 {
		old := md5.Sum(a1) //nolint:gosec // see the import
		s.HA1MD5 = old[:]
	}
	return s
}

// Users are one kind of object.
func Users(env *Env) *Resource[chat.User, User, UserChange, *UserChange] {
	return &Resource[chat.User, User, UserChange, *UserChange]{
		Path: "/users", Key: "user", Noun: "user", Identity: "SIP address, or a name in the pool's domain",
		Read: roles.UserRead, Create: roles.UserChange, Change: roles.UserChange, Remove: roles.UserChange,
		Lists: "Accounts, by address", Makes: "Make an account", Alters: "Change an account; one that is not enabled any more leaves all rooms",
		Drops: "Remove an account: its sessions end, its roles are gone", AsObjects: true,
		ListParams: []Param{
			{Name: "filter", Doc: "words that address or display name have"},
			{Name: "member_of", Doc: "only who is contained in this group, unit or domain, however deep"},
			{Name: "policy", Doc: "only who was granted this policy"},
			{Name: "enabled", Kind: "boolean", Doc: "only who may chat, or who may not"},
		},
		Find:     findUser,
		List:     listUsers,
		Order:    func(u User) string { return string(u.User) },
		ID:       func(u chat.User) string { return string(u.URI) },
		Name:     func(u chat.User) string { return string(u.URI) },
		Revision: func(u chat.User) event.Offset { return u.Revision },
		Show:     showUser,
		Make: func(s *chat.State, c *UserChange) (chat.Command, error) {
			if c.User == nil {
				return nil, chat.Refuse(chat.CodeInvalid, "a new user needs a SIP address")
			}
			u, err := Address(s, *c.User)
			if err != nil {
				return nil, err
			}
			info, secret, err := env.account(s, c, u, event.UserInfo{Enabled: true})
			if info.DisplayName == "" {
				info.DisplayName, _, _ = strings.Cut(u.Address(), "@")
			}
			return &chat.CreateUser{User: u, Info: info, Secret: secret}, err
		},
		Made: func(s *chat.State, c *UserChange, _ chat.Result) string {
			u, _ := Address(s, *c.User) // it was read before
			return string(u)
		},
		Alter: func(s *chat.State, u chat.User, c *UserChange, revision event.Offset) (chat.Command, error) {
			if c.User != nil {
				return nil, chat.Refuse(chat.CodeInvalid, "an address cannot be changed; make a new user").About(u.URI)
			}
			info, secret, err := env.account(s, c, u.URI, u.Info)
			return &chat.ChangeUser{User: u.URI, Info: info, Secret: secret, Revision: revision}, err
		},
		Drop: func(u chat.User, _ url.Values) (chat.Command, error) { return &chat.RemoveUser{User: u.URI}, nil },
	}
}

func showUser(v View, u chat.User) User {
	s := v.State
	return User{User: u.URI, DisplayName: u.Info.DisplayName, Email: u.Info.Email, EnablePersistentChat: u.Info.Enabled,
		MayChat: s.Enabled(u.URI), Policy: s.Policies().Granted(u.URI), PasswordSet: len(u.Secret.HA1SHA256) > 0,
		Name: u.Info.Name, GivenName: u.Info.GivenName, Surname: u.Info.Surname, Company: u.Info.Company,
		Unit: unitName(s, u.Info.Unit), MemberOf: v.list(s.Directory().MemberOf(u.URI)),
		DistinguishedName: s.DistinguishedName(u.URI), Revision: u.Revision}
}

func findUser(s *chat.State, identity string) (chat.User, error) {
	p, err := Address(s, identity)
	if err != nil {
		return chat.User{}, err
	}
	u, ok := s.User(p)
	if !ok {
		return chat.User{}, chat.Refuse(chat.CodeNotFound, "no user %s", p).About(p)
	}
	return u, nil
}

func listUsers(_ context.Context, s *chat.State, q url.Values) (out []chat.User, err error) {
	var in event.Principal
	if v := q.Get("member_of"); v != "" {
		if in, err = Principal(s, v); err != nil {
			return nil, err
		}
	}
	for u := range s.Users() {
		if HasWords(q.Get("filter"), string(u.URI)+"\n"+u.Info.DisplayName) &&
			(in == "" || s.Directory().Contains(in, u.URI)) &&
			(!q.Has("policy") || Lower(q.Get("policy")) == string(s.Policies().Granted(u.URI)) || "user:"+Lower(q.Get("policy")) == string(s.Policies().Granted(u.URI))) &&
			(!q.Has("enabled") || (q.Get("enabled") == "true") == s.Enabled(u.URI)) {
			out = append(out, u)
		}
	}
	return out, nil
}

// account puts a change over the fields of an account.
func (e *Env) account(s *chat.State, c *UserChange, u event.Principal, i event.UserInfo) (event.UserInfo, event.Secret, error) {
	Set(&i.DisplayName, c.DisplayName)
	Set(&i.Email, c.Email)
	Set(&i.Enabled, c.EnablePersistentChat)
	Set(&i.Name, c.Name)
	Set(&i.GivenName, c.GivenName)
	Set(&i.Surname, c.Surname)
	Set(&i.Company, c.Company)
	if err := setUnit(s, &i.Unit, c.Unit); err != nil {
		return i, event.Secret{}, err
	}
	if c.Password == nil {
		return i, event.Secret{}, nil
	}
	if n := len(*c.Password); n == 0 || n > MaxPassword || strings.ContainsAny(*c.Password, "\x00\r\n") {
		return i, event.Secret{}, chat.Refuse(chat.CodeInvalid, "a password has 1 to %d bytes and no line ends", MaxPassword).About(u)
	}
	return i, NewSecret(u, s.Domain(), *c.Password, e.DigestMD5), nil
}
