package xccos

import (
	"strconv"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
)

const (
	// Servers declare two namespaces that nobody uses (digest 2.1): real clients have only ever seen it so.
	serverHead = `<xccos xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" ver="1" envid="`
	clientHead = `<xccos ver="1" envid="`
	headEnd    = `" xmlns="` + Namespace + `">`
	tail       = `</xccos>`
)

// Success is the text of a reply with code 200.
const Success = "SUCCESS_OK" // E 2.1

// AppendServer appends an envelope as a server sends it. Clients look at one kind of item per envelope, and at one
// post only (digest 2.2): do not mix.
func AppendServer(dst []byte, envID uint64, items ...Item) []byte {
	return appendEnvelope(dst, serverHead, envID, items)
}

// AppendClient appends an envelope as a client sends it.
func AppendClient(dst []byte, envID uint64, items ...Item) []byte {
	return appendEnvelope(dst, clientHead, envID, items)
}

// AppendReply appends an envelope with one reply: to is the command that it answers, in envelope env. Data may be nil.
func AppendReply(dst []byte, envID uint64, env *Envelope, to *Item, code int, text string, d *Data) []byte {
	return AppendServer(dst, envID, Reply(env, to, code, text, d))
}

// AppendNotice appends an envelope with one notice.
func AppendNotice(dst []byte, envID uint64, id string, d *Data) []byte {
	return AppendServer(dst, envID, Item{Kind: Ntc, ID: id, Data: d})
}

// AppendPost appends the body of a fan-out. It holds nothing of the receiver, so one body serves all dialogs.
func AppendPost(dst []byte, envID uint64, p *Post) []byte {
	return AppendServer(dst, envID, Item{Kind: GrpChat, ID: IDGrpChat, Post: p})
}

// Reply makes the reply to a command.
func Reply(env *Envelope, to *Item, code int, text string, d *Data) Item {
	return Item{Kind: Rpl, ID: ReplyID(to.ID), Ref: Ref{Seq: to.Seq, EnvID: env.EnvID}, Code: code, Text: text, Data: d}
}

// ReplyID returns the id of the reply to a command. It mostly has the same name (digest 2.1).
func ReplyID(cmd string) string {
	switch cmd {
	case CmdGetFUTok, CmdGetFDTok:
		return RplGetFTok
	}
	return "rpl:" + strings.TrimPrefix(cmd, "cmd:")
}

func appendEnvelope(dst []byte, head string, envID uint64, items []Item) []byte {
	dst = append(dst, head...)
	dst = strconv.AppendUint(dst, envID, 10)
	c := coder{out: append(dst, headEnd...), client: head == clientHead}
	for i := range items {
		it := items[i] // a copy: visiting fills in what is missing
		name := it.Kind.String()
		if it.Seq == "" {
			it.Seq = "1"
		}
		c.item = it.ID
		c.begin(name)
		c.str("id", &it.ID)     // E 2.1
		c.str("seqid", &it.Seq) // E 2.1
		it.code(&c)
		c.end(name)
	}
	return append(c.out, tail...)
}

// FormatTime returns an instant as servers write it: UTC, seven fraction digits and Z, the rest cut off (digest 4.1).
func FormatTime(t event.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

// RespFor returns the code and text of a reply that refuses a command. All but 200 are ours (digest 8.3): the
// product's numbers are not known.
func RespFor(code chat.Code) (int, string) {
	switch code {
	case chat.CodeInvalid:
		return 400, "ERROR_INVALID_ARGUMENT"
	case chat.CodeForbidden:
		return 403, "ERROR_PERMISSION"
	case chat.CodeNotFound:
		return 404, "ERROR_NO_SUCH_NODE"
	case chat.CodeDisabled:
		return 410, "ERROR_NODE_DISABLED"
	case chat.CodeConflict, chat.CodeStaleEpoch:
		return 409, "ERROR_DATA_COLLISION"
	case chat.CodeNotJoined:
		return 412, "ERROR_USER_NOT_JOINED"
	case chat.CodeTooLarge:
		return 413, "ERROR_LIMIT_EXCEEDED"
	case chat.CodeUnsupported:
		return 501, "ERROR_MSG_NOT_SUPPORTED"
	case chat.CodeUnavailable:
		return 503, "ERROR_DATABASE"
	}
	return 500, "ERROR_SERVER"
}
