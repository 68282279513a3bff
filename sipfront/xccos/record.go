package xccos

import (
	"strings"

	"parley/sipfront/xccos/xmlcode"
	"parley/sipfront/xccos/xmltree"
)

// Inv is, in the command, the last invitation the client has seen; in the reply and the notice, an invitation. The
// ids are a sequence of their own for each user.
type Inv struct {
	ID        uint64
	Domain    string
	CreatedOn string
	Chans     []ChanIB
}

func (i *Inv) code(c *xmlcode.Coder) {
	xmlcode.Uint(c, "inviteId", sipeInvite, &i.ID)
	c.Str("domain", sipeInvite, &i.Domain)
	c.Str("createdon", ours, &i.CreatedOn)
	xmlcode.Many(c, "chanib", ours, &i.Chans, (*ChanIB).code)
}

// Pref is an opaque preference of a client.
type Pref struct {
	Label         string // up to 255 characters
	Seq           string // raised with every store; when the client's is the server's, no content is returned
	CreateDefault string // "true", "false" or not said
	Content       string // base64
}

func (p *Pref) code(c *xmlcode.Coder) {
	c.Str("label", sipeNotes, &p.Label)
	c.Str("seqid", sipeNotes, &p.Seq)
	c.Str("createdefault", sipeNotes, &p.CreateDefault)
	c.Str("content", sipeNotes, &p.Content)
}

// FTDB asks for a file transfer token.
type FTDB struct{ ChannelURI, FileURL string }

func (f *FTDB) code(c *xmlcode.Coder) {
	c.Str("channelUri", capture, &f.ChannelURI)
	c.Str("fileUrl", capture, &f.FileURL)
}

// Token is a file transfer token, and where the service is that takes it.
type Token struct{ Token, ServerURI string }

func (t *Token) code(c *xmlcode.Coder) {
	c.Str("token", capture, &t.Token)
	c.Str("serveruri", capture, &t.ServerURI)
}

// Post is a message: a grpchat item, or a msg record of a history.
type Post struct {
	ChanURI string
	Author  string
	Display string
	Alert   bool
	ChatID  uint64
	TS      string // ISO 8601 UTC; see FormatTime
	Text    string // LF line ends, whatever was received
	RTF     string
}

func (p *Post) code(c *xmlcode.Coder) {
	c.Str("chanUri", sipeSend, &p.ChanURI)
	c.Str("author", sipeSend, &p.Author)
	c.Str("authdisp", recalled, &p.Display)
	c.Bool("alert", recalled, &p.Alert, false)
	xmlcode.Uint(c, "chatId", recalled, &p.ChatID)
	c.Str("ts", sipeSend, &p.TS)
	kind := xmlcode.InChat
	if c.Client {
		kind = xmlcode.InChatRef
	}
	chat := c.Leaf("chat", sipeSend, &p.Text, kind, true)
	c.Leaf("rtf", recalled, &p.RTF, xmlcode.InText, false)
	if !c.Reading() {
		return
	}
	if strings.IndexByte(p.Text, '\r') >= 0 {
		p.Text = strings.ReplaceAll(strings.ReplaceAll(p.Text, "\r\n", "\n"), "\r", "\n")
	}
	switch {
	case p.ChanURI == "":
		c.Fail(xmltree.Malformed("post without chanUri"))
	case p.Author == "":
		c.Fail(xmltree.Malformed("post without author"))
	case p.TS == "": // the product answers such a post with 503 (pidgin-sipe, change that added ts)
		c.Fail(xmltree.Malformed("post without ts"))
	case !chat:
		c.Fail(xmltree.Malformed("post without chat"))
	}
}

// codeRecord visits a post inside a history reply.
func (p *Post) codeRecord(c *xmlcode.Coder) {
	id := IDGrpChat
	c.Str("id", sipeHistory, &id)
	p.code(c)
}
