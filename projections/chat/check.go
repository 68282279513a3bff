package chat

import (
	"fmt"
	"strings"

	"parley/log/event"
	"parley/projections/chat/form"
)

// The forms, as the rules ask for them.
func validID(s string) bool                               { return form.ID(s) }
func checkLine(what, text string, limit int) error        { return form.Line(what, text, limit) }
func checkTitle(what, name string, limit int) error       { return form.Title(what, name, limit) }
func checkDescription(what, text string) error            { return form.Description(what, text) }
func checkName(what, name string) error                   { return form.Name(what, name) }
func isUser(p event.Principal) bool                       { return form.User(p) }
func checkPrincipal(what string, p event.Principal) error { return form.Principal(what, p) }
func checkPrincipals(what string, list []event.Principal) error {
	return form.Principals(what, list)
}

func checkOrigin(o *Origin) error {
	if o.By == "" {
		return Refuse(CodeInvalid, "a command needs somebody who gives it")
	}
	if err := checkLine("principal", string(o.By), MaxPrincipalBytes); err != nil {
		return err
	}
	if err := checkLine("endpoint", string(o.Endpoint), MaxPrincipalBytes); err != nil {
		return err
	}
	return checkLine("node", string(o.Node), MaxNameBytes)
}

// roomScheme is the scheme of room URIs.
const roomScheme = "ma-chan://"

// RoomURI returns the URI of a room (docs/protocol.md, Elements).
func RoomURI(domain string, id event.RoomID) string { return roomScheme + domain + "/" + string(id) }

// ParseRoomURI takes a room URI apart. Domain and GUID are accepted in any case and returned in lower case. Errors
// are of class ErrInvalid.
func ParseRoomURI(uri string) (domain string, id event.RoomID, err error) {
	if len(uri) >= len(roomScheme) && strings.EqualFold(uri[:len(roomScheme)], roomScheme) {
		d, g, ok := strings.Cut(strings.ToLower(uri[len(roomScheme):]), "/")
		if ok && d != "" && validID(g) {
			return d, event.RoomID(g), nil
		}
	}
	return "", "", fmt.Errorf("room URI %q, want ma-chan://DOMAIN/GUID: %w", uri, ErrInvalid)
}
