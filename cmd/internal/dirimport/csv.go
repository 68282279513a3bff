package dirimport

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/directory/bulk"
)

// Columns are the columns of a CSV file (RFC 4180). The first row names them, in any order and any case; "kind" may be
// left out of a file of accounts. Names of LDAP attributes (cn, ou, displayName, mail, givenName, sn) do as well. Columns
// that a file does not have leave what they would say as it is; an empty cell empties it, except for kind, id, enabled,
// remove and password, which say nothing when empty. Lists ("members", "member_of") are parted by semicolons.
var Columns = []string{"kind", "address", "name", "unit", "display_name", "email", "description", "given_name", "surname", "company",
	"enabled", "id", "members", "member_of", "remove", "password"}

// aliases are the names of LDAP attributes, in lower case.
var aliases = map[string]string{"cn": "name", "ou": "unit", "displayname": "display_name", "mail": "email", "givenname": "given_name",
	"sn": "surname"}

func readCSV(in *reading) {
	r := csv.NewReader(in.r)
	r.ReuseRecord = true
	head, err := r.Read()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the file is empty")
		}
		in.yield(chat.ImportRow{}, fmt.Errorf("read the header of the CSV: %w", err))
		return
	}
	columns, err := header(head)
	if err != nil {
		in.yield(chat.ImportRow{}, err)
		return
	}
	for {
		record, err := r.Read()
		var pe *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return
		case errors.As(err, &pe):
			if !in.give(chat.ImportRow{}, &RowError{uint32(pe.StartLine), pe.Err}) {
				return
			}
			continue
		case err != nil:
			in.yield(chat.ImportRow{}, fmt.Errorf("read CSV: %w", err))
			return
		}
		at, _ := r.FieldPos(0)
		row, err := in.csvRow(columns, record, uint32(at))
		if err != nil {
			err = &RowError{uint32(at), err}
		}
		if !in.give(row, err) {
			return
		}
	}
}

// header returns the names of the columns in lower case.
func header(head []string) ([]string, error) {
	var out []string
	for i, h := range head {
		if i == 0 {
			h = strings.TrimPrefix(h, "\ufeff") // spreadsheets write one
		}
		h = strings.ToLower(strings.TrimSpace(h))
		if same, ok := aliases[h]; ok {
			h = same
		}
		if slices.Contains(out, h) {
			return nil, fmt.Errorf("the CSV has the column %q twice", h)
		}
		if !slices.Contains(Columns, h) {
			return nil, fmt.Errorf("the CSV has a column %q; columns are %s", h, strings.Join(Columns, ", "))
		}
		out = append(out, h)
	}
	return out, nil
}

func (in *reading) csvRow(columns, record []string, line uint32) (chat.ImportRow, error) {
	row := chat.ImportRow{Line: line, Kind: cmp.Or(in.o.Kind, bulk.KindUser), Lenient: in.o.Lenient}
	password := ""
	for i, value := range record {
		value = strings.Clone(strings.TrimSpace(value)) // the reader keeps its memory, and a row must not keep the record
		switch columns[i] {
		case "kind":
			if value != "" {
				row.Kind = bulk.Kind(strings.ToLower(value))
			}
		case "address":
			row.Address = value
		case "id":
			row.ID = strings.ToLower(strings.Trim(value, "{}"))
		case "enabled", "remove":
			if value == "" {
				continue
			}
			v, err := boolean(value)
			if err != nil {
				return row, fmt.Errorf("%s: %w", columns[i], err)
			}
			if columns[i] == "remove" {
				row.Remove = v
			} else {
				row.Enabled, row.Has = v, row.Has|bulk.HasEnabled
			}
		case "members":
			row.Members, row.Has = list(value), row.Has|bulk.HasMembers
		case "member_of":
			row.MemberOf = list(value)
		case "password":
			password = record[i] // blanks count
		default:
			setField(&row, columns[i], value)
		}
	}
	switch {
	case password == "":
	case row.Kind != bulk.KindUser:
		return row, fmt.Errorf("a password for a %s", row.Kind)
	case in.o.Secret == nil:
		return row, errors.New("passwords are not taken here")
	default:
		row.Secret = in.o.Secret(event.UserPrincipal(row.Address), password)
	}
	if row.Kind != bulk.KindGroup { // of a file with groups and others the column says nothing about the others
		if len(row.Members) > 0 {
			return row, fmt.Errorf("a %s has no members", row.Kind)
		}
		row.Has &^= bulk.HasMembers
	}
	return row, nil
}

func boolean(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "yes", "y", "on":
		return true, nil
	case "no", "n", "off":
		return false, nil
	}
	v, err := strconv.ParseBool(strings.ToLower(s))
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", s)
	}
	return v, nil
}

// list splits at semicolons that are not escaped, as they are in distinguished names.
func list(s string) (out []string) {
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] == '\\' {
			i++
			continue
		}
		if i >= len(s) || s[i] == ';' {
			if item := strings.TrimSpace(s[start:min(i, len(s))]); item != "" {
				out = append(out, item)
			}
			start = i + 1
		}
	}
	return out
}
