// Package xccos is the codec of XCCOS, the XML that persistent-chat clients and servers exchange in SIP INFO bodies.
//
// Decode reads what a client sent, DecodeServer what a server sent; the Append functions write both. The package is
// pure and bounded: whatever the body, Decode allocates at most eight times its size and half a MiB, in time linear in
// it. It is liberal in what it reads (unknown elements, attributes and foreign namespaces are ignored, ids are compared
// without case, other names that are remembered for an id are accepted) and exact in what it writes, byte for byte as
// the evidenced vectors in testdata/e.
//
// Every command, reply and notice has its row in Entries, with who may send it and where its name is known from;
// docs/protocol.md says what each is for. In short, with the fields of Data that they use:
//
//	requri, getserverinfo        Server; reply Users[0].URI, Server
//	getassociations              Association; reply Chans
//	join, bjoin, part            Rooms, Chans; reply Roster, Failed, Chans
//	bccontext, bcbydate,         Chans[].URI, Context; reply Chans[].Posts, Total, Exceeded
//	bcbymsg, bcsearch
//	chansrch                     Search; reply Chans, Search.More
//	getinv                       Invites; reply Invites with Chans
//	getpref, setpref             Pref
//	nodespermcreatechild         nothing; reply Categories
//	getnode (getchan)            Chans[0].URI or Name, or Categories[0].URI; reply the same, whole
//	getusers                     Chans[0].URI and Roles; reply Roles with Users, or Users
//	getprincipals, usersearch    Users[].URI, or Search and the room or category; reply Users, Search.More
//	getaddins                    nothing; reply AddIns
//	chancreate, chanmodify       Chans[0] with Roles; reply Chans[0]
//	chandisable, chandelete      Chans[0].URI, Disabled "false" enables; reply Chans[0]
//	getfutok, getfdtok           File; reply Token, as rpl:getftok
//	grpchat                      Post
//
//	ntc:join, bjoin, permmodify  Users[].URI and Rooms (mask, domain, GUID)
//	ntc:part, kick               Chans[].URI and Users
//	ntc:chanmodify               Chans[0], whole
//	ntc:chandisable, chandelete  Chans[0].URI
//	ntc:invite                   Invites
//	ntc:msgdelete                Chans[0].URI with Removed and Replacement, or Context.Date.To (cleared up to then)
//
// The package does not know rooms or rights, and it does not check that an author is who he says he is.
package xccos

import (
	"cmp"
	"strconv"
	"strings"

	"parley/sipfront/xccos/xmlcode"
	"parley/sipfront/xccos/xmltree"
)

// namespace of every element (pidgin-sipe sipe-groupchat.c, generate_xccos_message).
const namespace = "urn:parlano:xml:ns:xccos"

// Kind is the kind of an item.
type Kind uint8

// The kinds.
const (
	Cmd Kind = iota + 1
	Rpl
	Ntc
	GrpChat
)

var kindNames = [...]string{Cmd: "cmd", Rpl: "rpl", Ntc: "ntc", GrpChat: "grpchat"}

// Limits of one envelope, besides those of its XML (package xmltree).
const (
	maxID    = 128  // bytes of the id of a command, which is echoed
	maxItems = 64   // commands or posts
	maxLists = 1000 // entries of all lists of its commands together, such as the rooms to join
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
	ID   string // lower case, of the table of entries if it is known
	Seq  string // as received, for the echo; a number below 2^32
	// Err says that the content of this item was refused. A command is answered with it; the rest of the envelope
	// stands.
	Err  *Error
	Ref  Ref    // Rpl: the command that it answers
	Code int    // Rpl: 200 is success; 500 when the reply does not say
	Text string // Rpl: for people
	Data *Data  // Cmd, Rpl, Ntc: never nil in what was decoded
	Post *Post  // GrpChat

	alias string // the name by which it came, where that is not its ID
}

func (it *Item) name() string { return cmp.Or(it.alias, it.ID) }

// Ref names a command: how a reply is matched to it.
type Ref struct {
	Seq   string
	EnvID string
}

func (r *Ref) code(c *xmlcode.Coder) {
	c.Str("seqid", capture, &r.Seq)
	c.Str("envid", capture, &r.EnvID)
}

type resp struct {
	code int
	text string
}

func (r *resp) visit(c *xmlcode.Coder) {
	code := strconv.Itoa(r.code)
	if c.Full("code", sipeNotes, &code); c.Reading() {
		n, err := strconv.ParseUint(code, 10, 16)
		if err != nil {
			c.Fail(xmltree.Malformed("code of a reply is not a number"))
		}
		r.code = int(n)
	}
	c.Text(&r.text, xmlcode.InText)
}

// Decode reads the body of an INFO from a client. The error is an *Error and concerns the body as a whole; Item.Err
// is the error of one item. Replies and notices, which a client has no business to send, are named but not read.
func Decode(body []byte) (*Envelope, error) { return decode(body, false) }

// DecodeServer reads the body of an INFO from a server: replies, notices and posts.
func DecodeServer(body []byte) (*Envelope, error) { return decode(body, true) }

func decode(body []byte, server bool) (*Envelope, error) {
	e := new(Envelope)
	t, err := xmltree.Parse(body, namespace)
	if err == nil {
		err = e.read(t, server)
	}
	if err != nil {
		return nil, err // not before: a nil *Error is an error that is not nil
	}
	return e, nil
}

func (e *Envelope) read(t *xmltree.Tree, server bool) *Error {
	e.EnvID, _ = t.Attr(xmltree.Root, "envid")
	switch {
	case t.Foreign(xmltree.Root):
		return xmltree.Malformed("root element is of another namespace")
	case t.Local(xmltree.Root) != "xccos":
		return xmltree.Malformed("root element is not xccos")
	case !isNumber(e.EnvID, 64):
		return xmltree.Malformed("envid is not a number below 2^64")
	}
	lists := maxLists
	if server {
		lists = xmltree.MaxElements
	}
	end := t.End(xmltree.Root)
	for n := xmltree.Root + 1; n < end; n = t.End(n) {
		kind := kindOf(t, n)
		if kind == 0 {
			continue
		}
		if len(e.Items) == maxItems {
			return xmltree.TooLarge("envelope holds more than %d items", maxItems)
		}
		it := Item{Kind: kind, Seq: "1"}
		if err := it.head(t, n); err != nil {
			return err
		}
		c := xmlcode.NewReader(t, n, &lists)
		c.Item = it.ID
		if server || kind == Cmd || kind == GrpChat {
			it.code(&c)
		} else {
			it.Data = new(Data)
		}
		if it.Err = c.Err(); it.Err == nil && kind == Cmd {
			it.Err = it.check()
		}
		e.Items = append(e.Items, it)
	}
	if len(e.Items) == 0 {
		return xmltree.Malformed("envelope holds no cmd, rpl, ntc or grpchat")
	}
	return nil
}

// kindOf returns the kind of an element, 0 if it is no item of ours.
func kindOf(t *xmltree.Tree, n xmltree.Node) Kind {
	for k := Cmd; k <= GrpChat && !t.Foreign(n); k++ {
		if t.Local(n) == kindNames[k] {
			return k
		}
	}
	return 0
}

// head reads what is needed to answer an item at all, so a fault here refuses the body.
func (it *Item) head(t *xmltree.Tree, n xmltree.Node) *Error {
	id, _ := t.Attr(n, "id")
	id = strings.ToLower(id)
	switch {
	case it.Kind == GrpChat:
		id = IDGrpChat
	case id == "":
		return xmltree.Malformed("%s without an id", kindNames[it.Kind])
	case len(id) > maxID:
		return xmltree.Malformed("id of a %s is longer than %d bytes", kindNames[it.Kind], maxID)
	}
	if it.ID = canonical(id); it.ID != id {
		it.alias = id
	}
	if seq, ok := t.Attr(n, "seqid"); ok {
		it.Seq = seq
	}
	if !isNumber(it.Seq, 32) {
		return xmltree.Malformed("seqid of a %s is not a number below 2^32", kindNames[it.Kind])
	}
	return nil
}

// isNumber reports whether s is a decimal number of so many bits, in at most 20 digits.
func isNumber(s string, bits int) bool {
	_, err := strconv.ParseUint(s[:min(len(s), 21)], 10, bits)
	return err == nil && len(s) <= 20
}

// code visits what stands inside the item's element.
func (it *Item) code(c *xmlcode.Coder) {
	switch it.Kind {
	case GrpChat:
		if it.Post == nil {
			it.Post = new(Post)
		}
		it.Post.code(c)
		return
	case Rpl:
		ref, r := &it.Ref, &resp{it.Code, it.Text}
		if c.Reading() {
			r.code = 500 // what the open client makes of a reply that does not say
		}
		xmlcode.One(c, "commandid", sipeNotes, &ref, (*Ref).code)
		xmlcode.One(c, "resp", sipeNotes, &r, (*resp).visit)
		it.Ref, it.Code, it.Text = *ref, r.code, r.text
	}
	if it.Data == nil {
		it.Data = new(Data)
	}
	xmlcode.One(c, "data", sipeEnvelope, &it.Data, (*Data).code)
	if c.Reading() && c.Item == CmdGetAssociations && it.Data.Association == nil { // it has no data at all
		it.Data.Association = &Association{Type: AssociationMember}
	}
}
