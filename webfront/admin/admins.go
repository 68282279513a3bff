package admin

import (
	"context"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/registry"
	"parley/projections/chat/roles"
	"parley/webfront/answer"
	"parley/webfront/objects"
)

// Self is who asks.
type Self struct {
	Admin event.Principal `json:"admin"`
	Roles []string        `json:"roles"`
	May   []roles.Action  `json:"may" doc:"what these roles allow"`
}

// Admin is an administrator with what he may do.
type Admin struct {
	Admin      event.Principal `json:"admin" doc:"admin:NAME, or the address of an account"`
	Roles      []string        `json:"roles" doc:"administrator, auditor, operator, user-administrator"`
	Tokens     int             `json:"tokens" doc:"how many the pool has issued to him that hold"`
	Configured bool            `json:"configured" doc:"he has a credential in the configuration of the node that answers"`
}

// AdminChange is the body of PATCH /admins/{admin}.
type AdminChange struct {
	Roles *objects.ListChange `json:"roles,omitempty" doc:"names of roles"`
}

func (a *API) adminRoutes() []route {
	return []route{
		{method: "GET", path: "/admins", right: roles.AdminRead, summary: "Who administers the pool, and in which roles", out: []Admin{}, handle: a.listAdmins},
		{method: "GET", path: "/admins/{admin}", right: roles.AdminRead, summary: "One administrator", out: Admin{}, handle: a.getAdmin},
		{method: "PATCH", path: "/admins/{admin}", right: roles.AdminChange, in: AdminChange{}, out: Admin{}, params: []param{whatIf}, handle: a.setAdmin,
			summary: "Give an administrator roles, or take them away; who has none and no credential in the configuration may do nothing"},
	}
}

func (a *API) getSelf(w http.ResponseWriter, r *http.Request) error {
	c := callerOf(r)
	out := Self{Admin: c.who, Roles: names(c.roles), May: []roles.Action{}}
	for _, x := range roles.Actions() {
		if c.roles.May(x) {
			out.May = append(out.May, x)
		}
	}
	return answer.JSON(w, http.StatusOK, out)
}

func names(s roles.Set) []string { return append([]string{}, s.Names()...) }

// adminName reads the name of an administrator: NAME and admin:NAME are the same, an address is an account.
func adminName(s *chat.State, name string) (event.Principal, error) {
	if strings.Contains(name, "@") {
		return objects.Address(s, name)
	}
	n, _ := strings.CutPrefix(strings.TrimSpace(name), "admin:")
	if n == "" || strings.ContainsAny(n, " \t\r\n:/\\") {
		return "", chat.Refuse(chat.CodeInvalid, "%q is neither NAME of an administrator nor the address of an account", name)
	}
	return event.Principal("admin:" + n), nil
}

func (a *API) showAdmin(s *chat.State, p event.Principal) Admin {
	out := Admin{Admin: p, Roles: names(s.AdminRoles(p))}
	for _, n := range a.credentials {
		if p == event.Principal("admin:"+n) {
			out.Configured = true
			if len(out.Roles) == 0 {
				out.Roles = names(administrator)
			}
		}
	}
	now := a.Now()
	for t := range s.AdminTokens() {
		if t.Admin == p && (t.Expires == 0 || now < t.Expires) {
			out.Tokens++
		}
	}
	return out
}

func (a *API) listAdmins(w http.ResponseWriter, _ *http.Request) error {
	s := a.Pool.State()
	all := map[event.Principal]bool{}
	for x := range s.Admins() {
		all[x.Name] = true
	}
	for t := range s.AdminTokens() {
		all[t.Admin] = true
	}
	for _, n := range a.credentials {
		all[event.Principal("admin:"+n)] = true
	}
	out := []Admin{}
	for p := range all {
		out = append(out, a.showAdmin(s, p))
	}
	slices.SortFunc(out, func(x, y Admin) int { return strings.Compare(string(x.Admin), string(y.Admin)) })
	return answer.JSON(w, http.StatusOK, out)
}

func (a *API) getAdmin(w http.ResponseWriter, r *http.Request) error {
	s := a.Pool.State()
	p, err := adminName(s, r.PathValue("admin"))
	if err != nil {
		return err
	}
	out := a.showAdmin(s, p)
	if len(out.Roles) == 0 && out.Tokens == 0 {
		return chat.Refuse(chat.CodeNotFound, "no administrator %s", p).About(p)
	}
	return answer.JSON(w, http.StatusOK, out)
}

func (a *API) setAdmin(w http.ResponseWriter, r *http.Request) error {
	c, o, err := body[AdminChange](a, r)
	if err != nil {
		return err
	}
	s := a.Pool.State()
	p, err := adminName(s, r.PathValue("admin"))
	if err != nil {
		return err
	}
	shown := a.showAdmin(s, p)
	cmd, err := changeRoles(callerOf(r), p, shown.Roles, c.Roles)
	if err != nil {
		return err
	}
	if shown.Configured && cmd.Roles == 0 { // without a role of the pool he has all that his credential gives him
		return chat.Refuse(chat.CodeConflict, "%s has a credential in the configuration, and without a role he may do everything: take him out of the configuration, or leave him a role", p).About(p)
	}
	return a.submit(w, r, o, cmd, func(chat.Outcome) error {
		return answer.JSON(w, http.StatusOK, a.showAdmin(a.Pool.State(), p))
	})
}

// changeRoles makes the command that gives p other roles. Nobody takes the role of an administrator from himself: the
// last one would lock everybody out.
func changeRoles(c caller, p event.Principal, old []string, change *objects.ListChange) (*chat.ChangeAdmin, error) {
	now, err := objects.ApplyTo(change, old, func(name string) (string, error) {
		name = objects.Lower(name)
		if _, err := roles.Of(name); err != nil {
			return "", chat.Refuse(chat.CodeInvalid, "%v", err).About(p)
		}
		return name, nil
	})
	if err != nil {
		return nil, err
	}
	set, err := roles.Of(now...)
	if err != nil {
		return nil, chat.Refuse(chat.CodeInvalid, "%v", err)
	}
	if p == c.who && !set.Has(roles.Administrator) {
		return nil, chat.Refuse(chat.CodeConflict, "%s cannot take the role %s from himself; another administrator can", p, roles.Administrator).About(p)
	}
	return &chat.ChangeAdmin{Admin: p, Roles: set}, nil
}

// Token is a token of an administrator; the token itself is known to him alone.
type Token struct {
	Token       event.TokenID   `json:"token" doc:"GUID that names it"`
	Admin       event.Principal `json:"admin"`
	Roles       []string        `json:"roles" doc:"of the administrator"`
	Description string          `json:"description"`
	Expires     string          `json:"expires" doc:"empty: never"`
	Expired     bool            `json:"expired"`
	IssuedAt    string          `json:"issued_at"`
	IssuedBy    event.Principal `json:"issued_by"`
	Revision    event.Offset    `json:"revision"`
}

// TokenChange is the body of POST. Whoever asks makes the token, of at least 256 random bits, and sends its hash: so it
// is written nowhere, and a lost answer loses nothing.
type TokenChange struct {
	Admin       *string  `json:"admin,omitempty" doc:"NAME or admin:NAME, or the address of an account; required"`
	Roles       []string `json:"roles,omitempty" doc:"roles that the administrator gets besides those he has"`
	SHA256      *string  `json:"sha256,omitempty" doc:"SHA-256 of the token in hex; required"`
	Expires     *string  `json:"expires,omitempty" doc:"RFC 3339; absent: never"`
	Description *string  `json:"description,omitempty"`
	objects.Seen
}

func (a *API) tokens() *objects.Resource[registry.Token, Token, TokenChange, *TokenChange] {
	return &objects.Resource[registry.Token, Token, TokenChange, *TokenChange]{
		Path: "/admin-tokens", Key: "token", Noun: "token", Identity: "GUID",
		Read: roles.AdminRead, Create: roles.AdminChange, Remove: roles.AdminChange,
		Lists: "Tokens that the pool has issued to administrators", Makes: "Issue a token", Drops: "Revoke a token: it holds nowhere any more when this is answered",
		ListParams: []param{{Name: "admin", Doc: "only of this administrator"}},
		Find: func(s *chat.State, identity string) (registry.Token, error) {
			t, ok := s.AdminToken(event.TokenID(objects.Lower(identity)))
			if !ok {
				return t, chat.Refuse(chat.CodeNotFound, "no token %q", identity)
			}
			return t, nil
		},
		List: func(_ context.Context, s *chat.State, q url.Values) (out []registry.Token, err error) {
			var of event.Principal
			if v := q.Get("admin"); v != "" {
				if of, err = adminName(s, v); err != nil {
					return nil, err
				}
			}
			for t := range s.AdminTokens() {
				if of == "" || t.Admin == of {
					out = append(out, t)
				}
			}
			return out, nil
		},
		Order:    func(t Token) string { return string(t.Admin) + " " + t.IssuedAt },
		ID:       func(t registry.Token) string { return string(t.ID) },
		Name:     func(t registry.Token) string { return string(t.ID) },
		Revision: func(t registry.Token) event.Offset { return t.Revision },
		Show: func(v objects.View, t registry.Token) Token {
			out := Token{Token: t.ID, Admin: t.Admin, Roles: names(v.State.AdminRoles(t.Admin)), Description: t.Description, IssuedAt: t.Issued.String(),
				IssuedBy: t.By, Revision: t.Revision, Expired: t.Expires != 0 && a.Now() >= t.Expires}
			if t.Expires != 0 {
				out.Expires = t.Expires.String()
			}
			return out
		},
		Make: a.issue,
		Made: func(_ *chat.State, _ *TokenChange, out chat.Result) string { return string(out.Token) },
		Drop: func(t registry.Token, _ url.Values) (chat.Command, error) { return &chat.RevokeToken{Token: t.ID}, nil },
	}
}

func (a *API) issue(s *chat.State, c *TokenChange) (chat.Command, error) {
	if c.Admin == nil || c.SHA256 == nil {
		return nil, chat.Refuse(chat.CodeInvalid, "a token needs an admin and its sha256")
	}
	p, err := adminName(s, *c.Admin)
	if err != nil {
		return nil, err
	}
	cmd := &chat.IssueToken{Admin: p}
	if cmd.SHA256, err = hex.DecodeString(*c.SHA256); err != nil {
		return nil, chat.Refuse(chat.CodeInvalid, "sha256 is not in hex")
	}
	objects.Set(&cmd.Description, c.Description)
	if c.Expires != nil {
		if cmd.Expires, err = objects.ParseTime("expires", *c.Expires); err != nil {
			return nil, err
		}
	}
	if len(c.Roles) > 0 {
		if cmd.Roles, err = roles.Of(c.Roles...); err != nil {
			return nil, chat.Refuse(chat.CodeInvalid, "%v", err).About(p)
		}
	}
	return cmd, nil
}
