package admin

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/roles"
	"parley/webfront/answer"
	"parley/webfront/objects"
)

// route is one row of the table of routes. What it declares is what is checked and what the description says.
type route struct {
	method, path string
	right        roles.Action // that the caller needs; anyAdmin: none in particular
	nodes        bool         // another node of the pool may ask too, with its certificate
	early        bool         // served before this node has caught up: it tells of the node only
	recorded     bool         // what is read is not the reader's own: handle calls record before it shows anything
	summary      string
	params       []param // of the query; others are refused
	in, out      any     // values of the types of body and answer; nil: none, or not JSON
	lines        bool    // the answer is one JSON object per line, of any type when out is nil
	status       int     // of success; 0: 200
	maxBody      int64   // 0: maxBody
	leader       bool    // only the leader can do it: others send the client there
	handle       func(w http.ResponseWriter, r *http.Request) error
}

// anyAdmin is the right of whoever has a credential.
const anyAdmin roles.Action = ""

// param is a parameter of the query.
type param = objects.Param

// Parameters of many routes.
var (
	whatIf     = param{Name: "what_if", Kind: "boolean", Doc: "answer what the change would write, and write nothing"}
	resultSize = param{Name: "result_size", Kind: "integer", Doc: "at most so many, 0 to 2147483647; absent: all"}
	poolParam  = param{Name: "pool", Doc: "domain of the pool that is meant; another one is refused"}
	asObject   = param{Name: "as_object", Kind: "boolean", Doc: "principals as objects that say who they are, not as strings"}
)

// askedKey is the context key of what was asked and by whom.
type askedKey struct{}

type asked struct {
	caller
	route *route
}

func callerOf(r *http.Request) caller {
	a, _ := r.Context().Value(askedKey{}).(asked)
	return a.caller
}

// guard lets in whom the route is for, checks the query, and turns errors into problems.
func (a *API) guard(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if err := a.serve(rt, w, r); err != nil {
			answer.WriteProblem(w, err)
		}
	})
}

func (a *API) serve(rt route, w http.ResponseWriter, r *http.Request) error {
	// A verified certificate is one of the pool's own authority, which makes them for nodes only.
	node := rt.nodes && r.TLS != nil && len(r.TLS.VerifiedChains) > 0
	current := a.Current == nil || a.Current()
	if !current && !node && !rt.early {
		return chat.Refuse(chat.CodeUnavailable, "this node has just started and does not know yet what the pool decided meanwhile: try again, or ask another node")
	}
	c, known := a.authenticate(r, current)
	if !known && !node {
		w.Header().Set("WWW-Authenticate", `Bearer realm="parley"`)
		return chat.Refuse(CodeUnauthenticated, "no credential, or one that is not known, has expired or was revoked; send Authorization: Bearer TOKEN")
	}
	if !node {
		if err := c.may(rt.right); err != nil {
			return err
		}
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return chat.Refuse(chat.CodeInvalid, "query: %v", err)
	}
	if err := rt.check(q); err != nil {
		return err
	}
	if p := q.Get(poolParam.Name); p != "" {
		if s := a.Pool.State(); !isPool(s, p) {
			return chat.Refuse(chat.CodeNotFound, "this is the pool of %s, not %s", s.Domain(), p)
		}
	}
	limit := rt.maxBody
	if limit == 0 {
		limit = maxBody
	}
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	return rt.handle(w, r.WithContext(context.WithValue(r.Context(), askedKey{}, asked{c, &rt})))
}

// check refuses parameters that the route does not have, and values that they cannot have: a misspelt one must not be
// ignored.
func (rt *route) check(q url.Values) error {
	for name, values := range q {
		i := slices.IndexFunc(rt.params, func(p param) bool { return p.Name == name })
		if i < 0 {
			return chat.Refuse(chat.CodeInvalid, "%s %s has no parameter %q", rt.method, rt.path, name)
		}
		p := rt.params[i]
		if len(values) > 1 && !p.Many {
			return chat.Refuse(chat.CodeInvalid, "parameter %s is given %d times", name, len(values))
		}
		for _, v := range values {
			if p.Kind == "boolean" && v != "true" && v != "false" {
				return chat.Refuse(chat.CodeInvalid, "%s=%q is neither true nor false", name, v)
			}
			if p.Values != nil && v != "" && !slices.Contains(p.Values, objects.Lower(v)) {
				return chat.Refuse(chat.CodeInvalid, "%s=%q is not one of %v", name, v, p.Values)
			}
		}
	}
	return nil
}

// record writes down that the caller reads something that is not his own. Whoever cannot be recorded does not get to
// read: without a leader there is no reading here, and the log of a stopped node is read on its machine.
func (a *API) record(r *http.Request) error {
	ask, ok := r.Context().Value(askedKey{}).(asked)
	if !ok || !ask.route.recorded {
		panic("admin: a route that is not declared to be recorded is") // a test visits every route
	}
	rt, filter := ask.route, strings.TrimPrefix(r.URL.Path, Prefix)
	if e := r.URL.Query().Encode(); e != "" {
		filter += "?" + e
	}
	hour := a.Now() / event.Time(3600e9)
	o := a.originOf(ask.caller, "read", rt.path, filter, hour.String())
	cmd := &chat.RecordRead{What: string(rt.right), Filter: filter[:min(len(filter), maxFilter)]}
	if _, err := a.Pool.Submit(r.Context(), chat.Request{Origin: o, Command: cmd}); err != nil {
		f := *chat.AsRefusal(err)
		f.Text = "what is read here is recorded, and that failed: " + f.Text
		return &f
	}
	return nil
}

// maxFilter bounds what is recorded of a question, in bytes.
const maxFilter = 1024
