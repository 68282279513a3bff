package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/roles"
)

// caller is the administrator who asks.
type caller struct {
	who   event.Principal
	roles roles.Set
}

// may refuses what the caller has no role for.
func (c caller) may(right roles.Action) error {
	if right == anyAdmin || c.roles.May(right) {
		return nil
	}
	has := "no role"
	if names := c.roles.Names(); len(names) > 0 {
		has = strings.Join(names, ", ")
	}
	f := chat.Refuse(chat.CodeForbidden, "%s has %s: %s", c.who, has, roles.Denial(right))
	f.Rule, f.Principal = chat.RuleRole, c.who
	return f
}

// administrator is the set of the one role.
var administrator = func() roles.Set {
	s, err := roles.Of(string(roles.Administrator))
	if err != nil {
		panic(err) // the name is a constant
	}
	return s
}()

// authenticate finds the administrator whose token the request carries, among those of the configuration and those that
// the pool issued; a node that is not current does not know which of those were revoked, and takes none. Hashes are compared, and in constant time, so that time tells nothing about a token.
func (a *API) authenticate(r *http.Request, current bool) (c caller, known bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return c, false
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	s := a.Pool.State()
	for hash, name := range a.credentials {
		if subtle.ConstantTimeCompare(hash[:], sum[:]) == 1 {
			c.who, known = event.Principal("admin:"+name), true
			if c.roles = s.AdminRoles(c.who); c.roles == 0 {
				c.roles = administrator
			}
		}
	}
	if !current {
		return c, known
	}
	now := a.Now()
	for t := range s.AdminTokens() {
		if subtle.ConstantTimeCompare(t.SHA256, sum[:]) == 1 && (t.Expires == 0 || now < t.Expires) {
			c.who, known = t.Admin, true
			c.roles = s.AdminRoles(c.who)
		}
	}
	return c, known
}
