package policy

import "parley/log/event"

// View answers what would hold after an event that is not folded yet.
type View struct {
	b       *Book
	set     *event.PolicySet
	removed event.Scope
	site    string
	granted map[event.Principal]event.Scope
}

// After returns the view after one event: PolicySet, PolicyRemoved, PolicyGranted or PoolPlaced.
func (b *Book) After(ev event.Event) *View {
	v := &View{b: b, site: b.site}
	switch e := ev.(type) {
	case *event.PolicySet:
		v.set = e
	case *event.PolicyRemoved:
		v.removed = e.Scope
	case *event.PolicyGranted:
		v.granted = make(map[event.Principal]event.Scope, len(e.Users))
		for _, u := range e.Users {
			v.granted[u] = e.Scope
		}
	case *event.PoolPlaced:
		v.site = e.Site
	}
	return v
}

func (v *View) policy(s event.Scope) *event.PolicyInfo {
	if v.set != nil && v.set.Scope == s {
		return &v.set.Info
	}
	if p := v.b.policies.Get(s); p != nil && s != v.removed {
		return &p.Info
	}
	return nil
}

// Enabled is Book's, as it would be.
func (v *View) Enabled(user event.Principal) (enabled, decided bool) {
	s, changed := v.granted[user]
	if !changed {
		s = v.b.Granted(user)
	}
	if p := v.policy(s); s != "" && p != nil {
		return p.Enabled, true
	}
	for _, s := range order(v.b.domain, v.site) {
		if p := v.policy(s); p != nil {
			return p.Enabled, true
		}
	}
	return false, false
}
