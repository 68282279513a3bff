package plan

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"parley/log/event"
)

// The rules of the directory. A refusal names its rule.
//
//	D1  Form: names are one line of at most 256 bytes, ids are GUIDs in lower case, accounts "sip:user@domain".
//	D2  One of each: address, GUID, name of a group in the pool, name of a unit in its parent, relative name of an account
//	    or group in its unit.
//	D3  Who is named exists.
//	D4  Members of a group are accounts and groups.
//	D5  Nothing is in itself: no group through others, no unit below itself.
//	D6  At most 1,000 groups for one principal, units 32 deep, 100,000 principals in one change.
//	D7  What is in use is not removed: a unit in which somebody lives, what a category names.
//	D8  A change names the revision it has seen, and no later change came between.
const (
	MaxNameBytes  = 256
	MaxTextBytes  = 1024 // of a description: 256 characters of at most 4 bytes
	MaxGroupsOf   = 1000
	MaxUnitDepth  = 32
	MaxMembers    = 100_000 // in one change
	maxHashBytes  = 64      // of a secret
	maxFaultBytes = 512     // parts of the text may have come from a file
)

// Class is what kind of refusal a Fault is.
type Class uint8

// The classes.
const (
	Invalid Class = iota
	NotFound
	Conflict
	TooLarge
)

// Fault is why a change of the directory is refused.
type Fault struct {
	Class Class
	Rule  string          // D1 to D8
	Who   event.Principal // whom it is about, when it is about one
	Text  string
}

// Error returns the text with the rule.
func (f *Fault) Error() string { return f.Text + " (rule " + f.Rule + ")" }

// Refuse makes a Fault. Parts of the text may have come from a file: it is cut, and made UTF-8.
func Refuse(c Class, rule string, who event.Principal, format string, args ...any) *Fault {
	text := fmt.Sprintf(format, args...)
	text = strings.ToValidUTF8(text[:min(len(text), maxFaultBytes)], "")
	return &Fault{Class: c, Rule: rule, Who: who, Text: text}
}

func line(what, text string, limit int) *Fault {
	if len(text) > limit {
		return Refuse(TooLarge, "D1", "", "%s has %d bytes, at most %d", what, len(text), limit)
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return Refuse(Invalid, "D1", "", "%s has control characters or is not UTF-8", what)
	}
	return nil
}

func lines(what string, limit int, texts ...string) *Fault {
	for _, t := range texts {
		if f := line(what, t, limit); f != nil {
			return f
		}
	}
	return nil
}

func name(what, text string) *Fault {
	if text == "" || text != strings.TrimSpace(text) {
		return Refuse(Invalid, "D1", "", "%s is empty or has blanks around it", what)
	}
	return line(what, text, MaxNameBytes)
}

func guid(what, id string) *Fault {
	ok := len(id) == 36
	for i := 0; i < len(id) && ok; i++ {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			ok = id[i] == '-'
		} else {
			ok = id[i] >= '0' && id[i] <= '9' || id[i] >= 'a' && id[i] <= 'f'
		}
	}
	if !ok {
		return Refuse(Invalid, "D1", "", "%s %q is not a GUID in lower case", what, id)
	}
	return nil
}

// IsUser reports whether p has the canonical form of an account: "sip:user@domain", lower case.
func IsUser(p event.Principal) bool {
	user, domain, ok := strings.Cut(p.Address(), "@")
	return ok && user != "" && domain != "" && !strings.Contains(domain, "@") && p == event.UserPrincipal(string(p)) &&
		!strings.ContainsAny(string(p), " \"<>,") && line("", string(p), 2*MaxNameBytes) == nil
}
