package objects

import (
	"context"
	"net/url"
	"slices"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/registry"
	"parley/projections/chat/roles"
)

// AddIn is an add-in as the API shows it.
type AddIn struct {
	AddIn    string        `json:"add_in" doc:"name"`
	ID       event.AddInID `json:"id"`
	URL      string        `json:"url"`
	Rooms    int           `json:"rooms" doc:"how many show it"`
	Revision event.Offset  `json:"revision"`
}

// AddInChange is the body of POST and PATCH; what is absent stays as it is.
type AddInChange struct {
	Name *string `json:"name,omitempty" doc:"unique in the pool; required in a new add-in"`
	URL  *string `json:"url,omitempty" doc:"http or https; required in a new add-in"`
	Seen
}

// AddIns are one kind of object.
func AddIns() *Resource[registry.AddIn, AddIn, AddInChange, *AddInChange] {
	apply := func(c *AddInChange, i event.AddInInfo) event.AddInInfo {
		Set(&i.Name, c.Name)
		Set(&i.URL, c.URL)
		return i
	}
	return &Resource[registry.AddIn, AddIn, AddInChange, *AddInChange]{
		Path: "/add-ins", Key: "add_in", Noun: "add-in", Identity: "GUID or name",
		Read: roles.AddInRead, Create: roles.AddInChange, Change: roles.AddInChange, Remove: roles.AddInChange,
		Lists: "Add-ins, by name", Makes: "Register an add-in", Alters: "Change an add-in", Drops: "Remove an add-in that no room uses",
		Find: findAddIn,
		List: func(_ context.Context, s *chat.State, _ url.Values) ([]registry.AddIn, error) {
			return slices.Collect(s.AddIns()), nil
		},
		Order:    func(x AddIn) string { return x.AddIn },
		ID:       func(x registry.AddIn) string { return string(x.ID) },
		Name:     func(x registry.AddIn) string { return x.Info.Name },
		Revision: func(x registry.AddIn) event.Offset { return x.Revision },
		Show: func(v View, x registry.AddIn) AddIn {
			out := AddIn{AddIn: x.Info.Name, ID: x.ID, URL: x.Info.URL, Revision: x.Revision}
			for r := range v.State.Rooms() {
				if r.Info.AddIn == string(x.ID) {
					out.Rooms++
				}
			}
			return out
		},
		Make: func(_ *chat.State, c *AddInChange) (chat.Command, error) {
			if c.Name == nil || c.URL == nil {
				return nil, chat.Refuse(chat.CodeInvalid, "a new add-in needs a name and a url")
			}
			return &chat.CreateAddIn{Info: apply(c, event.AddInInfo{})}, nil
		},
		Made: func(_ *chat.State, _ *AddInChange, out chat.Result) string { return string(out.AddIn) },
		Alter: func(_ *chat.State, x registry.AddIn, c *AddInChange, revision event.Offset) (chat.Command, error) {
			return &chat.ChangeAddIn{ID: x.ID, Info: apply(c, x.Info), Revision: revision}, nil
		},
		Drop: func(x registry.AddIn, _ url.Values) (chat.Command, error) { return &chat.RemoveAddIn{ID: x.ID}, nil },
	}
}

// findAddIn finds an add-in by GUID or name.
func findAddIn(s *chat.State, identity string) (registry.AddIn, error) {
	if id, ok := isGUID(identity); ok {
		if x, ok := s.AddIn(event.AddInID(id)); ok {
			return x, nil
		}
	}
	for _, name := range []string{identity, bare(identity)} {
		if x, ok := s.AddInByName(name); ok {
			return x, nil
		}
	}
	return registry.AddIn{}, chat.Refuse(chat.CodeNotFound, "no add-in %q", identity)
}
