package plan

import (
	"cmp"
	"maps"
	"slices"

	"parley/log/event"
	"parley/projections/chat/directory"
)

// Events returns what the plan comes to, in an order in which it can be folded: changes, then removals. Between the two is
// the place for the end of the sessions of whoever loses a right, so that a reader of the log still knows who he was.
// What is as it was before is no event.
func (p *Plan) Events() (changes, removals []event.Event) {
	changes = append(p.unitChanges(), p.userChanges()...)
	changes = append(changes, p.groupChanges()...)
	for _, id := range slices.Sorted(maps.Keys(p.groups)) {
		if old := p.d.Group(id); old != nil && p.groups[id] == nil {
			removals = append(removals, &event.GroupRemoved{Group: id, Name: old.Info.Name})
		}
	}
	for _, who := range slices.Sorted(maps.Keys(p.users)) {
		if p.d.User(who) != nil && p.users[who] == nil {
			removals = append(removals, &event.UserRemoved{User: who})
		}
	}
	var units []event.UnitID
	for _, id := range slices.Sorted(maps.Keys(p.units)) {
		if p.d.Unit(id) != nil && p.units[id] == nil {
			units = append(units, id)
		}
	}
	slices.SortStableFunc(units, func(a, b event.UnitID) int { return cmp.Compare(p.depthBefore(b), p.depthBefore(a)) })
	for _, id := range units {
		removals = append(removals, &event.UnitRemoved{Unit: id, Name: p.d.Unit(id).Info.Name})
	}
	return changes, removals
}

func (p *Plan) depthBefore(id event.UnitID) int {
	r, _ := p.d.Find(event.UnitPrincipal(id))
	return len(p.above(r))
}

// unitChanges has parents before what is in them.
func (p *Plan) unitChanges() (out []event.Event) {
	var made, changed []event.UnitID
	for _, id := range slices.Sorted(maps.Keys(p.units)) {
		switch old, u := p.d.Unit(id), p.units[id]; {
		case u == nil:
		case old == nil:
			made = append(made, id)
		case old.Info != u.Info:
			changed = append(changed, id)
		}
	}
	depth := func(id event.UnitID) int { return len(p.climb([]directory.Ref{p.ref(event.UnitPrincipal(id))})) }
	slices.SortStableFunc(made, func(a, b event.UnitID) int { return cmp.Compare(depth(a), depth(b)) })
	for _, id := range made {
		out = append(out, &event.UnitCreated{Unit: id, Info: p.units[id].Info})
	}
	for _, id := range changed {
		out = append(out, &event.UnitChanged{Unit: id, Info: p.units[id].Info})
	}
	return out
}

func (p *Plan) userChanges() (out []event.Event) {
	for _, who := range slices.Sorted(maps.Keys(p.users)) {
		switch old, u := p.d.User(who), p.users[who]; {
		case u == nil:
		case old == nil:
			out = append(out, &event.UserCreated{User: who, Info: u.Info, Secret: u.Secret})
		case old.Info != u.Info || !sameSecret(&old.Secret, &u.Secret):
			e := &event.UserChanged{User: who, Info: u.Info}
			if !sameSecret(&old.Secret, &u.Secret) {
				e.Secret = u.Secret
			}
			out = append(out, e)
		}
	}
	return out
}

func sameSecret(a, b *event.Secret) bool {
	return a.Realm == b.Realm && slices.Equal(a.HA1SHA256, b.HA1SHA256) && slices.Equal(a.HA1MD5, b.HA1MD5)
}

// groupChanges has new groups after the new groups that are in them; there are no cycles (rule D5).
func (p *Plan) groupChanges() (out []event.Event) {
	done := map[event.GroupID]bool{}
	var emit func(id event.GroupID)
	emit = func(id event.GroupID) {
		if done[id] || p.groups[id] == nil || p.d.Group(id) != nil {
			return
		}
		done[id] = true
		added, _ := p.memberChanges(id)
		for _, m := range added {
			if kid, ok := m.Group(); ok {
				emit(kid)
			}
		}
		out = append(out, &event.GroupCreated{Group: id, Info: p.groups[id].Info, Members: added})
	}
	touched := slices.Sorted(maps.Keys(p.groups))
	for _, id := range touched {
		emit(id)
	}
	for id := range p.members {
		touched = append(touched, id)
	}
	slices.Sort(touched)
	for _, id := range slices.Compact(touched) {
		old, g := p.d.Group(id), p.Group(id)
		if old == nil || g == nil {
			continue
		}
		if added, removed := p.memberChanges(id); len(added)+len(removed) > 0 || old.Info != g.Info {
			out = append(out, &event.GroupChanged{Group: id, Info: g.Info, Added: added, Removed: removed})
		}
	}
	return out
}

func (p *Plan) memberChanges(id event.GroupID) (added, removed []event.Principal) {
	for who, comes := range p.members[id] {
		if comes {
			added = append(added, who)
		} else {
			removed = append(removed, who)
		}
	}
	slices.Sort(added)
	slices.Sort(removed)
	return added, removed
}
