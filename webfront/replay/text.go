package replay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Text turns a line of JSON of Lines or Detail into lines for people, without the last line end.
func Text(line []byte) (string, error) {
	if bytes.HasPrefix(line, []byte(`{"offset":`)) {
		var p Pool
		if err := json.Unmarshal(line, &p); err != nil {
			return "", fmt.Errorf("read the line of the pool: %w", err)
		}
		return fmt.Sprintf("event %d at %s: %d users, %d categories, %d rooms, %d sessions; chain %s", p.Offset, p.At, p.Users, p.Categories,
			p.Rooms, p.Sessions, p.Chain), nil
	}
	var r struct {
		Room, Name, Category, Type, Privacy string
		Disabled                            bool
		Members, Managers, Presenters       []string
		Sessions                            []Session
		Sights                              []Sight
		Screen                              []Message
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return "", fmt.Errorf("read the line of a room: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %q in %s, %s %s", r.Room, r.Name, r.Category, r.Privacy, r.Type)
	if r.Disabled {
		b.WriteString(", disabled")
	}
	fmt.Fprintf(&b, "; members %s; managers %s; presenters %s", strings.Join(r.Members, " "), strings.Join(r.Managers, " "), strings.Join(r.Presenters, " "))
	for _, s := range r.Sessions {
		fmt.Fprintf(&b, "\n  in it: %s on %s since event %d", s.User, s.Node, s.Since)
	}
	for _, s := range r.Sights {
		fmt.Fprintf(&b, "\n  saw it: %s (join %t, post %t, history %t, manage %t)", s.User, s.Join, s.Post, s.Read, s.Manage)
	}
	for _, m := range r.Screen {
		fmt.Fprintf(&b, "\n  %s  %s: %s", m.At, m.By, m.Body)
	}
	return b.String(), nil
}
