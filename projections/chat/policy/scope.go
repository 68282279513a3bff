// Package policy holds the policies and configurations of a pool: who may use persistent chat at all, and the limits of
// the pool. Each is set for a scope; the most specific scope that has one wins as a whole, nothing is mixed.
//
//	policy          user:TAG when granted, then pool, then site, then global; none: the account's own flag decides
//	configuration   pool, then site, then global, then the product's defaults
//
// It is pure, like the rules that ask it: rows in, answers out.
package policy

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"parley/log/event"
)

// Global is the scope of last resort.
const Global event.Scope = "global"

const (
	sitePrefix = "site:"
	poolPrefix = "pool:"
	userPrefix = "user:"
)

// Site returns the scope of a site.
func Site(name string) event.Scope { return event.Scope(sitePrefix + name) }

// Pool returns the scope of a pool, named by its SIP domain.
func Pool(domain string) event.Scope { return event.Scope(poolPrefix + domain) }

// User returns the scope of a policy that is granted to users by a name.
func User(tag string) event.Scope { return event.Scope(userPrefix + tag) }

// IsUser reports whether the scope is one that is granted to users.
func IsUser(s event.Scope) bool { return strings.HasPrefix(string(s), userPrefix) }

// maxName is the longest name of a scope in bytes.
const maxName = 256

// ParseScope returns the canonical form of a scope, lower case: the names of the product are understood as well
// ("service:PersistentChatServer:contoso.test" is a pool, "tag:TAG" a policy for users, and so is a bare word).
func ParseScope(text string) (event.Scope, error) {
	s := strings.ToLower(strings.TrimSpace(text))
	if s == string(Global) {
		return Global, nil
	}
	kind, name, ok := strings.Cut(s, ":")
	if !ok && s != "" {
		kind, name = "tag", s
	}
	switch kind {
	case "service":
		name = strings.TrimPrefix(name, "persistentchatserver:")
		kind = "pool"
	case "tag":
		kind = "user"
	case "site", "pool", "user":
	default:
		kind = ""
	}
	if kind == "" || name == "" || len(name) > maxName || !utf8.ValidString(text) || // lower case would hide it
		strings.ContainsFunc(name, func(r rune) bool { return r <= 0x20 && r != ' ' || r == 0x7f }) {
		return "", fmt.Errorf("scope %q is not \"global\", \"site:NAME\", \"pool:DOMAIN\" or \"user:NAME\"", text)
	}
	return event.Scope(kind + ":" + name), nil
}
