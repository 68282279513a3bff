// Package archive moves a directory, rooms and their content from one pool to another: the format of the file
// (docs/export-format.md), what a pool has to say in it, and which commands an archive comes to.
//
// An archive is text: one JSON object per line. The first says what it is, the last how much it had and the hash of
// everything before it, so that an archive that was cut off or altered is known from the file alone.
package archive

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
)

// Format and Version of the header. A reader refuses versions that it does not know.
const (
	Format  = "parley-data"
	Version = 1
)

// MaxLine bounds a line, in bytes: a message with its RTF form, or a category with 100,000 principals.
const MaxLine = 16 << 20

// Level says what an export has: the levels of the product.
type Level string

// The levels.
const (
	All           Level = "all"
	Users         Level = "user"
	Categories    Level = "category"
	RoomDirectory Level = "roomdirectory"
	Content       Level = "content"
)

// Levels are all levels.
func Levels() []string {
	return []string{string(All), string(Users), string(Categories), string(RoomDirectory), string(Content)}
}

// ParseLevel reads the name of a level, in any case. "" is All.
func ParseLevel(name string) (Level, error) {
	l := strings.ToLower(strings.TrimSpace(name))
	if l == "" {
		return All, nil
	}
	if !slices.Contains(Levels(), l) {
		return "", chat.Refuse(chat.CodeInvalid, "level %q is not one of %s", name, strings.Join(Levels(), ", "))
	}
	return Level(l), nil
}

// The kinds of rows, in the order in which they stand in an archive: nothing is named before it is there, but for the
// members of groups.
const (
	RowHeader        = "header"
	RowUnit          = "ou"
	RowUser          = "user"
	RowGroup         = "group"
	RowPolicy        = "policy"
	RowGrant         = "grant"
	RowConfiguration = "configuration"
	RowCompliance    = "compliance"
	RowEndpoint      = "endpoint"
	RowAddIn         = "add_in"
	RowCategory      = "category"
	RowRoom          = "room"
	RowMessage       = "message"
	RowEnd           = "end"
)

// order is the order of the rows.
var order = []string{RowHeader, RowUnit, RowUser, RowGroup, RowPolicy, RowGrant, RowConfiguration, RowCompliance, RowEndpoint, RowAddIn,
	RowCategory, RowRoom, RowMessage, RowEnd}

// Kinds returns the kinds of rows between the first and the last row, in their order.
func Kinds() []string { return slices.Clone(order[1 : len(order)-1]) }

// has says which rows a level has.
var has = map[Level][]string{
	All:           order[1 : len(order)-1],
	Users:         {RowUnit, RowUser, RowGroup},
	Categories:    {RowCategory},
	RoomDirectory: {RowAddIn, RowRoom},
	Content:       {RowMessage},
}

// The rows. Principals and ids are those of the pool that was exported: groups and units keep their GUIDs.
type (
	// Header is the first row.
	Header struct {
		Row     string       `json:"row"`
		Format  string       `json:"format"`
		Version int          `json:"version"`
		Domain  string       `json:"domain"` // of the pool
		PoolURI string       `json:"pool_uri"`
		Offset  event.Offset `json:"offset"` // of the log: the directory is as it was there
		At      string       `json:"at"`     // of that event
		Level   Level        `json:"level"`
		Scope   []string     `json:"scope"`      // names of the categories; empty: all
		Since   string       `json:"start_date"` // of the oldest message; empty: all
	}
	// Unit is an organisational unit.
	Unit struct {
		Row         string       `json:"row"`
		ID          event.UnitID `json:"id"`
		Name        string       `json:"name"`
		Description string       `json:"description,omitempty"`
		Parent      event.UnitID `json:"parent,omitempty"`
	}
	// User is an account. What he signs in with is not in an archive.
	User struct {
		Row         string          `json:"row"`
		User        event.Principal `json:"user"`
		DisplayName string          `json:"display_name,omitempty"`
		Email       string          `json:"email,omitempty"`
		Enabled     bool            `json:"enabled"`
		Unit        event.UnitID    `json:"unit,omitempty"`
		Name        string          `json:"name,omitempty"`
		GivenName   string          `json:"given_name,omitempty"`
		Surname     string          `json:"surname,omitempty"`
		Company     string          `json:"company,omitempty"`
	}
	// Group is a group with its direct members.
	Group struct {
		Row         string            `json:"row"`
		ID          event.GroupID     `json:"id"`
		Name        string            `json:"name"`
		Description string            `json:"description,omitempty"`
		Email       string            `json:"email,omitempty"`
		Unit        event.UnitID      `json:"unit,omitempty"`
		Members     []event.Principal `json:"members"`
	}
	// Policy is the policy of a scope.
	Policy struct {
		Row         string      `json:"row"`
		Scope       event.Scope `json:"scope"`
		Enabled     bool        `json:"enabled"`
		Description string      `json:"description,omitempty"`
	}
	// Grant is the policy that a user was given.
	Grant struct {
		Row   string          `json:"row"`
		User  event.Principal `json:"user"`
		Scope event.Scope     `json:"scope"`
	}
	// Configuration is the configuration of a scope.
	Configuration struct {
		Row                    string      `json:"row"`
		Scope                  event.Scope `json:"scope"`
		DefaultChatHistory     uint64      `json:"default_chat_history"`
		MaxFileSizeKB          uint64      `json:"max_file_size_kb"`
		ParticipantUpdateLimit uint64      `json:"participant_update_limit"`
		RoomManagementURL      string      `json:"room_management_url,omitempty"`
		MessageSizeLimit       uint64      `json:"message_size_limit"`
		StorySizeLimit         uint64      `json:"story_size_limit"`
		SearchLimit            uint64      `json:"search_limit"`
	}
	// Compliance is the compliance configuration of a scope.
	Compliance struct {
		Row                 string      `json:"row"`
		Scope               event.Scope `json:"scope"`
		AdapterName         string      `json:"adapter_name,omitempty"`
		AdapterType         string      `json:"adapter_type,omitempty"`
		OutputDirectory     string      `json:"adapter_output_directory,omitempty"`
		RunIntervalSeconds  int64       `json:"run_interval_seconds"`
		OneRoomPerFile      bool        `json:"one_chat_room_per_output_file,omitempty"`
		AddRoomDetails      bool        `json:"add_chat_room_details,omitempty"`
		AddUserDetails      bool        `json:"add_user_details,omitempty"`
		AttachmentsManifest bool        `json:"create_file_attachments_manifest,omitempty"`
		CustomConfiguration string      `json:"custom_configuration,omitempty"`
	}
	// Endpoint is another SIP address of the pool.
	Endpoint struct {
		Row         string          `json:"row"`
		Address     event.Principal `json:"address"`
		DisplayName string          `json:"display_name,omitempty"`
	}
	// AddIn is an add-in.
	AddIn struct {
		Row  string        `json:"row"`
		ID   event.AddInID `json:"id"`
		Name string        `json:"name"`
		URL  string        `json:"url"`
	}
	// Category is a category.
	Category struct {
		Row         string            `json:"row"`
		ID          event.CategoryID  `json:"id"`
		Name        string            `json:"name"`
		Description string            `json:"description,omitempty"`
		Allowed     []event.Principal `json:"allowed_members"`
		Denied      []event.Principal `json:"denied_members"`
		Creators    []event.Principal `json:"creators"`
		Invitations bool              `json:"invitations"`
		FileUpload  bool              `json:"file_upload"`
		ChatHistory bool              `json:"chat_history"`
		Retention   *uint64           `json:"retention_days,omitempty"` // absent: the importing pool keeps its own
	}
	// Room is a room. Who made it and when is for the reader; an import is made by whoever imports.
	Room struct {
		Row         string            `json:"row"`
		ID          event.RoomID      `json:"id"`
		Name        string            `json:"name"`
		Description string            `json:"description,omitempty"`
		Category    event.CategoryID  `json:"category"`
		Type        event.RoomType    `json:"type"`
		Privacy     event.Privacy     `json:"privacy"`
		Invitations event.Invitations `json:"invitations"`
		AddIn       string            `json:"add_in,omitempty"` // GUID
		Disabled    bool              `json:"disabled,omitempty"`
		Members     []event.Principal `json:"members"`
		Managers    []event.Principal `json:"managers"`
		Presenters  []event.Principal `json:"presenters"`
		CreatedBy   event.Principal   `json:"created_by"`
		CreatedAt   string            `json:"created_at"`
	}
	// Message is a message that can be read.
	Message struct {
		Row       string          `json:"row"`
		Room      event.RoomID    `json:"room"`
		MessageID uint64          `json:"message_id"`
		Author    event.Principal `json:"author"`
		PostedAt  string          `json:"posted_at"` // RFC 3339, nanoseconds
		Alert     bool            `json:"alert,omitempty"`
		Story     bool            `json:"story,omitempty"`
		Title     string          `json:"title,omitempty"`
		Text      string          `json:"text"`
		RTF       string          `json:"rtf,omitempty"`
		Links     []Link          `json:"links,omitempty"`
	}
	// Link is a link in a message.
	Link struct {
		Kind event.LinkKind `json:"kind"`
		URI  string         `json:"uri"`
		Name string         `json:"name,omitempty"`
		Size uint64         `json:"size,omitempty"`
	}
	// End is the last row.
	End struct {
		Row    string         `json:"row"`
		Counts map[string]int `json:"counts"` // of each kind of row
		SHA256 string         `json:"sha256"` // of every byte before this line, in hex
	}
)

// Writer writes an archive.
type Writer struct {
	emit   func(line []byte) error
	sum    hash.Hash
	counts map[string]int
}

// NewWriter returns a writer that gives each line, without its end, to emit.
func NewWriter(emit func(line []byte) error) *Writer {
	return &Writer{emit: emit, sum: sha256.New(), counts: map[string]int{}}
}

func (w *Writer) put(kind string, row any) error {
	b, err := encode(row)
	if err != nil {
		return err
	}
	w.sum.Write(b)
	w.sum.Write([]byte{'\n'})
	if kind != RowHeader {
		w.counts[kind]++
	}
	return w.emit(b)
}

func (w *Writer) end() error {
	b, err := encode(End{RowEnd, w.counts, hex.EncodeToString(w.sum.Sum(nil))})
	if err != nil {
		return err
	}
	return w.emit(b)
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("write a row: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// Reader reads an archive and checks it on the way: the order of the rows, their number and the hash.
type Reader struct {
	Header Header
	Counts map[string]int // of the rows so far
	Lines  uint32         // so far

	in    *bufio.Reader
	sum   hash.Hash
	stage int
	ended bool
}

// ErrDamaged is the class of archives that are not what was written: cut off, altered, or none at all.
var ErrDamaged = errors.New("the archive is damaged")

func damaged(line uint32, format string, args ...any) error {
	return fmt.Errorf("line %d: %s: %w", line, fmt.Sprintf(format, args...), ErrDamaged)
}

// NewReader reads the header.
func NewReader(r io.Reader) (*Reader, error) {
	a := &Reader{in: bufio.NewReaderSize(r, 256<<10), sum: sha256.New(), Counts: map[string]int{}}
	b, err := a.line()
	if err != nil {
		return nil, err
	}
	if json.Unmarshal(b, &a.Header) != nil || a.Header.Row != RowHeader || a.Header.Format != Format {
		return nil, damaged(1, "it is not an archive of a pool: no header of format %q", Format)
	}
	if a.Header.Version != Version {
		return nil, chat.Refuse(chat.CodeInvalid, "the archive has version %d of the format, this program reads version %d", a.Header.Version, Version)
	}
	a.sum.Write(b)
	a.sum.Write([]byte{'\n'})
	return a, nil
}

// line reads a line, without its end.
func (a *Reader) line() ([]byte, error) {
	var b []byte
	a.Lines++
	for {
		part, err := a.in.ReadSlice('\n')
		b = append(b, part...)
		switch {
		case len(b) > MaxLine:
			return nil, damaged(a.Lines, "it is longer than %d bytes", MaxLine)
		case err == nil:
			return b[:len(b)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil, damaged(a.Lines, "the archive ends here, before its last row")
		default:
			return nil, fmt.Errorf("read the archive: %w", err)
		}
	}
}

// Row is a row that was read.
type Row struct {
	Line  uint32
	Kind  string
	Value any // *Unit, *User, ...; nil when Bad says why
	Bad   string
}

// values makes the value of each kind of row.
var values = map[string]func() any{
	RowUnit: func() any { return new(Unit) }, RowUser: func() any { return new(User) }, RowGroup: func() any { return new(Group) },
	RowPolicy: func() any { return new(Policy) }, RowGrant: func() any { return new(Grant) }, RowConfiguration: func() any { return new(Configuration) },
	RowCompliance: func() any { return new(Compliance) }, RowEndpoint: func() any { return new(Endpoint) }, RowAddIn: func() any { return new(AddIn) },
	RowCategory: func() any { return new(Category) }, RowRoom: func() any { return new(Room) }, RowMessage: func() any { return new(Message) },
}

// Next returns the next row, or io.EOF after the last one, when everything was as it was written. A row that cannot be
// understood is returned with Bad, so that all bad rows can be told at once; damage of the archive is an error.
func (a *Reader) Next() (Row, error) {
	if a.ended {
		return Row{}, io.EOF
	}
	b, err := a.line()
	if err != nil {
		return Row{}, err
	}
	row := Row{Line: a.Lines}
	var head struct {
		Row string `json:"row"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		row.Bad = "it is no JSON object: " + err.Error()
		return row, a.take(b)
	}
	if head.Row == RowEnd {
		return a.finish(b)
	}
	row.Kind = head.Row
	stage := slices.Index(order, head.Row)
	switch {
	case stage <= 0:
		row.Bad = fmt.Sprintf("there are no rows of kind %q", head.Row)
	case stage < a.stage:
		row.Bad = fmt.Sprintf("a row of kind %q after one of kind %q", head.Row, order[a.stage])
	default:
		a.stage = stage
		row.Value = values[head.Row]()
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(row.Value); err != nil {
			row.Value, row.Bad = nil, strings.TrimPrefix(err.Error(), "json: ")
		}
	}
	a.Counts[head.Row]++
	return row, a.take(b)
}

func (a *Reader) take(b []byte) error {
	a.sum.Write(b)
	a.sum.Write([]byte{'\n'})
	return nil
}

// finish compares the end with what was read.
func (a *Reader) finish(b []byte) (Row, error) {
	var end End
	if err := json.Unmarshal(b, &end); err != nil {
		return Row{}, damaged(a.Lines, "the last row: %v", err)
	}
	for _, kind := range order {
		if end.Counts[kind] != a.Counts[kind] {
			return Row{}, damaged(a.Lines, "%d rows of kind %q, but there were %d", a.Counts[kind], kind, end.Counts[kind])
		}
	}
	if sum := hex.EncodeToString(a.sum.Sum(nil)); sum != end.SHA256 {
		return Row{}, damaged(a.Lines, "the hash is %s, but it was %s", sum, end.SHA256)
	}
	if _, err := a.in.ReadByte(); !errors.Is(err, io.EOF) {
		return Row{}, damaged(a.Lines+1, "there is something after the last row")
	}
	a.ended = true
	return Row{}, io.EOF
}
