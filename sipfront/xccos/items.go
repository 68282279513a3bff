package xccos

import (
	"cmp"
	"slices"
	"strings"

	"parley/sipfront/xccos/xmlcode"
	"parley/sipfront/xccos/xmltree"
)

// Ids of items, lower case. What each is for stands in the table below.
const (
	CmdReqURI          = "cmd:requri"
	CmdGetServerInfo   = "cmd:getserverinfo"
	CmdGetAssociations = "cmd:getassociations"
	CmdBJoin           = "cmd:bjoin"
	CmdJoin            = "cmd:join"
	CmdPart            = "cmd:part"
	CmdBCContext       = "cmd:bccontext"
	CmdBCByDate        = "cmd:bcbydate"
	CmdBCByMsg         = "cmd:bcbymsg"
	CmdBCSearch        = "cmd:bcsearch"
	CmdChanSrch        = "cmd:chansrch"
	CmdGetInv          = "cmd:getinv"
	CmdGetPref         = "cmd:getpref"
	CmdSetPref         = "cmd:setpref"
	CmdNodes           = "cmd:nodespermcreatechild"
	CmdGetNode         = "cmd:getnode"
	CmdGetUsers        = "cmd:getusers"
	CmdGetPrincipals   = "cmd:getprincipals"
	CmdUserSearch      = "cmd:usersearch"
	CmdGetAddIns       = "cmd:getaddins"
	CmdChanCreate      = "cmd:chancreate"
	CmdChanModify      = "cmd:chanmodify"
	CmdChanDisable     = "cmd:chandisable"
	CmdChanDelete      = "cmd:chandelete"
	CmdGetFUTok        = "cmd:getfutok"
	CmdGetFDTok        = "cmd:getfdtok"

	IDGrpChat = "grpchat"

	NtcJoin        = "ntc:join"
	NtcBJoin       = "ntc:bjoin"
	NtcPart        = "ntc:part"
	NtcChanModify  = "ntc:chanmodify"
	NtcChanDisable = "ntc:chandisable"
	NtcChanDelete  = "ntc:chandelete"
	NtcPermModify  = "ntc:permmodify"
	NtcKick        = "ntc:kick"
	NtcInvite      = "ntc:invite"
	NtcMsgDelete   = "ntc:msgdelete"

	rplChanSrch   = "rpl:chansrch"
	rplGetInv     = "rpl:getinv"
	rplChanCreate = "rpl:chancreate"
)

// Right is what the sender of a command must hold, beyond being signed in and enabled for persistent chat.
type Right string

// The rights.
const (
	RightNone   Right = "any enabled user"
	RightSee    Right = "sees the room: in the category's scope, of a secret room its members and managers"
	RightEnter  Right = "may enter the room: its members; of an open room all in the category's scope"
	RightJoined Right = "has joined the room"
	RightPost   Right = "has joined the room; in an auditorium its presenters"
	RightManage Right = "manager of the room"
	RightCreate Right = "creator of the category"
	RightScope  Right = "sees the room, or is in the category's scope"
	RightAdmin  Right = "administrator: always refused on the wire"
)

// Entry is what is known of one command, post or notice. docs/protocol.md says in words what each is for.
type Entry struct {
	ID      string
	Right   Right          // of a command or post: what its sender must hold
	Source  xmlcode.Source // of the id and of the shape
	Aliases []string       // accepted for it; a command is answered under the name by which it came
	Reply   string         // id of the reply to a command
	needs   need
}

// Entries returns the one table of commands, posts and notices.
func Entries() []Entry { return slices.Clone(entries) }

var entries = []Entry{
	{ID: CmdReqURI, Right: RightNone, Source: sipeURI},
	{ID: CmdGetServerInfo, Right: RightNone, Source: ocsprot + "; shape: " + sipeNotes, Aliases: []string{"cmd:getservinfo"}},
	{ID: CmdGetAssociations, Right: RightNone, Source: signIn + "; shape: " + recalled},
	{ID: CmdBJoin, Right: RightEnter, Source: ocsprot + "; shape: " + sipeInvite, needs: needRoomIDs},
	{ID: CmdJoin, Right: RightEnter, Source: sipeChanID, needs: needRoomIDs},
	{ID: CmdPart, Right: RightJoined, Source: sipeLeave, needs: needRoom},
	{ID: CmdBCContext, Right: RightEnter, Source: xccosip + "; shape: " + sipeJoin, needs: needRoom},
	{ID: CmdBCByDate, Right: RightEnter, Source: recalled, needs: needRoom | needDate},
	{ID: CmdBCByMsg, Right: RightEnter, Source: recalled, needs: needRoom | needMsgID},
	{ID: CmdBCSearch, Right: RightEnter, Source: recalled, needs: needRoom | needWords},
	{ID: CmdChanSrch, Right: RightNone, Source: sipeQuery, needs: needSearch},
	{ID: CmdGetInv, Right: RightNone, Source: sipeInvite + "; reply: " + ours},
	{ID: CmdGetPref, Right: RightNone, Source: sipeNotes, Aliases: []string{"cmd:getprefs"}, needs: needLabel},
	{ID: CmdSetPref, Right: RightNone, Source: sipeNotes, Aliases: []string{"cmd:setprefs"}, needs: needLabel},
	{ID: CmdNodes, Right: RightNone, Source: sipeNotes + "; nodeib: " + recalled},
	{ID: CmdGetNode, Right: RightScope, Source: recalled, Aliases: []string{"cmd:getchan"}, needs: needNode},
	{ID: CmdGetUsers, Right: RightSee, Source: recalled, needs: needRoom | needRoles},
	{ID: CmdGetPrincipals, Right: RightNone, Source: recalled, needs: needUsers},
	{ID: CmdUserSearch, Right: RightScope, Source: recalled, needs: needSearch},
	{ID: CmdGetAddIns, Right: RightNone, Source: ours},
	{ID: CmdChanCreate, Right: RightCreate, Source: interceptor + "; command: " + recalled, needs: needNew | needRoles},
	{ID: CmdChanModify, Right: RightManage, Source: recalled, needs: needRoom | needRoles},
	{ID: CmdChanDisable, Right: RightManage, Source: recalled, needs: needRoom},
	{ID: CmdChanDelete, Right: RightAdmin, Source: recalled, Aliases: []string{"cmd:chandel"}, needs: needRoom},
	{ID: CmdGetFUTok, Right: RightPost, Source: capture, Reply: "rpl:getftok", needs: needFile},
	{ID: CmdGetFDTok, Right: RightEnter, Source: capture, Reply: "rpl:getftok", needs: needFile},

	{ID: IDGrpChat, Right: RightPost, Source: sipeSend},

	{ID: NtcJoin, Source: sipeNotice},
	{ID: NtcBJoin, Source: sipeNotice},
	{ID: NtcPart, Source: sipeParted},
	{ID: NtcChanModify, Source: recalled},
	{ID: NtcChanDisable, Source: ours},
	{ID: NtcChanDelete, Source: recalled},
	{ID: NtcPermModify, Source: recalled},
	{ID: NtcKick, Source: recalled},
	{ID: NtcInvite, Source: recalled},
	{ID: NtcMsgDelete, Source: ours},
}

// byID finds an entry by its id, by an alias, and by the name that its reply would have by either.
var byID = func() map[string]*Entry {
	m := make(map[string]*Entry)
	for i := range entries {
		e := &entries[i]
		for _, id := range append([]string{e.ID}, e.Aliases...) {
			m[id] = e
			if name, ok := strings.CutPrefix(id, "cmd:"); ok {
				m["rpl:"+name] = e
				e.Reply = cmp.Or(e.Reply, "rpl:"+name)
			}
		}
	}
	return m
}()

// canonical returns the id that an alias stands for; an unknown id stands for itself.
func canonical(id string) string {
	e := byID[id]
	switch {
	case e == nil:
		return id
	case strings.HasPrefix(id, "rpl:"):
		return e.Reply
	}
	return e.ID
}

// replyID returns the id of the reply to a command. It mostly has the same name.
func replyID(cmd string) string {
	if e := byID[cmd]; e != nil && e.ID == cmd {
		return e.Reply
	}
	return "rpl:" + strings.TrimPrefix(cmd, "cmd:")
}

// need says what a command must have to be answered at all.
type need uint16

const (
	needRoomIDs need = 1 << iota
	needRoom
	needNode
	needNew
	needRoles
	needSearch
	needLabel
	needFile
	needUsers
	needDate
	needMsgID
	needWords
)

var needs = [...]struct {
	need need
	met  func(*Data) bool
	what string
}{
	{needRoomIDs, func(d *Data) bool { return all(d.Rooms, func(r *ChanID) bool { return r.Value != "" }) }, "the value of a chanid"},
	{needRoom, func(d *Data) bool { return all(d.Chans, func(r *ChanIB) bool { return r.URI != "" }) }, "the uri of a room"},
	{needNode, func(d *Data) bool {
		return all(d.Chans, func(r *ChanIB) bool { return r.URI+r.Name != "" }) || all(d.Categories, func(n *NodeIB) bool { return n.URI != "" })
	}, "a room or category"},
	{needNew, func(d *Data) bool {
		return all(d.Chans, func(r *ChanIB) bool { return r.Name != "" && r.Parent != "" })
	}, "the name and parent of a room"},
	{needRoles, func(d *Data) bool {
		return all(d.Chans, func(r *ChanIB) bool { return r.Roles == nil || all(r.Roles, (*Role).known) })
	}, "a known type, op and uri in a role"},
	{needSearch, func(d *Data) bool { return d.Search != nil }, "a qib"},
	{needLabel, func(d *Data) bool { return d.Pref != nil && d.Pref.Label != "" }, "a label"},
	{needFile, func(d *Data) bool { return d.File != nil && d.File.ChannelURI != "" && d.File.FileURL != "" }, "a room or a file"},
	{needUsers, func(d *Data) bool { return all(d.Users, func(u *UIB) bool { return u.URI != "" }) }, "the uri of a uib"},
	{needDate, func(d *Data) bool { return d.Context != nil && d.Context.Date != nil }, "a date"},
	{needMsgID, func(d *Data) bool { return d.Context != nil && d.Context.MsgID != nil }, "a msgid"},
	{needWords, func(d *Data) bool { return d.Context != nil && (d.Context.Text != nil || d.Context.Authors != nil) }, "a text or an author"},
}

// all reports whether a list is not empty and all that is in it is good.
func all[T any](list []T, good func(*T) bool) bool {
	for i := range list {
		if !good(&list[i]) {
			return false
		}
	}
	return len(list) > 0
}

// check refuses a command that lacks what it is about. Unknown commands are for the caller to refuse.
func (it *Item) check() *Error {
	e := byID[it.ID]
	for i := range needs {
		if n := &needs[i]; e != nil && e.needs&n.need != 0 && !n.met(it.Data) {
			return xmltree.Malformed("%s without %s", it.ID, n.what)
		}
	}
	return nil
}
