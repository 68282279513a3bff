package admin

import (
	"net/http"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/roles"
	"parley/webfront/answer"
	"parley/webfront/objects"
)

// GrantPolicy is the body of POST /policies/grant: Grant-CsPersistentChatPolicy.
type GrantPolicy struct {
	Users  []string `json:"users" doc:"at least one"`
	Policy *string  `json:"policy" doc:"name of a policy for users; null takes away what they were given"`
}

// Granted is its answer.
type Granted struct {
	Users  []event.Principal `json:"users"`
	Policy event.Scope       `json:"policy"`
	Offset event.Offset      `json:"offset"`
}

func (a *API) grantRoutes() []route {
	return []route{{method: "POST", path: "/policies/grant", right: roles.PolicyGrant, summary: "Give users a policy of their own, all of them or none",
		in: GrantPolicy{}, out: Granted{}, params: []param{whatIf}, handle: a.grant}}
}

func (a *API) grant(w http.ResponseWriter, r *http.Request) error {
	g, o, err := body[GrantPolicy](a, r)
	if err != nil {
		return err
	}
	cmd := &chat.GrantPolicy{}
	if g.Policy != nil && *g.Policy != "" {
		if cmd.Scope, err = objects.ScopeOf(*g.Policy); err != nil {
			return err
		}
	}
	if len(g.Users) == 0 {
		return chat.Refuse(chat.CodeInvalid, "whom? name at least one user")
	}
	s := a.Pool.State()
	for _, name := range g.Users {
		u, err := objects.Address(s, name)
		if err != nil {
			return err
		}
		cmd.Users = append(cmd.Users, u)
	}
	return a.submit(w, r, o, cmd, func(out chat.Outcome) error {
		return answer.JSON(w, http.StatusOK, Granted{Users: cmd.Users, Policy: cmd.Scope, Offset: out.Offset})
	})
}
