// Package form says what may be written down: which names, lines, ids and principals the rules let through. What it lets
// through can be written to the log, read back, and used in a row key. It is pure.
package form

import (
	"strings"
	"unicode/utf8"

	"parley/log/event"
	"parley/projections/chat/command"
)

// Limits of form.
const (
	MaxNameBytes        = 256
	MaxNameCharacters   = 256 // of a room, a category, an administrator
	MaxDescriptionBytes = 1024
	MaxPrincipalBytes   = 512     // of a principal or an endpoint
	MaxPrincipals       = 100_000 // in one list of a category or one change of a room
)

// ID reports whether s is a GUID in lower case, 8-4-4-4-12 hex digits.
func ID(s string) bool {
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

// Line refuses text that is not one line of UTF-8 of at most limit bytes. What a decision lets through can be
// written to the log, read back, and used in a row key.
func Line(what, text string, limit int) error {
	if len(text) > limit {
		return command.Refuse(command.CodeTooLarge, "%s: %d bytes, at most %d", what, len(text), limit)
	}
	plain := true
	for i := 0; i < len(text) && plain; i++ {
		plain = text[i] >= 0x20 && text[i] < 0x7f
	}
	if plain {
		return nil
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return command.Refuse(command.CodeInvalid, "%s: control characters or not UTF-8", what)
	}
	return nil
}

// Title refuses a name that is empty, not one line of UTF-8, or longer than limit characters.
func Title(what, name string, limit int) error {
	if name == "" {
		return command.Refuse(command.CodeInvalid, "%s: no name", what)
	}
	if n := utf8.RuneCountInString(name); n > limit {
		return command.Refuse(command.CodeTooLarge, "name of %s: %d characters, at most %d", what, n, limit)
	}
	return Line("name of "+what, name, limit*utf8.UTFMax)
}

// Description refuses what is not one line of at most 256 characters.
func Description(what, text string) error {
	if n := utf8.RuneCountInString(text); n > MaxNameCharacters {
		return command.Refuse(command.CodeTooLarge, "description of %s: %d characters, at most %d", what, n, MaxNameCharacters)
	}
	return Line("description of "+what, text, MaxDescriptionBytes)
}

// Name refuses a name that is empty or not one line of UTF-8 of at most MaxNameBytes.
func Name(what, name string) error {
	if name == "" {
		return command.Refuse(command.CodeInvalid, "%s: no name", what)
	}
	return Line("name of "+what, name, MaxNameBytes)
}

// FeedName refuses what cannot be part of the name of a file.
func FeedName(name string) error {
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
	}
	if name == "" || len(name) > 64 || name[0] == '.' || strings.ContainsFunc(name, bad) {
		return command.Refuse(command.CodeInvalid, "feed name %q: 1 to 64 letters, digits, dots, hyphens or underscores", name)
	}
	return nil
}

// User reports whether p has the canonical form of a user: "sip:user@domain", lower case.
func User(p event.Principal) bool {
	user, domain, ok := strings.Cut(p.Address(), "@")
	return ok && user != "" && domain != "" && !strings.Contains(domain, "@") && p == event.UserPrincipal(string(p)) &&
		!strings.ContainsAny(string(p), " \"<>,")
}

// Principal refuses what has not the form of a principal.
func Principal(what string, p event.Principal) error {
	if err := Line(what, string(p), MaxPrincipalBytes); err != nil {
		return err
	}
	if User(p) || p == event.Everyone {
		return nil
	}
	if d, ok := p.Domain(); ok && d != "" && d == strings.ToLower(d) && !strings.ContainsAny(d, " @") {
		return nil
	}
	if id, ok := p.Group(); ok && ID(string(id)) {
		return nil
	}
	if id, ok := p.Unit(); ok && ID(string(id)) {
		return nil
	}
	return command.Refuse(command.CodeInvalid, "%s: %q is not \"sip:user@domain\", \"domain:NAME\" (lower case), \"group:GUID\", \"ou:GUID\" or \"*\"", what, p)
}

// Principals refuses a list that is too long, or that holds what has not the form of a principal.
func Principals(what string, list []event.Principal) error {
	if len(list) > MaxPrincipals {
		return command.Refuse(command.CodeTooLarge, "%s: %d principals, at most %d", what, len(list), MaxPrincipals)
	}
	for _, p := range list {
		if err := Principal(what, p); err != nil {
			return err
		}
	}
	return nil
}
