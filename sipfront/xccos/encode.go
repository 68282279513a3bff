package xccos

import (
	"cmp"
	"strconv"
	"time"

	"parley/log/event"
	"parley/sipfront/xccos/xmlcode"
)

const (
	// Servers declare two namespaces that nobody uses (SfBServerEnforcer XCCosContent.cs, captures): real clients have
	// only ever seen it so.
	serverHead = `<xccos xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" ver="1" envid="`
	clientHead = `<xccos ver="1" envid="`
	headEnd    = `" xmlns="` + namespace + `">`
	tail       = `</xccos>`
)

// AppendServer appends an envelope as a server sends it. Clients look at one kind of item per envelope, and at one
// post only (pidgin-sipe sipe-groupchat.c, process_incoming_info_groupchat): do not mix.
func AppendServer(dst []byte, envID uint64, items ...Item) []byte {
	return appendEnvelope(dst, serverHead, envID, items)
}

// AppendClient appends an envelope as a client sends it.
func AppendClient(dst []byte, envID uint64, items ...Item) []byte {
	return appendEnvelope(dst, clientHead, envID, items)
}

// AppendReply appends an envelope with one reply: to is the command that it answers, in envelope env. Data may be nil.
func AppendReply(dst []byte, envID uint64, env *Envelope, to *Item, code int, text string, d *Data) []byte {
	return AppendServer(dst, envID, answer(env, to, code, text, d))
}

// AppendNotice appends an envelope with one notice.
func AppendNotice(dst []byte, envID uint64, id string, d *Data) []byte {
	return AppendServer(dst, envID, Item{Kind: Ntc, ID: id, Data: d})
}

// AppendPost appends the body of a fan-out. It holds nothing of the receiver, so one body serves all dialogs.
func AppendPost(dst []byte, envID uint64, p *Post) []byte {
	return AppendServer(dst, envID, Item{Kind: GrpChat, ID: IDGrpChat, Post: p})
}

// PostLen returns how many bytes the texts of a post take at most in a fan-out.
func PostLen(p *Post) int { return xmlcode.EscapedLen(p.Text) + xmlcode.EscapedLen(p.RTF) }

// answer makes the reply to a command, under the name by which the command came.
func answer(env *Envelope, to *Item, code int, text string, d *Data) Item {
	return Item{Kind: Rpl, ID: replyID(to.name()), Ref: Ref{Seq: to.Seq, EnvID: env.EnvID}, Code: code, Text: text, Data: d}
}

func appendEnvelope(dst []byte, head string, envID uint64, items []Item) []byte {
	dst = append(dst, head...)
	dst = strconv.AppendUint(dst, envID, 10)
	c := xmlcode.NewWriter(append(dst, headEnd...))
	c.Client = head == clientHead
	for i := range items {
		it := items[i] // a copy: visiting fills in what is missing
		kind, id := kindNames[it.Kind], it.name()
		it.Seq = cmp.Or(it.Seq, "1")
		c.Item = canonical(it.ID)
		c.Begin(kind)
		c.Str("id", sipeEnvelope, &id)
		c.Str("seqid", sipeEnvelope, &it.Seq)
		it.code(&c)
		c.End(kind)
	}
	return append(c.Bytes(), tail...)
}

// FormatTime returns an instant as servers write it: UTC, seven fraction digits and Z, the rest cut off (pidgin-sipe
// sipe-groupchat.c, notes at its head).
func FormatTime(t event.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

// ParseTime reads an instant that a client sent: ISO 8601, UTC where it names no zone (as pidgin-sipe reads them), from
// 1970 to 2261.
func ParseTime(s string) (event.Time, bool) {
	for _, layout := range [...]string{time.RFC3339, "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() >= 1970 && t.Year() < 2262 {
			return event.Time(t.UnixNano()), true
		}
	}
	return 0, false
}
