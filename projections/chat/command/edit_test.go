package command

import (
	"slices"
	"testing"

	"parley/log/event"
)

// What is told is what differs, by principal; edits follow one another.
func TestEditRoles(t *testing.T) {
	const m, g = event.RoleMember, event.RoleManager
	now := []event.Access{{Principal: "sip:a@x", Role: m | g}, {Principal: "sip:b@x", Role: m}, {Principal: "sip:c@x", Role: g}}
	list := func(names ...event.Principal) []event.Principal { return names }
	for name, c := range map[string]struct {
		edits []RoleEdit
		want  []event.Access
	}{
		"nothing":          {nil, nil},
		"what is so":       {[]RoleEdit{{Role: m, Add: list("sip:b@x"), Remove: list("sip:c@x", "sip:nobody@x")}}, nil},
		"added":            {[]RoleEdit{{Role: m, Add: list("sip:z@x", "sip:c@x")}}, []event.Access{{Principal: "sip:c@x", Role: m | g}, {Principal: "sip:z@x", Role: m}}},
		"removed":          {[]RoleEdit{{Role: m, Remove: list("sip:b@x", "sip:a@x")}}, []event.Access{{Principal: "sip:a@x", Role: g}, {Principal: "sip:b@x"}}},
		"set":              {[]RoleEdit{{Role: m, All: true, Add: list("sip:b@x", "sip:c@x")}}, []event.Access{{Principal: "sip:a@x", Role: g}, {Principal: "sip:c@x", Role: m | g}}},
		"to nobody":        {[]RoleEdit{{Role: g, All: true}}, []event.Access{{Principal: "sip:a@x", Role: m}, {Principal: "sip:c@x"}}},
		"the last decides": {[]RoleEdit{{Role: m, Remove: list("sip:b@x")}, {Role: m, Add: list("sip:b@x")}}, nil},
	} {
		if got := EditRoles(slices.Values(now), c.edits); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
