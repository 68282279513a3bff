// Package objects says what the objects of a pool are in JSON, how one is found by what people call it, and which command
// a change of one comes to: rooms, categories, add-ins, accounts, groups, units, policies, configurations, addresses.
// What carries it (HTTP, rights, identities of commands) is package webfront/admin.
package objects

import (
	"context"
	"iter"
	"net/url"
	"path"
	"slices"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/roles"
	"parley/projections/history"
	"parley/webfront/dump"
)

// Env is what some objects need besides the state.
type Env struct {
	// History returns the messages of a room with first <= id <= last.
	History func(ctx context.Context, room event.RoomID, first, last uint64) ([]history.Message, error)
	// DigestMD5 keeps the MD5 form of passwords too.
	DigestMD5 bool
}

// pageMessages is how many ids are looked at in one read of a room.
const pageMessages = 512

// Messages returns the messages of a room that can be read, oldest first.
func (e *Env) Messages(ctx context.Context, room chat.Room) iter.Seq2[history.Message, error] {
	return func(yield func(history.Message, error) bool) {
		for first := uint64(1); first <= room.LastMessage; first += pageMessages {
			page, err := e.History(ctx, room.ID, first, min(first+pageMessages-1, room.LastMessage))
			if err != nil {
				yield(history.Message{}, err)
				return
			}
			for _, m := range page {
				if !yield(m, nil) {
					return
				}
			}
		}
	}
}

// Param is a parameter of a question.
type Param struct {
	Name, Doc string
	Kind      string   // of its schema: string (the default), boolean, integer, date-time
	Values    []string // that it may have
	Many      bool     // it may be given several times
}

// Seen is in the body of every change of an object.
type Seen struct {
	Revision *event.Offset `json:"revision,omitempty" doc:"change only what was seen at this revision; otherwise 409 (data collision). Absent: change what is there"`
}

// Saw returns the revision, nil if the change does not say.
func (s *Seen) Saw() *event.Offset { return s.Revision }

// Changer is the body of a change.
type Changer[C any] interface {
	*C
	Saw() *event.Offset
}

// Resource is one kind of object: its routes /path and /path/{key}, and how it is found, shown, made, changed and
// removed. V is the object in the state, J the object in JSON, C the body of a change. What is nil is not offered.
type Resource[V, J, C any, P Changer[C]] struct {
	Path, Key, Noun             string
	Identity                    string       // what finds one, for people
	Read                        roles.Action // the rights
	Create, Change, Remove      roles.Action
	ListParams, RmParams        []Param
	AsObjects                   bool // principals can be shown as objects
	Makes, Alters, Lists, Drops string
	Find                        func(s *chat.State, identity string) (V, error)
	List                        func(ctx context.Context, s *chat.State, q url.Values) ([]V, error)
	Order                       func(J) string // lists are in its order, without case
	ID                          func(V) string // finds the object whatever it is called by then
	Name                        func(V) string
	Revision                    func(V) event.Offset
	Show                        func(v View, o V) J
	Make                        func(s *chat.State, c *C) (chat.Command, error)
	Alter                       func(s *chat.State, o V, c *C, revision event.Offset) (chat.Command, error)
	Drop                        func(o V, q url.Values) (chat.Command, error)
	Made                        func(s *chat.State, c *C, out chat.Result) string // id of what was made
}

// bare takes the pool off an identity as the product writes it: POOL\NAME.
func bare(identity string) string {
	if _, name, ok := strings.Cut(identity, `\`); ok && name != "" {
		return name
	}
	return identity
}

// Set sets what a change names; what is absent stays as it is.
func Set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// SetLower is Set for words that are kept in lower case.
func SetLower[T ~string](to *T, from *string) {
	if from != nil {
		*to = T(Lower(*from))
	}
}

// Glob matches text against a pattern with * and ?, without case. An empty pattern matches everything.
func Glob(pattern, text string) bool {
	if pattern == "" {
		return true
	}
	ok, err := path.Match(strings.ToLower(strings.ReplaceAll(pattern, "/", "\x01")), strings.ToLower(strings.ReplaceAll(text, "/", "\x01")))
	return err == nil && ok
}

// HasWords reports whether text has every word of a filter, without case.
func HasWords(filter, text string) bool {
	text = strings.ToLower(text)
	return !slices.ContainsFunc(strings.Fields(strings.ToLower(filter)), func(w string) bool { return !strings.Contains(text, w) })
}

// isGUID finds out whether an identity is a GUID, in any case.
func isGUID(identity string) (string, bool) {
	id := Lower(identity)
	return id, dump.IsGUID(id)
}
