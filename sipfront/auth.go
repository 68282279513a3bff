package sipfront

import (
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/sipfront/digest"
	"parley/sipfront/flow"
)

// maxFailures is how many wrong passwords a flow may send before it is closed.
const maxFailures = 5

// authenticate checks the Digest credentials of a request. It answers the request itself when they are missing or
// wrong.
func (c *client) authenticate(m *flow.Message, st *chat.State, user event.Principal) bool {
	f, now := c.front, time.Now()
	realm := f.realm(st)
	var a *digest.Credentials
	for i := range m.Headers {
		if id := m.Headers[i].ID; id == flow.Authorization || id == flow.ProxyAuthorization {
			if p := digest.Parse(m.Headers[i].Value); p != nil && p.Realm == realm {
				a = p
				break
			}
		}
	}
	if a == nil {
		c.challenge(m, realm, false)
		return false
	}
	host := hostOf(c.conn)
	if !c.conn.Loopback() && !f.digest.Allowed(host, now) {
		c.busy(m, "too_many_failures")
		return false
	}
	u, _ := st.User(user)
	verdict := f.digest.Verify(&c.digest, a, user, &u.Secret, string(m.Method), string(m.URI), now)
	switch verdict {
	case digest.Good:
		c.failures = 0
		return true
	case digest.Stale, digest.Replay:
		f.metrics.rejected.WithLabelValues(string(verdict)).Inc()
		c.challenge(m, realm, true)
		return false
	case digest.BadURI:
		c.refuse(m, 400, "Digest URI Differs", string(verdict))
		return false
	}
	f.metrics.authFailures.Inc()
	f.digest.Failed(host, now)
	// The same answer whether the user or the password is wrong.
	c.refuse(m, 403, "Forbidden", string(verdict), f.diagnostics(4004, "Authentication failed"))
	if c.failures++; c.failures >= maxFailures {
		c.conn.After(func() { c.conn.Finish("auth_failures") })
	}
	return false
}

// challenge asks for credentials.
func (c *client) challenge(m *flow.Message, realm string, stale bool) {
	c.front.metrics.challenges.Inc()
	c.respond(m, 401, "Unauthorized", c.front.digest.Challenge(&c.digest, quoteText(realm), stale, time.Now()))
}

// admit decides who a request is from. It answers the request itself and returns "" if it may not go on.
//
// A flow has one user: who signed in on it, or, on a listener that lets everybody in, who spoke first. A request in
// anybody else's name is refused, whatever credentials it brings. Over UDP a flow is no more than an address, which anybody
// can write on a datagram or get after the one who had it: there every request outside a dialog proves again who it is
// from. Inside one the tags do, which nobody else was told.
func (c *client) admit(m *flow.Message, st *chat.State) event.Principal {
	from := principalOf(m.Get(flow.From))
	if from == "" {
		c.refuse(m, 400, "From Is Not a SIP Address", "bad_from")
		return ""
	}
	if c.user != "" && time.Now().After(c.until) {
		c.signOff() // the registration ran out: who it is must be proved again
	}
	if c.user != "" && from != c.user {
		c.refuse(m, 403, "From Is Not the User of This Connection", "wrong_from")
		return ""
	}
	if proven := c.user != "" && !m.Is("REGISTER") && !c.overUDP(); !proven && !c.listener.AllowUnchallenged && !c.authenticate(m, st, from) {
		return ""
	}
	if !c.enabled(m, st, from) {
		return ""
	}
	if c.user == "" && !m.Is("REGISTER") {
		c.signOn(from, time.Now().Add(c.front.cfg.RegisterExpires))
		c.sipe = isSipe(m)
	}
	return from
}

// enabled refuses who has no account or whose policy has persistent chat off (docs/rules.md, R15). The reason header
// is what the open client shows (seen of pidgin-sipe).
func (c *client) enabled(m *flow.Message, st *chat.State, user event.Principal) bool {
	_, ok := st.User(user)
	switch {
	case !ok:
		c.refuse(m, 403, "Forbidden", "unknown_user", c.front.diagnostics(4005, "User is unknown"))
	case !st.Enabled(user):
		c.refuse(m, 403, "Forbidden", "not_enabled", c.front.diagnostics(4006, "User is not enabled for persistent chat"))
	default:
		return true
	}
	return false
}
