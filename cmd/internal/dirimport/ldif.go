package dirimport

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"parley/projections/chat"
	"parley/projections/chat/directory/bulk"
	"parley/projections/chat/directory/dn"
)

// The LDIF that is read (RFC 2849): content records, and change records that add or delete an entry. Values may be folded
// and in base64. Values at a URL, other changes and controls are refused: what they would mean depends on more than the
// file. There are libraries for LDIF; those that are kept up read the whole file into memory.

// attribute is one value of an entry.
type attribute struct{ name, option, value string } // name in lower case

// entry is one record.
type entry struct {
	line       uint32
	attributes []attribute
}

// all returns the values of an attribute, whatever its options.
func (e *entry) all(name string) (values []string) {
	for _, a := range e.attributes {
		if a.name == strings.ToLower(name) {
			values = append(values, a.value)
		}
	}
	return values
}

func (e *entry) first(name string) string {
	if v := e.all(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// is reports whether the entry has one of these object classes.
func (e *entry) is(classes ...string) bool {
	return slices.ContainsFunc(e.all("objectclass"), func(c string) bool { return slices.Contains(classes, strings.ToLower(c)) })
}

// scanner reads entries.
type scanner struct {
	r    *bufio.Reader
	in   *bounded
	line uint32 // of the line read last
	next string // a line that was read to see whether it goes on, without its end
	have bool
	last bool // nothing follows next
}

// physical reads one line of the file. io.EOF says that there is none.
func (s *scanner) physical() (string, error) {
	text, err := s.r.ReadString('\n')
	if err != nil && (!errors.Is(err, io.EOF) || text == "") {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r"), nil
}

// logical reads one line with those that go on with it, and where it began.
func (s *scanner) logical() (text string, line uint32, err error) {
	if !s.have {
		if s.last {
			return "", 0, io.EOF
		}
		if s.next, err = s.physical(); err != nil {
			return "", 0, err
		}
		s.line++
	}
	var b strings.Builder
	b.WriteString(s.next)
	s.have = false
	line = s.line
	for size := b.Len(); ; {
		s.next, err = s.physical()
		if errors.Is(err, io.EOF) {
			s.last = true
			return b.String(), line, nil
		}
		if err != nil {
			return "", 0, err
		}
		s.line++
		if !strings.HasPrefix(s.next, " ") || b.Len() == 0 {
			s.have = true
			return b.String(), line, nil
		}
		if size += len(s.next); size > MaxRowBytes {
			return "", 0, ErrTooLarge
		}
		b.WriteString(s.next[1:])
	}
}

// entry reads the next record. A *RowError is about one that can be passed over.
func (s *scanner) entry() (*entry, error) {
	var e entry
	var bad error
	size := 0
	for {
		text, line, err := s.logical()
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		end := err != nil
		switch {
		case !end && strings.HasPrefix(text, "#"):
			if len(e.attributes) == 0 {
				s.in.since = 0 // a file may begin with a book
			}
			continue
		case end || text == "":
			if bad != nil {
				return nil, &RowError{e.line, bad}
			}
			if len(e.attributes) > 0 {
				return &e, nil
			}
			s.in.since = 0
			if end {
				return nil, io.EOF
			}
			continue
		}
		if text == "-" { // ends a step of a modification, which is refused as a whole
			continue
		}
		if e.line == 0 {
			e.line = line
		}
		if size += len(text); size > MaxRowBytes {
			return nil, ErrTooLarge
		}
		a, err := parseAttribute(text)
		if err != nil {
			if bad == nil {
				bad = fmt.Errorf("line %d: %w", line, err)
			}
			continue
		}
		if a.name == "version" && len(e.attributes) == 0 && line == e.line {
			if a.value != "1" {
				return nil, fmt.Errorf("line %d: LDIF version %q, want 1", line, a.value)
			}
			e = entry{}
			continue
		}
		e.attributes = append(e.attributes, a)
	}
}

func parseAttribute(text string) (attribute, error) {
	name, value, ok := strings.Cut(text, ":")
	if !ok || name == "" {
		return attribute{}, errors.New("not NAME: VALUE")
	}
	var a attribute
	a.name, a.option, _ = strings.Cut(strings.ToLower(name), ";")
	switch {
	case strings.HasPrefix(value, ":"):
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value[1:]))
		if err != nil {
			return attribute{}, fmt.Errorf("%s: %w", a.name, err)
		}
		a.value = string(raw)
	case strings.HasPrefix(value, "<"):
		return attribute{}, fmt.Errorf("%s: values at a URL are not read", a.name)
	default:
		a.value = strings.TrimLeft(value, " ")
	}
	return a, nil
}

func readLDIF(in *reading) {
	s := &scanner{r: bufio.NewReaderSize(in.r, 64<<10), in: in.r}
	for {
		e, err := s.entry()
		var re *RowError
		switch {
		case errors.Is(err, io.EOF):
			return
		case errors.As(err, &re):
			if !in.give(chat.ImportRow{}, err) {
				return
			}
			continue
		case err != nil:
			in.yield(chat.ImportRow{}, fmt.Errorf("read LDIF after line %d: %w", s.line, err))
			return
		}
		row, why, err := in.ldifRow(e)
		switch {
		case err != nil:
			err = &RowError{e.line, err}
		case why != "":
			in.skip(e.line, why)
			continue
		}
		if !in.give(row, err) {
			return
		}
	}
}

// ldifRow makes a row of an entry, or says why it is passed over.
func (in *reading) ldifRow(e *entry) (row chat.ImportRow, skip string, err error) {
	row = chat.ImportRow{Line: e.line, Lenient: in.o.Lenient}
	if e.attributes[0].name != "dn" {
		return row, "", fmt.Errorf("the record begins with %q, not with its distinguished name", e.attributes[0].name)
	}
	steps, _, err := dn.Split(e.attributes[0].value)
	if err != nil {
		return row, "", err
	}
	switch change := strings.ToLower(e.first("changetype")); change {
	case "", "add":
	case "delete":
		row.Remove = true
	default:
		return row, "", fmt.Errorf("a change of type %q: only entries, and changes that add or delete one, are read", change)
	}
	if len(e.all("control")) > 0 {
		return row, "", errors.New("a control: what it means is not known here")
	}
	if len(steps) == 0 {
		return row, "the top of the tree", nil
	}
	place(&row, steps)
	if row.ID, err = guid(e); err != nil {
		return row, "", err
	}
	if row.Remove {
		return in.removal(row, steps[0].Type)
	}
	switch {
	case e.is("organizationalunit", "container", "builtindomain", "organization", "locality"):
		row.Kind = bulk.KindUnit
		setOptional(&row, e, "description")
	case e.is("group", "groupofnames", "groupofuniquenames"):
		row.Kind = bulk.KindGroup
		setOptional(&row, e, "description", "mail")
		row.Has |= bulk.HasMembers
		for _, a := range e.attributes {
			if a.name != "member" && a.name != "uniquemember" || a.value == "" {
				continue
			}
			if strings.HasPrefix(a.option, "range=") {
				return row, "", errors.New("the members are only a part of them (range=): export the group whole")
			}
			row.Members = append(row.Members, a.value)
		}
	case e.is("computer"):
		return row, "a machine", nil
	case e.is("user", "person", "inetorgperson", "organizationalperson"):
		return in.person(row, e)
	default:
		return row, "neither an account nor a group nor a unit", nil
	}
	return row, "", nil
}

// place takes name and unit from the distinguished name.
func place(row *chat.ImportRow, steps []dn.RDN) {
	var up []string
	for _, s := range steps[1:] {
		up = append(up, dn.Step(s.Type, s.Value))
	}
	row.Name, row.Unit = steps[0].Value, strings.Join(up, ",")
	row.Has |= bulk.HasName | bulk.HasUnit
}

// removal makes the row of an entry that goes: all that is known of it is its name.
func (in *reading) removal(row chat.ImportRow, typ string) (chat.ImportRow, string, error) {
	if typ == "ou" {
		row.Kind = bulk.KindUnit
		return row, "", nil
	}
	return row, "", errors.New("whether this was an account or a group is not in the file: remove it by address or name (CSV, column remove)")
}

func setOptional(row *chat.ImportRow, e *entry, names ...string) {
	for _, n := range names {
		if v := e.all(n); len(v) > 0 {
			if same, ok := aliases[n]; ok {
				n = same
			}
			setField(row, n, v[0])
		}
	}
}

func (in *reading) person(row chat.ImportRow, e *entry) (chat.ImportRow, string, error) {
	row.Kind = bulk.KindUser
	setOptional(&row, e, "displayname", "mail", "givenname", "sn", "company")
	from := in.o.AddressFrom
	if len(from) == 0 {
		from = DefaultAddress
	}
	for _, name := range from {
		for _, v := range e.all(name) {
			if sip := strings.ToLower(v); strings.EqualFold(name, "proxyAddresses") && !strings.HasPrefix(sip, "sip:") {
				continue
			}
			if row.Address == "" {
				row.Address = strings.TrimSpace(v)
			}
		}
	}
	if row.Address == "" {
		return row, "an account without a SIP address", nil
	}
	if v := e.first("msrtcsip-userenabled"); v != "" {
		on, err := boolean(v)
		if err != nil {
			return row, "", fmt.Errorf("msRTCSIP-UserEnabled: %w", err)
		}
		row.Enabled, row.Has = on, row.Has|bulk.HasEnabled
	}
	if v := e.first("useraccountcontrol"); v != "" {
		flags, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return row, "", fmt.Errorf("userAccountControl: %w", err)
		}
		const disabled = 0x2
		off := flags&disabled != 0
		if row.Has&bulk.HasEnabled == 0 || off {
			row.Enabled, row.Has = !off, row.Has|bulk.HasEnabled
		}
	}
	return row, "", nil
}

// guid returns the entry's GUID: objectGUID, whose first three parts have their bytes in the other order, or entryUUID.
func guid(e *entry) (string, error) {
	if id := e.first("entryuuid"); id != "" {
		return strings.ToLower(id), nil
	}
	raw := []byte(e.first("objectguid"))
	if len(raw) == 0 {
		return "", nil
	}
	if len(raw) != 16 {
		return "", fmt.Errorf("objectGUID has %d bytes, want 16", len(raw))
	}
	for _, part := range [][]byte{raw[0:4], raw[4:6], raw[6:8]} {
		slices.Reverse(part)
	}
	h := hex.EncodeToString(raw)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
}
