package admin

import (
	"crypto/md5" //nolint:gosec // RFC 8760: for clients that know nothing better
	"crypto/sha256"
	"net/http"
	"slices"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
)

// User is an account as the API shows it. The secret is never shown.
type User struct {
	User                 event.Principal `json:"user"`
	DisplayName          string          `json:"display_name"`
	Email                string          `json:"email"`
	EnablePersistentChat bool            `json:"enable_persistent_chat"` // policy
	PasswordSet          bool            `json:"password_set"`
	Revision             event.Offset    `json:"revision"`
}

// UserChange is the body of POST and PATCH; what is absent stays as it is. A new account is enabled unless it says
// otherwise, and cannot sign in with a password before it has one.
type UserChange struct {
	User                 *string `json:"user,omitempty"` // POST only: SIP address, or a name in the pool's domain
	DisplayName          *string `json:"display_name,omitempty"`
	Email                *string `json:"email,omitempty"`
	EnablePersistentChat *bool   `json:"enable_persistent_chat,omitempty"`
	Password             *string `json:"password,omitempty"`
}

// maxPassword bounds a password, in bytes.
const maxPassword = 1024

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

func showUser(u chat.User) User {
	return User{User: u.URI, DisplayName: u.Info.DisplayName, Email: u.Info.Email, EnablePersistentChat: u.Info.Enabled,
		PasswordSet: len(u.Secret.HA1SHA256) > 0, Revision: u.Revision}
}

func findUser(s *chat.State, identity string) (chat.User, error) {
	p, err := principal(identity, s.Domain())
	if err != nil {
		return chat.User{}, err
	}
	u, ok := s.User(p)
	if !ok {
		return chat.User{}, chat.Refuse(chat.CodeNotFound, "no user %s", p)
	}
	return u, nil
}

func (a *API) listUsers(w http.ResponseWriter, r *http.Request) error {
	s, q := a.Pool.State(), r.URL.Query()
	words := strings.Fields(strings.ToLower(q.Get("filter")))
	limit, err := resultSize(q)
	if err != nil {
		return err
	}
	out := []User{}
	for u := range s.Users() {
		text := strings.ToLower(string(u.URI) + "\n" + u.Info.DisplayName)
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			out = append(out, showUser(u))
		}
	}
	slices.SortFunc(out, func(x, y User) int { return strings.Compare(string(x.User), string(y.User)) })
	return writeJSON(w, http.StatusOK, out[:min(limit, len(out))])
}

func (a *API) getUser(w http.ResponseWriter, r *http.Request) error {
	u, err := findUser(a.Pool.State(), r.PathValue("user"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, showUser(u))
}

// apply puts the change over an account.
func (a *API) apply(c *UserChange, u event.Principal, i event.UserInfo) (event.UserInfo, event.Secret, error) {
	set(&i.DisplayName, c.DisplayName)
	set(&i.Email, c.Email)
	if c.EnablePersistentChat != nil {
		i.Enabled = *c.EnablePersistentChat
	}
	if c.Password == nil {
		return i, event.Secret{}, nil
	}
	if n := len(*c.Password); n == 0 || n > maxPassword || strings.ContainsAny(*c.Password, "\x00\r\n") {
		return i, event.Secret{}, chat.Refuse(chat.CodeInvalid, "a password has 1 to %d bytes and no line ends", maxPassword)
	}
	return i, NewSecret(u, a.Pool.State().Domain(), *c.Password, a.DigestMD5), nil
}

func (a *API) newUser(w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[UserChange](a, r)
	if err != nil {
		return err
	}
	if c.User == nil {
		return chat.Refuse(chat.CodeInvalid, "a new user needs a SIP address")
	}
	u, err := principal(*c.User, a.Pool.State().Domain())
	if err != nil {
		return err
	}
	info, secret, err := a.apply(c, u, event.UserInfo{Enabled: true})
	if err != nil {
		return err
	}
	if info.DisplayName == "" {
		info.DisplayName, _, _ = strings.Cut(u.Address(), "@")
	}
	return a.submit(w, r, o, &chat.CreateUser{User: u, Info: info, Secret: secret}, func(out chat.Outcome) error {
		w.Header().Set("Location", Prefix+"/users/"+u.Address())
		return a.answerUser(w, http.StatusCreated, u, out.Offset)
	})
}

func (a *API) answerUser(w http.ResponseWriter, status int, u event.Principal, at event.Offset) error {
	now, ok := a.Pool.State().User(u)
	if !ok { // somebody removed it since
		return writeJSON(w, status, map[string]any{"user": u, "removed": true, "offset": at})
	}
	return writeJSON(w, status, showUser(now))
}

func (a *API) setUser(w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[UserChange](a, r)
	if err != nil {
		return err
	}
	if c.User != nil {
		return chat.Refuse(chat.CodeInvalid, "an address cannot be changed; make a new user")
	}
	u, err := findUser(a.Pool.State(), r.PathValue("user"))
	if err != nil {
		return err
	}
	info, secret, err := a.apply(c, u.URI, u.Info)
	if err != nil {
		return err
	}
	return a.submit(w, r, o, &chat.ChangeUser{User: u.URI, Info: info, Secret: secret}, func(out chat.Outcome) error {
		return a.answerUser(w, http.StatusOK, u.URI, out.Offset)
	})
}

func (a *API) removeUser(w http.ResponseWriter, r *http.Request) error {
	o, err := a.origin(r, nil)
	if err != nil {
		return err
	}
	u, err := findUser(a.Pool.State(), r.PathValue("user"))
	if err != nil {
		return a.removedBefore(w, r, o, &chat.RemoveUser{}, err)
	}
	return a.submit(w, r, o, &chat.RemoveUser{User: u.URI}, func(out chat.Outcome) error {
		return writeJSON(w, http.StatusOK, Removed{Removed: string(u.URI), Offset: out.Offset})
	})
}
