// Package xccos is the codec of XCCOS, the XML that persistent-chat clients and servers exchange in SIP INFO bodies.
//
// Decode reads what a client sent, DecodeServer what a server sent; the Append functions write both. The package is
// pure and bounded: whatever the body, Decode allocates at most eight times its size and half a MiB, in time linear in it. It is
// liberal in what it reads (unknown elements, attributes and foreign namespaces are ignored, ids are compared without
// case) and exact in what it writes, byte for byte as the evidenced vectors in testdata/e.
//
// It does not know rooms or rights, and it does not check that an author is who he says he is.
package xccos

import (
	"strconv"
	"strings"

	"parley/sipfront/xccos/xmltree"
)

// Namespace of every element.
const Namespace = "urn:parlano:xml:ns:xccos" // E 2.1

// Kind is the kind of an item.
type Kind uint8

// The kinds.
const (
	Cmd     Kind = iota + 1 // E 2.1
	Rpl                     // E 2.1
	Ntc                     // E 2.1
	GrpChat                 // E 2.1
)

var kindNames = [...]string{Cmd: "cmd", Rpl: "rpl", Ntc: "ntc", GrpChat: "grpchat"}

// String returns the name of the kind's element.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return ""
}

// Ids of items, lower case. E+N: the name is known from documentation, the shape is not.
const (
	CmdReqURI          = "cmd:requri"               // E 3.1
	CmdGetServerInfo   = "cmd:getserverinfo"        // E 3.2
	CmdGetAssociations = "cmd:getassociations"      // E+N 3.3
	CmdBJoin           = "cmd:bjoin"                // E 3.4
	CmdJoin            = "cmd:join"                 // E 3.4
	CmdPart            = "cmd:part"                 // E 3.6
	CmdBCContext       = "cmd:bccontext"            // E 3.7
	CmdChanSrch        = "cmd:chansrch"             // E 3.9
	CmdGetInv          = "cmd:getinv"               // E 3.10
	CmdGetPref         = "cmd:getpref"              // E 3.11
	CmdSetPref         = "cmd:setpref"              // E 3.11
	CmdNodes           = "cmd:nodespermcreatechild" // E 3.12
	CmdGetFUTok        = "cmd:getfutok"             // E 3.13
	CmdGetFDTok        = "cmd:getfdtok"             // E 3.13

	RplChanSrch = "rpl:chansrch" // E 3.9
	RplGetInv   = "rpl:getinv"   // E 3.10
	RplGetFTok  = "rpl:getftok"  // E 3.13: the answer to both getfutok and getfdtok

	NtcJoin       = "ntc:join"       // E 3.5
	NtcBJoin      = "ntc:bjoin"      // E 3.5
	NtcPart       = "ntc:part"       // E 3.5
	NtcKick       = "ntc:kick"       // GUESS-R 3.14: membership revoked or room disabled
	NtcChanModify = "ntc:chanmodify" // GUESS-R 3.14
	NtcInvite     = "ntc:invite"     // GUESS-R 3.14

	IDGrpChat = "grpchat" // E 3.8
)

// Limits of one envelope, besides those of its XML (package xmltree).
const (
	MaxID    = 128  // bytes of the id of a command, which is echoed
	MaxItems = 64   // commands or posts
	MaxLists = 1000 // entries of all lists of its commands together, such as the rooms to join
)

// Error says why a body, or one item of it, was refused: code 400 malformed, or 413 over a limit, and a text that
// names elements and attributes, never their content.
type Error = xmltree.Error

// Envelope is one body. Its strings share one copy of the body: clone what is kept for long.
type Envelope struct {
	EnvID string // as received, for the echo; a number below 2^64
	Items []Item
}

// Item is a command, reply, notice or post.
type Item struct {
	Kind Kind
	ID   string // lower case
	Seq  string // as received, for the echo; a number below 2^32
	// Err says that the content of this item was refused. A command is answered with it; the rest of the envelope
	// stands.
	Err  *Error
	Ref  Ref    // Rpl: the command that it answers
	Code int    // Rpl: 200 is success; 500 when the reply does not say
	Text string // Rpl: for people
	Data *Data  // Cmd, Rpl, Ntc: never nil in what was decoded
	Post *Post  // GrpChat
}

// Ref names a command: how a reply is matched to it (digest 2.1).
type Ref struct {
	Seq   string
	EnvID string
}

func (r *Ref) code(c *coder) {
	c.str("seqid", &r.Seq)   // E 2.1
	c.str("envid", &r.EnvID) // E 2.1
}

type resp struct {
	code int
	text string
}

func (r *resp) visit(c *coder) {
	if c.t == nil {
		code := strconv.Itoa(r.code)
		c.full("code", &code) // E 2.1
	} else if code, ok := c.t.Attr(c.n, "code"); ok {
		n, err := strconv.ParseUint(code, 10, 16)
		if err != nil {
			c.fail(xmltree.Malformed("code of a reply is not a number"))
		}
		r.code = int(n)
	}
	c.text(&r.text, inText)
}

// Decode reads the body of an INFO from a client. The error is an *Error and concerns the body as a whole; Item.Err
// is the error of one item. Replies and notices, which a client has no business to send, are named but not read.
func Decode(body []byte) (*Envelope, error) { return decode(body, false) }

// DecodeServer reads the body of an INFO from a server: replies, notices and posts.
func DecodeServer(body []byte) (*Envelope, error) { return decode(body, true) }

func decode(body []byte, server bool) (*Envelope, error) {
	t, err := xmltree.Parse(body, Namespace)
	if err != nil {
		return nil, err
	}
	e := new(Envelope)
	if err := e.read(t, server); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *Envelope) read(t *xmltree.Tree, server bool) *Error {
	if t.Foreign(xmltree.Root) {
		return xmltree.Malformed("root element is of another namespace")
	}
	if t.Local(xmltree.Root) != "xccos" {
		return xmltree.Malformed("root element is not xccos")
	}
	e.EnvID, _ = t.Attr(xmltree.Root, "envid")
	if !isNumber(e.EnvID, 64) {
		return xmltree.Malformed("envid is not a number below 2^64")
	}
	count, end := 0, t.End(xmltree.Root)
	for n := xmltree.Root + 1; n < end; n = t.End(n) {
		if kindOf(t, n) != 0 {
			count++
		}
	}
	switch {
	case count == 0:
		return xmltree.Malformed("envelope holds no cmd, rpl, ntc or grpchat")
	case count > MaxItems:
		return xmltree.TooLarge("envelope holds %d items, at most %d", count, MaxItems)
	}
	lists := MaxLists
	if server {
		lists = xmltree.MaxElements
	}
	e.Items = make([]Item, 0, count)
	for n := xmltree.Root + 1; n < end; n = t.End(n) {
		kind := kindOf(t, n)
		if kind == 0 {
			continue
		}
		it := Item{Kind: kind, Seq: "1"}
		if err := it.head(t, n); err != nil {
			return err
		}
		c := coder{t: t, n: n, item: it.ID, lists: &lists}
		if server || kind == Cmd || kind == GrpChat {
			it.code(&c)
		} else {
			it.Data = new(Data)
		}
		if it.Err = c.err; it.Err == nil && kind == Cmd {
			it.Err = it.check()
		}
		e.Items = append(e.Items, it)
	}
	return nil
}

func kindOf(t *xmltree.Tree, n xmltree.Node) Kind {
	if !t.Foreign(n) {
		switch t.Local(n) {
		case "cmd":
			return Cmd
		case "rpl":
			return Rpl
		case "ntc":
			return Ntc
		case "grpchat":
			return GrpChat
		}
	}
	return 0
}

// head reads what is needed to answer an item at all, so a fault here refuses the body.
func (it *Item) head(t *xmltree.Tree, n xmltree.Node) *Error {
	id, ok := t.Attr(n, "id")
	it.ID = strings.ToLower(id)
	switch {
	case it.Kind == GrpChat:
		it.ID = IDGrpChat
	case !ok || id == "":
		return xmltree.Malformed("%s without an id", it.Kind)
	case len(it.ID) > MaxID:
		return xmltree.Malformed("id of a %s is longer than %d bytes", it.Kind, MaxID)
	}
	if seq, ok := t.Attr(n, "seqid"); ok {
		it.Seq = seq
	}
	if !isNumber(it.Seq, 32) {
		return xmltree.Malformed("seqid of a %s is not a number below 2^32", it.Kind)
	}
	return nil
}

// isNumber reports whether s is a decimal number of so many bits, in digits only.
func isNumber(s string, bits int) bool {
	if !isDigits(s) || len(s) > 20 {
		return false
	}
	_, err := strconv.ParseUint(s, 10, bits)
	return err == nil
}

// code visits what stands inside the item's element.
func (it *Item) code(c *coder) {
	switch it.Kind {
	case GrpChat:
		if it.Post == nil {
			it.Post = new(Post)
		}
		it.Post.code(c)
		return
	case Rpl:
		ref, r := &it.Ref, &resp{it.Code, it.Text}
		if c.t != nil {
			r.code = 500 // what the open client makes of a reply that does not say
		}
		one(c, "commandid", &ref, (*Ref).code) // E 2.1
		one(c, "resp", &r, (*resp).visit)      // E 2.1
		it.Ref, it.Code, it.Text = *ref, r.code, r.text
	}
	if it.Data == nil {
		it.Data = new(Data)
	}
	d := it.Data
	one(c, "data", &d, (*Data).code) // E 2.1
	it.Data = d
}

// check refuses a command that lacks what it is about. Unknown commands are for the caller to refuse.
func (it *Item) check() *Error {
	d := it.Data
	switch it.ID {
	case CmdJoin, CmdBJoin:
		if len(d.Rooms) == 0 {
			return xmltree.Malformed("%s without a chanid", it.ID)
		}
		for i := range d.Rooms {
			if d.Rooms[i].Value == "" {
				return xmltree.Malformed("%s: chanid without a value", it.ID)
			}
		}
	case CmdPart, CmdBCContext:
		if len(d.Chans) == 0 || d.Chans[0].URI == "" {
			return xmltree.Malformed("%s without the uri of a room", it.ID)
		}
	case CmdChanSrch:
		if d.Search == nil {
			return xmltree.Malformed("%s without a qib", it.ID)
		}
	case CmdGetPref, CmdSetPref:
		if d.Pref == nil || d.Pref.Label == "" {
			return xmltree.Malformed("%s without a label", it.ID)
		}
	case CmdGetFUTok, CmdGetFDTok:
		if d.File == nil || d.File.ChannelURI == "" || d.File.FileURL == "" {
			return xmltree.Malformed("%s without a room or a file", it.ID)
		}
	}
	return nil
}
