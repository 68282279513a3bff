package log

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"parley/log/event"
)

// Keys and rows are written down in FORMAT.md section 3.

const (
	rowVersion  = 1
	rowCame     = 2 // of an entry row that has flagCame
	crcLen      = 4
	regionErase = 'e'
	regionMark  = 'm'
	regionFmt   = 'f'
	regionOff   = 'o'
	regionEntry = 'r'
	partEntry   = 0
	partBody    = 1

	flagBody       = 1 << 0 // of an entry row: there is a body row
	flagAppendedAt = 1 << 1 // of an entry row: the appended-at field is there
	flagCame       = 1 << 2 // of an entry row, version 2: some of its bodies were erased when it came

	entryKeyLen  = 1 + 8 + 1
	offsetKeyLen = 1 + 8

	// typeCommand is the number of raft.LogCommand: the entries that carry a batch.
	typeCommand = 0

	formatName = "parley-log"
)

var (
	crcTable  = crc32.MakeTable(crc32.Castagnoli)
	formatKey = []byte{regionFmt}
	markKey   = []byte{regionMark}
	eraseKey  = []byte{regionErase}
	// The bounds of the two regions that have many rows.
	offsetsFrom, offsetsTo = []byte{regionOff}, []byte{regionOff + 1}
	entriesFrom, entriesTo = []byte{regionEntry}, []byte{regionEntry + 1}
)

func entryKey(i event.Index, part byte) []byte {
	return appendEntryKey(make([]byte, 0, entryKeyLen), i, part)
}

func appendEntryKey(k []byte, i event.Index, part byte) []byte {
	k = append(k, regionEntry)
	k = binary.BigEndian.AppendUint64(k, uint64(i))
	return append(k, part)
}

// parseEntryKey reads the key of an entry or body row.
func parseEntryKey(k []byte) (i event.Index, part byte, err error) {
	if len(k) != entryKeyLen || k[0] != regionEntry || k[9] > partBody {
		return 0, 0, fmt.Errorf("key %x is not of an entry: %w", k, event.ErrCorrupt)
	}
	return event.Index(binary.BigEndian.Uint64(k[1:])), k[9], nil
}

func offsetKey(o event.Offset) []byte {
	k := make([]byte, 0, offsetKeyLen)
	k = append(k, regionOff)
	return binary.BigEndian.AppendUint64(k, uint64(o))
}

func parseOffsetKey(k []byte) (event.Offset, error) {
	if len(k) != offsetKeyLen || k[0] != regionOff {
		return 0, fmt.Errorf("key %x is not of an offset: %w", k, event.ErrCorrupt)
	}
	return event.Offset(binary.BigEndian.Uint64(k[1:])), nil
}

// seal completes a row that was begun with beginRow: it appends the checksum over key and row.
func seal(key, row []byte) []byte {
	return binary.BigEndian.AppendUint32(row, crc32.Update(crc32.Checksum(key, crcTable), crcTable, row))
}

// beginRow returns an empty row with room for n bytes of payload.
func beginRow(n int) []byte { return append(make([]byte, 0, 1+n+crcLen), rowVersion) }

// open checks the frame of a row and returns its payload, which aliases row.
func open(key, row []byte) ([]byte, error) {
	_, b, err := openUpTo(key, row, rowVersion)
	return b, err
}

// openUpTo is open for rows of several versions.
func openUpTo(key, row []byte, newest byte) (version byte, payload []byte, err error) {
	if len(row) < 1+crcLen {
		return 0, nil, fmt.Errorf("row %x has %d bytes: %w", key, len(row), event.ErrCorrupt)
	}
	body, sum := row[:len(row)-crcLen], binary.BigEndian.Uint32(row[len(row)-crcLen:])
	if crc32.Update(crc32.Checksum(key, crcTable), crcTable, body) != sum {
		return 0, nil, fmt.Errorf("row %x does not have its checksum: %w", key, event.ErrCorrupt)
	}
	if body[0] < rowVersion || body[0] > newest {
		return 0, nil, fmt.Errorf("row %x has version %d, this program knows %d: %w", key, body[0], newest, ErrVersion)
	}
	return body[0], body[1:], nil
}

const markLen = 8 + 8 + 32 + 8 + 8

// mark is the committed mark: how far the log is committed, and what was void on the way.
type mark struct {
	Head
	void uint64
}

func (m *mark) row() []byte {
	b := beginRow(markLen)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Index))
	b = binary.BigEndian.AppendUint64(b, uint64(m.Offset))
	b = append(b, m.Chain[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(m.At))
	b = binary.BigEndian.AppendUint64(b, m.void)
	return seal(markKey, b)
}

func parseMark(row []byte) (mark, error) {
	b, err := open(markKey, row)
	if err != nil {
		return mark{}, fmt.Errorf("committed mark: %w", err)
	}
	if len(b) != markLen {
		return mark{}, fmt.Errorf("committed mark has %d bytes: %w", len(b), event.ErrCorrupt)
	}
	return mark{
		Head: Head{
			Index:  event.Index(binary.BigEndian.Uint64(b)),
			Offset: event.Offset(binary.BigEndian.Uint64(b[8:])),
			Chain:  event.Chain(b[16:48]),
			At:     event.Time(binary.BigEndian.Uint64(b[48:])),
		},
		void: binary.BigEndian.Uint64(b[56:]),
	}, nil
}

const placeLen = 8 + 8 + 8

// place says which entry carries the events first..last.
type place struct {
	first, last event.Offset
	index       event.Index
	at          event.Time
}

func (p *place) row(key []byte) []byte {
	b := beginRow(placeLen)
	b = binary.BigEndian.AppendUint64(b, uint64(p.index))
	b = binary.BigEndian.AppendUint64(b, uint64(p.last))
	b = binary.BigEndian.AppendUint64(b, uint64(p.at))
	return seal(key, b)
}

func parsePlace(key, row []byte) (place, error) {
	first, err := parseOffsetKey(key)
	if err != nil {
		return place{}, err
	}
	b, err := open(key, row)
	if err != nil {
		return place{}, fmt.Errorf("place of offset %d: %w", first, err)
	}
	if len(b) != placeLen {
		return place{}, fmt.Errorf("place of offset %d has %d bytes: %w", first, len(b), event.ErrCorrupt)
	}
	p := place{
		first: first,
		index: event.Index(binary.BigEndian.Uint64(b)),
		last:  event.Offset(binary.BigEndian.Uint64(b[8:])),
		at:    event.Time(binary.BigEndian.Uint64(b[16:])),
	}
	if p.last < p.first || p.last-p.first >= event.MaxBatchEvents {
		return place{}, fmt.Errorf("place of offsets %d to %d: %w", p.first, p.last, event.ErrCorrupt)
	}
	return p, nil
}

// entryRow is an entry row taken apart. Its slices alias the row.
type entryRow struct {
	term       uint64
	kind       uint8
	hasBody    bool
	came       bool // some of its bodies were erased already when it was appended
	appendedAt time.Time
	extensions []byte
	head       []byte // of a command, else all data
}

func (e *entryRow) row(key []byte) []byte {
	b := beginRow(2 + 2*binary.MaxVarintLen64 + 12 + len(e.extensions) + len(e.head))
	var flags byte
	if e.hasBody {
		flags |= flagBody
	}
	if !e.appendedAt.IsZero() {
		flags |= flagAppendedAt
	}
	if e.came {
		b[0] = rowCame
		flags |= flagCame
	}
	b = append(b, e.kind, flags)
	b = binary.AppendUvarint(b, e.term)
	if flags&flagAppendedAt != 0 {
		// Seconds and nanoseconds, because UnixNano is not defined for every time that Raft may hand us.
		b = binary.BigEndian.AppendUint64(b, uint64(e.appendedAt.Unix()))
		b = binary.BigEndian.AppendUint32(b, uint32(e.appendedAt.Nanosecond()))
	}
	b = binary.AppendUvarint(b, uint64(len(e.extensions)))
	b = append(b, e.extensions...)
	b = append(b, e.head...)
	return seal(key, b)
}

func parseEntryRow(key, row []byte) (entryRow, error) {
	version, b, err := openUpTo(key, row, rowCame)
	if err != nil {
		return entryRow{}, err
	}
	bad := func(what string) (entryRow, error) {
		return entryRow{}, fmt.Errorf("entry row %x: %s: %w", key, what, event.ErrCorrupt)
	}
	if len(b) < 2 {
		return bad("too short")
	}
	flags := b[1]
	known := byte(flagBody | flagAppendedAt)
	if version >= rowCame {
		known |= flagCame
	}
	e := entryRow{kind: b[0], hasBody: flags&flagBody != 0, came: flags&flagCame != 0}
	if flags&^known != 0 {
		return bad("unknown flags")
	}
	b = b[2:]
	var n int
	if e.term, n = binary.Uvarint(b); n <= 0 {
		return bad("bad term")
	}
	b = b[n:]
	if flags&flagAppendedAt != 0 {
		if len(b) < 12 {
			return bad("too short")
		}
		e.appendedAt = time.Unix(int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint32(b[8:]))).UTC()
		b = b[12:]
	}
	l, n := binary.Uvarint(b)
	if n <= 0 || l > uint64(len(b)-n) {
		return bad("bad length of extensions")
	}
	e.extensions, e.head = b[n:n+int(l)], b[n+int(l):]
	return e, nil
}

func bodyRow(key []byte, term uint64, bodies []byte) []byte {
	b := beginRow(binary.MaxVarintLen64 + len(bodies))
	b = binary.AppendUvarint(b, term)
	b = append(b, bodies...)
	return seal(key, b)
}

func parseBodyRow(key, row []byte, term uint64) ([]byte, error) {
	b, err := open(key, row)
	if err != nil {
		return nil, err
	}
	t, n := binary.Uvarint(b)
	if n <= 0 || t != term {
		return nil, fmt.Errorf("body row %x is not of its entry: %w", key, event.ErrCorrupt)
	}
	return b[n:], nil
}
