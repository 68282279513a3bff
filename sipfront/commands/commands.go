// Package commands answers the commands of XCCOS that need no session: questions about rooms, people, history and
// invitations, and changes of rooms and preferences. It knows the pool and the blocks of the wire, and not how a client
// is connected; joining, leaving and posting, which depend on that, are the front's.
//
// Whoever asks is a user who is signed in. Every change and every read of messages is a command of the rules, decided with
// the log's state, so that a right that was taken away is gone for whatever comes after it. What is answered from this
// node's state alone is as new as the last event that the node has read: the reply to a change waits for that change.
package commands

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/history"
	"parley/sipfront/blocks"
	"parley/sipfront/xccos"
)

// keyError is an attribute key of log lines.
const keyError = "error"

// Pool is the pool as commands see it.
type Pool interface {
	// Submit hands a request to the leader. It keeps the order of calls, does not block for long and calls done exactly
	// once, never from within Submit, after the commit or the refusal. Errors are *chat.Refusal; what is none means
	// that the outcome is unknown.
	Submit(r chat.Request, done func(chat.Outcome, error))
	// State returns the newest snapshot of this node.
	State() *chat.State
	// History returns the messages first..last of a room that are kept, oldest first. It waits until this node has
	// them, or ctx ends.
	History(ctx context.Context, room event.RoomID, first, last uint64) ([]history.Message, error)
	// HistorySpan returns the ids of the first and the last message of a room that are kept and were posted from one
	// time to another, both included; 0 is an open end. 0, 0: there is none.
	HistorySpan(ctx context.Context, room event.RoomID, from, to event.Time) (first, last uint64, err error)
	// FindRooms returns the rooms that match, in the order to show. A question that cannot be answered, such as one with
	// too many words, is a *chat.Refusal, here and below.
	FindRooms(ctx context.Context, q RoomQuery) ([]event.RoomID, error)
	// FindMessages returns the ids of the messages of one room that match, in the order that was asked for, and how many
	// match in all. Letters count without case, whatever the query says.
	FindMessages(ctx context.Context, q MessageQuery) (ids []uint64, total uint64, err error)
}

// RoomQuery asks for rooms by the words of their names.
type RoomQuery struct {
	Text         string // words separated by blanks; empty: all rooms
	Match        event.Match
	Descriptions bool // look there too
	Limit        int
	Visible      func(event.RoomID) bool // lets a room through
}

// MessageQuery asks for messages of a room by words, authors and time.
type MessageQuery struct {
	Room   event.RoomID
	Query  event.Query
	From   uint64 // id to begin with: the least, or with Newest the greatest; 0: none
	Newest bool   // newest first
	Limit  int
	Now    bool // do not wait until what was posted last can be found: an earlier question of the same search has
}

// Files issues tokens of the pool's file service.
type Files interface {
	// Token lets a user upload a file to a room, or download one, for a while: the token, and where to show it. The rights
	// in the room were asked for. Errors are *chat.Refusal.
	Token(ctx context.Context, user event.Principal, room event.RoomID, file string, upload bool) (token, uri string, err error)
}

// Desk answers commands.
type Desk struct {
	Pool        Pool
	Files       Files  // nil: the pool has no file service
	DisplayName string // of the service, told in cmd:getserverinfo
	ChatURI     func(*chat.State) string
	Logger      *slog.Logger
	Context     context.Context // ends reads
	Read        func(func())    // runs what may wait for a disk, on some other goroutine
}

// readTimeout is how long a read or a search may take.
const readTimeout = 10 * time.Second

// Call is a command on its way to its reply.
type Call struct {
	Origin chat.Origin // of a command in the client's name, without an ID
	Item   *xccos.Item // a command that decoded well
	Place  int         // of it among the items of its envelope, from 0
	Env    string      // id of its envelope
	Body   [32]byte    // hash of the INFO's body: part of the command's identity
	// After runs fn when everything up to an offset is fanned out; fn does not block.
	After func(at event.Offset, fn func())
	// Reply answers the command with what make returns for the state of the moment when everything up to an offset is
	// fanned out. It is called once.
	Reply func(at event.Offset, make func(*chat.State) (*xccos.Data, *chat.Refusal))
}

func (k *Call) user() event.Principal { return k.Origin.By }

func (k *Call) data() *xccos.Data { return k.Item.Data }

// origin is Origin with the identity of this command, about a room if it is about one.
func (k *Call) origin(room event.RoomID) chat.Origin {
	o := k.Origin
	o.ID = ID(o.By, o.Endpoint, room, k.Env, k.Item.Seq, k.Place, k.Body)
	return o
}

func (k *Call) fail(r *chat.Refusal) {
	k.Reply(0, func(*chat.State) (*xccos.Data, *chat.Refusal) { return nil, r })
}

// give answers with what can be made from the state alone.
func (k *Call) give(make func(*chat.State) *xccos.Data) {
	k.Reply(0, func(st *chat.State) (*xccos.Data, *chat.Refusal) { return make(st), nil })
}

// ID identifies a client's command across retries, connections and nodes: user, device, room, envelope id, sequence id,
// place in the envelope and body. A client that repeats a command it has no answer to repeats all of them; a client that
// asks anew counts its envelopes on. The place is there because clients give every item the same sequence id. It is left
// out of the first item's identity, so that this one is what it was before places counted: no retry is taken for new
// while the nodes of a pool change their version.
func ID(user event.Principal, endpoint event.Endpoint, room event.RoomID, env, seq string, place int, body [32]byte) event.CommandID {
	parts := []string{string(user), string(endpoint), string(room), env, seq}
	if place > 0 {
		parts = append(parts, strconv.Itoa(place))
	}
	return Identity(body, parts...)
}

// Identity hashes the parts of a command's identity, each with its length, so that no two lists of parts look alike.
func Identity(body [32]byte, parts ...string) event.CommandID {
	h := sha256.New()
	for _, s := range parts {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(s))))
		h.Write([]byte(s))
	}
	h.Write(body[:])
	return event.CommandID(h.Sum(nil)[:16])
}

// handlers is the one table from command to what answers it. The front's own commands are not in it.
var handlers = map[string]func(*Desk, *Call){
	xccos.CmdReqURI:          (*Desk).service,
	xccos.CmdGetServerInfo:   (*Desk).serverInfo,
	xccos.CmdGetAssociations: (*Desk).associations,
	xccos.CmdBCContext:       (*Desk).context,
	xccos.CmdBCByMsg:         (*Desk).context,
	xccos.CmdBCByDate:        (*Desk).byDate,
	xccos.CmdBCSearch:        (*Desk).searchMessages,
	xccos.CmdChanSrch:        (*Desk).searchRooms,
	xccos.CmdGetInv:          (*Desk).invitations,
	xccos.CmdGetPref:         (*Desk).getPreference,
	xccos.CmdSetPref:         (*Desk).setPreference,
	xccos.CmdNodes:           (*Desk).creatable,
	xccos.CmdGetNode:         (*Desk).node,
	xccos.CmdGetUsers:        (*Desk).users,
	xccos.CmdGetPrincipals:   (*Desk).principals,
	xccos.CmdUserSearch:      (*Desk).searchPeople,
	xccos.CmdGetAddIns:       (*Desk).addIns,
	xccos.CmdChanCreate:      (*Desk).create,
	xccos.CmdChanModify:      (*Desk).modify,
	xccos.CmdChanDisable:     (*Desk).disable,
	xccos.CmdChanDelete:      (*Desk).remove,
	xccos.CmdGetFUTok:        (*Desk).token,
	xccos.CmdGetFDTok:        (*Desk).token,
}

// Answer answers a command; false says that it is none of these. It does not block.
func (d *Desk) Answer(k *Call) bool {
	h := handlers[k.Item.ID]
	if h != nil {
		h(d, k)
	}
	return h != nil
}

// service tells which chat service to use: the client goes on to the URI it is told (docs/protocol.md, Commands).
func (d *Desk) service(k *Call) {
	k.give(func(st *chat.State) *xccos.Data { return &xccos.Data{Users: []xccos.UIB{{URI: d.ChatURI(st)}}} })
}

func (d *Desk) serverInfo(k *Call) {
	k.give(func(st *chat.State) *xccos.Data {
		return blocks.Info(st, d.DisplayName, k.data().Server, event.Time(time.Now().UnixNano()))
	})
}

func (d *Desk) associations(k *Call) {
	k.give(func(st *chat.State) *xccos.Data { return blocks.Associations(st, k.user(), k.data().Association) })
}

func (d *Desk) creatable(k *Call) {
	k.give(func(st *chat.State) *xccos.Data { return blocks.Creatable(st, k.user()) })
}

func (d *Desk) addIns(k *Call) { k.give(blocks.AddIns) }

// invitations tells those newer than the one that the client knows. That it knows one is noted in the log: whoever asks
// what a user has seen finds it there. The reply does not wait for that, since it does not depend on it.
func (d *Desk) invitations(k *Call) {
	var seen uint64
	if all := k.data().Invites; len(all) > 0 {
		seen = all[0].ID
	}
	if _, newest, read := d.Pool.State().Invitations(k.user(), math.MaxUint64); min(seen, newest) > read {
		d.Pool.Submit(chat.Request{Origin: k.origin(""), Command: &chat.ReadInvitations{UpTo: min(seen, newest)}}, func(chat.Outcome, error) {})
	}
	k.give(func(st *chat.State) *xccos.Data { return blocks.Invitations(st, k.user(), seen) })
}

// roomOf reads a room URI. Rooms of another domain are not here.
func (d *Desk) roomOf(uri string) (event.RoomID, *chat.Refusal) { return RoomOf(d.Pool.State(), uri) }

// RoomOf reads a room URI. Rooms of another domain are not here.
func RoomOf(st *chat.State, uri string) (event.RoomID, *chat.Refusal) {
	domain, room, err := chat.ParseRoomURI(uri)
	if err != nil {
		return "", chat.Refuse(chat.CodeNotFound, "not the URI of a room here")
	}
	if !strings.EqualFold(domain, st.Domain()) {
		return "", chat.Refuse(chat.CodeNotFound, "no such room here")
	}
	return room, nil
}

// seen returns a room that a user may know of. To whoever may not, it does not exist; a disabled one is shown to its
// managers only, and told to be disabled to whoever would see it otherwise.
func seen(st *chat.State, id event.RoomID, user event.Principal) (chat.Room, *chat.Refusal) {
	r, ok := st.Room(id)
	rights := st.Rights(id, user)
	switch {
	case rights.See:
		return r, nil
	case ok && r.Info.Disabled && st.Covers(r.Info.Category, user) && (r.Info.Privacy != event.PrivacySecret || rights.Member):
		return r, chat.Refuse(chat.CodeDisabled, "room %s is disabled", id)
	}
	return r, chat.Refuse(chat.CodeNotFound, "no room %s", id)
}

// read runs fn with a bounded context where it may wait for a disk.
func (d *Desk) read(fn func(ctx context.Context)) {
	d.Read(func() {
		ctx, cancel := context.WithTimeout(d.Context, readTimeout)
		defer cancel()
		fn(ctx)
	})
}

// broken refuses a command because a read failed, or because the question could not be answered.
func (d *Desk) broken(k *Call, what string, err error) {
	var refusal *chat.Refusal
	if !errors.As(err, &refusal) {
		d.Logger.Error(what+" could not be read", slog.String(keyError, err.Error()))
	}
	k.fail(chat.AsRefusal(err))
}
