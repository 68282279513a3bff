package chat

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"parley/log/event"
)

// validID reports whether s is a GUID in lower case, 8-4-4-4-12 hex digits.
func validID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}

// checkLine refuses text that is not one line of UTF-8 of at most limit bytes. What a decision lets through can be
// written to the log, read back, and used in a row key.
func checkLine(what, text string, limit int) error {
	if len(text) > limit {
		return Refuse(CodeTooLarge, "%s: %d bytes, at most %d", what, len(text), limit)
	}
	plain := true
	for i := 0; i < len(text) && plain; i++ {
		plain = text[i] >= 0x20 && text[i] < 0x7f
	}
	if plain {
		return nil
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return Refuse(CodeInvalid, "%s: control characters or not UTF-8", what)
	}
	return nil
}

// checkTitle refuses a name that is empty, not one line of UTF-8, or longer than limit characters.
func checkTitle(what, name string, limit int) error {
	if name == "" {
		return Refuse(CodeInvalid, "%s: no name", what)
	}
	if n := utf8.RuneCountInString(name); n > limit {
		return Refuse(CodeTooLarge, "name of %s: %d characters, at most %d", what, n, limit)
	}
	return checkLine("name of "+what, name, limit*utf8.UTFMax)
}

// checkDescription refuses what is not one line of at most 256 characters.
func checkDescription(what, text string) error {
	if n := utf8.RuneCountInString(text); n > MaxNameCharacters {
		return Refuse(CodeTooLarge, "description of %s: %d characters, at most %d", what, n, MaxNameCharacters)
	}
	return checkLine("description of "+what, text, MaxDescriptionBytes)
}

func checkName(what, name string) error {
	if name == "" {
		return Refuse(CodeInvalid, "%s: no name", what)
	}
	return checkLine("name of "+what, name, MaxNameBytes)
}

func checkFeedName(name string) error { // it becomes part of file names
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
	}
	if name == "" || len(name) > 64 || name[0] == '.' || strings.ContainsFunc(name, bad) {
		return Refuse(CodeInvalid, "feed name %q: 1 to 64 letters, digits, dots, hyphens or underscores", name)
	}
	return nil
}

// isUser reports whether p has the canonical form of a user: "sip:user@domain", lower case.
func isUser(p event.Principal) bool {
	user, domain, ok := strings.Cut(p.Address(), "@")
	return ok && user != "" && domain != "" && !strings.Contains(domain, "@") && p == event.UserPrincipal(string(p)) &&
		!strings.ContainsAny(string(p), " \"<>,")
}

// checkPrincipal refuses what has not the form of a principal.
func checkPrincipal(what string, p event.Principal) error {
	if err := checkLine(what, string(p), MaxPrincipalBytes); err != nil {
		return err
	}
	if isUser(p) || p == Everyone {
		return nil
	}
	if d, ok := p.Domain(); ok && d != "" && d == strings.ToLower(d) && !strings.ContainsAny(d, " @") {
		return nil
	}
	if id, ok := p.Group(); ok && validID(string(id)) {
		return nil
	}
	if id, ok := p.Unit(); ok && validID(string(id)) {
		return nil
	}
	return Refuse(CodeInvalid, "%s: %q is not \"sip:user@domain\", \"domain:NAME\" (lower case), \"group:GUID\", \"ou:GUID\" or \"*\"", what, p)
}

func checkPrincipals(what string, list []event.Principal) error {
	if len(list) > MaxPrincipals {
		return Refuse(CodeTooLarge, "%s: %d principals, at most %d", what, len(list), MaxPrincipals)
	}
	for _, p := range list {
		if err := checkPrincipal(what, p); err != nil {
			return err
		}
	}
	return nil
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

// RoomURI returns the URI of a room (protocol digest section 4.1).
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
