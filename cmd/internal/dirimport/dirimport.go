// Package dirimport reads files that other directories export, CSV and LDIF, as rows for chat.ImportDirectory. It opens no
// file and asks nobody: it is a parser with a bounded memory. What the rows would do is the rules' business
// (chat.State.CheckImport for a dry run of any size, the command for the real thing).
package dirimport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/directory/bulk"
)

// Source is what an import needs of another directory: its accounts, groups and units as rows. The files of this package
// are sources; a live directory, such as one behind LDAP, becomes one by turning its entries into rows. The rows become
// one command, so that rights never depend on whether that directory answers.
//
// Rows yields rows in any order. With an error of type *RowError it can go on; any other error is its last.
type Source interface {
	Rows(ctx context.Context) iter.Seq2[chat.ImportRow, error]
}

// RowError says that a row cannot be read. The rows after it can.
type RowError struct {
	Line uint32 // where the row begins, from 1
	Err  error
}

// Error returns the line and what is wrong with it.
func (e *RowError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns what is wrong.
func (e *RowError) Unwrap() error { return e.Err }

// ErrTooLarge says that one row is larger than MaxRowBytes.
var ErrTooLarge = errors.New("the row is too large")

// MaxRowBytes bounds one row, and with it the memory of a parser: a group of 100,000 members fits.
const MaxRowBytes = 16 << 20

// Options say how a file is read. The zero value reads plain files.
type Options struct {
	// Progress is called after every thousandth row and once at the end, if set.
	Progress func(Progress)
	// Secret makes the secret of an account from a password, if set. Without it a file with passwords is refused.
	Secret func(user event.Principal, password string) event.Secret
	// AddressFrom are the attributes of LDIF that an account's SIP address is taken from, the first one that is there;
	// empty means DefaultAddress.
	AddressFrom []string
	// Kind is what rows of CSV are that do not say; empty means accounts.
	Kind bulk.Kind
	// Lenient leaves members of groups out that are not in the directory. Other directories have machines in their groups.
	Lenient bool
	// Skipped is called for entries of LDIF that are nobody's account, no group and no unit, if set.
	Skipped func(line uint32, why string)
}

// DefaultAddress is where LDIF keeps SIP addresses: the attribute of the product, one that may hold other addresses too,
// and the e-mail address, which is the same in most places.
var DefaultAddress = []string{"msRTCSIP-PrimaryUserAddress", "proxyAddresses", "mail"}

// Progress is how far a file is read.
type Progress struct {
	Bytes   int64
	Rows    int
	Skipped int
}

const progressEvery = 1000

// Format is a kind of file.
type Format string

// The formats.
const (
	FormatCSV  Format = "csv"
	FormatLDIF Format = "ldif"
)

// FormatOf guesses the format from a file's name.
func FormatOf(name string) (Format, error) {
	switch lower := strings.ToLower(name); {
	case strings.HasSuffix(lower, ".csv"):
		return FormatCSV, nil
	case strings.HasSuffix(lower, ".ldif"), strings.HasSuffix(lower, ".ldf"):
		return FormatLDIF, nil
	}
	return "", fmt.Errorf("%s: the name ends neither in .csv nor in .ldif: say which format it has", name)
}

// New returns the rows of a file. They can be read once.
func New(f Format, r io.Reader, o Options) (Source, error) {
	switch f {
	case FormatCSV:
		return &source{r: r, o: o, read: readCSV}, nil
	case FormatLDIF:
		return &source{r: r, o: o, read: readLDIF}, nil
	}
	return nil, fmt.Errorf("format %q is neither %s nor %s", f, FormatCSV, FormatLDIF)
}

type source struct {
	r    io.Reader
	o    Options
	read func(*reading)
}

// Rows is Source's.
func (s *source) Rows(ctx context.Context) iter.Seq2[chat.ImportRow, error] {
	return func(yield func(chat.ImportRow, error) bool) {
		in := &reading{ctx: ctx, o: &s.o, yield: yield}
		in.r = &bounded{r: s.r}
		s.read(in)
		in.progress(true)
	}
}

// reading is one file under way.
type reading struct {
	ctx   context.Context
	o     *Options
	r     *bounded
	yield func(chat.ImportRow, error) bool
	rows  int
	skips int
}

// give hands a row out, and reports whether more are wanted.
func (in *reading) give(row chat.ImportRow, err error) bool {
	if ctxErr := in.ctx.Err(); ctxErr != nil {
		in.yield(chat.ImportRow{}, ctxErr)
		return false
	}
	in.r.since = 0
	in.rows++
	in.progress(false)
	return in.yield(row, err)
}

func (in *reading) skip(line uint32, why string) {
	in.r.since = 0
	in.skips++
	if in.o.Skipped != nil {
		in.o.Skipped(line, why)
	}
}

func (in *reading) progress(end bool) {
	if in.o.Progress != nil && (end || in.rows%progressEvery == 0) {
		in.o.Progress(Progress{Bytes: in.r.bytes, Rows: in.rows, Skipped: in.skips})
	}
}

// bounded refuses to read more than MaxRowBytes for one row, give or take a buffer.
type bounded struct {
	r     io.Reader
	bytes int64
	since int
}

// Read is io.Reader's.
func (b *bounded) Read(p []byte) (int, error) {
	if b.since > MaxRowBytes {
		return 0, ErrTooLarge
	}
	n, err := b.r.Read(p)
	b.bytes += int64(n)
	b.since += n
	return n, err
}

// Collect reads a source to its end: the rows that can be read, and what is wrong with the others. An error ends it.
func Collect(ctx context.Context, s Source) (rows []chat.ImportRow, bad []chat.RowFault, err error) {
	for row, err := range s.Rows(ctx) {
		var re *RowError
		switch {
		case errors.As(err, &re):
			bad = append(bad, chat.RowFault{Line: re.Line, Text: re.Err.Error()})
		case err != nil:
			return nil, nil, err
		default:
			rows = append(rows, row)
		}
	}
	return rows, bad, nil
}

// setField sets a text field of a row by its column.
func setField(row *chat.ImportRow, name, value string) {
	var to *string
	var has bulk.Fields
	switch name {
	case "name":
		to, has = &row.Name, bulk.HasName
	case "unit":
		to, has = &row.Unit, bulk.HasUnit
	case "display_name":
		to, has = &row.DisplayName, bulk.HasDisplayName
	case "email":
		to, has = &row.Email, bulk.HasEmail
	case "description":
		to, has = &row.Description, bulk.HasDescription
	case "given_name":
		to, has = &row.GivenName, bulk.HasGivenName
	case "surname":
		to, has = &row.Surname, bulk.HasSurname
	case "company":
		to, has = &row.Company, bulk.HasCompany
	default:
		return
	}
	*to, row.Has = value, row.Has|has
}
