package chat

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/holds"
	"parley/projections/chat/policy"
	"parley/projections/chat/registry"
	"parley/projections/chat/table"
)

// Saver receives the rows that Fold changed. What it does with them, and whether they are durable before the next
// event, is its own business: Load needs the rows of one offset, no more.
type Saver = table.Saver

// Row prefixes. They are on disk, in the views; a change needs a new version of the projection.
const (
	rowHead     byte = 1
	rowUser     byte = 2
	rowCategory byte = 3
	rowRoom     byte = 4
	rowTally    byte = 5
	rowGrant    byte = 6
	rowSession  byte = 7
	rowSetting  byte = 8
	rowNode     byte = 9
	rowFeed     byte = 10
	rowSeen     byte = 11
	rowGroup    byte = 12
	rowUnit     byte = 13
	rowMember   byte = 14

	rowPolicy        byte = 15
	rowConfiguration byte = 16
	rowCompliance    byte = 17
	rowPolicyGrant   byte = 18
	rowAddIn         byte = 19
	rowAdmin         byte = 20
	rowEndpoint      byte = 21
	rowPlace         byte = 22
	rowInvitation    byte = 23
	rowInbox         byte = 24
	rowToken         byte = 25
	rowClock         byte = 28

	rowHold  byte = 30
	rowMove  byte = 31
	rowTrail byte = 32

	rowKey byte = 40

	rowLast = rowKey
)

var (
	policyRows   = policy.Prefixes{Policy: rowPolicy, Configuration: rowConfiguration, Compliance: rowCompliance, Grant: rowPolicyGrant}
	registryRows = registry.Prefixes{AddIn: rowAddIn, Admin: rowAdmin, Endpoint: rowEndpoint, Place: rowPlace, Token: rowToken}
	holdRows     = holds.Prefixes{Hold: rowHold, Move: rowMove, Trail: rowTrail}
)

const skipScheme = len("sip:") // every user has it

// tables returns what is saved and hashed, in the order of the prefixes.
func (s *State) tables() map[byte]table.Rows {
	users, groups, units, members := s.dir.Rows()
	all := map[byte]table.Rows{
		rowHead: (*headTable)(s), rowUser: users, rowGroup: groups, rowUnit: units, rowMember: members, rowCategory: &s.categories, rowRoom: &s.rooms, rowTally: &s.tallies,
		rowGrant: &s.grants, rowSession: &s.sessions, rowSetting: &s.settings, rowNode: &s.nodes, rowKey: s.keys.Rows(),
		rowSeen: &s.memory,
	}
	all[rowFeed], all[rowClock] = s.feeds.Rows()
	all[rowInvitation], all[rowInbox] = s.box.Rows()
	maps.Copy(all, s.book.Tables(policyRows))
	maps.Copy(all, s.reg.Tables(registryRows))
	maps.Copy(all, s.holds.Tables(holdRows))
	return all
}

// RowsToRead returns the content but for the commands that took effect, in key order: what a state of NewStateToRead loads.
func (s *State) RowsToRead() iter.Seq2[[]byte, []byte] { return s.content(rowSeen) }

// rows returns the whole content in key order.
func (s *State) rows() iter.Seq2[[]byte, []byte] { return s.content(0) }

func (s *State) content(without byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		tables := s.tables()
		for p := rowHead; p <= rowLast; p++ {
			if t := tables[p]; p != without && t != nil && !t.Each(yield) {
				return
			}
		}
	}
}

// Load fills an empty state from the rows that Fold saved, in any order. Rows that do not decode, or that are of
// no known table, are an error of class event.ErrCorrupt.
func (s *State) Load(rows iter.Seq2[[]byte, []byte]) error {
	if s.head.offset != 0 {
		return fmt.Errorf("load rows into a state at offset %d: it is not empty", s.head.offset)
	}
	tables := s.tables()
	n := 0
	for k, v := range rows {
		if len(k) == 0 || tables[k[0]] == nil {
			return fmt.Errorf("load state row %x: no such table: %w", k, event.ErrCorrupt)
		}
		if err := tables[k[0]].Load(k, v); err != nil {
			return fmt.Errorf("load state row %x: %w", k, err)
		}
		n++
	}
	if n > 0 && s.head.offset == 0 {
		return fmt.Errorf("load %d state rows: the row that says at which offset is missing: %w", n, event.ErrCorrupt)
	}
	return s.reindex()
}

// Hash returns SHA-256 over all content in key order, each key and value preceded by its length: equal on every
// node at an equal offset. It reads everything; it is for checks, not for every event.
func (s *State) Hash() [32]byte {
	h := sha256.New()
	var n [8]byte
	for k, v := range s.rows() {
		for _, b := range [][]byte{k, v} {
			binary.BigEndian.PutUint64(n[:], uint64(len(b)))
			h.Write(n[:])
			h.Write(b)
		}
	}
	return [32]byte(h.Sum(nil))
}

// headTable is the table of one row.
type headTable State

func headKey(*head) []byte { return []byte{rowHead} }

func (t *headTable) save(save Saver) {
	if save != nil {
		save.Set(headKey(nil), table.Encode(&t.head, (*head).code))
	}
}

func (t *headTable) Load(key, value []byte) error {
	return table.Decode(key, value, headKey, (*head).code, func(h *head) { t.head = *h })
}

func (t *headTable) Each(yield func(key, value []byte) bool) bool {
	return t.head.offset == 0 || yield(headKey(nil), table.Encode(&t.head, (*head).code))
}

// reindex builds everything that is derived, and lets rows share the texts they have in common.
func (s *State) reindex() error {
	if err := s.dir.Link(); err != nil {
		return fmt.Errorf("load the directory: %w", err)
	}
	s.rooms.Scan(func(r *Room) bool {
		if g := s.categories.Get(r.Info.Category); g != nil {
			r.Info.Category = g.ID
		}
		r.access.gate = gateOf(&r.Info)
		s.roomNames.Set(foldName(r.Info.Name), r.ID)
		return true
	})
	s.categories.Scan(func(g *category) bool {
		*g = *newCategory(g.ID, g.Info, g.Revision, s.number)
		s.categoryNames.Set(foldName(g.Info.Name), g.ID)
		return true
	})
	s.linkGrants()
	s.sessions.Scan(func(x *Session) bool {
		s.shareSession(x)
		s.sessionsOf.Set(x)
		s.sessionsOn.Set(x)
		return true
	})
	s.memory.Link()
	s.book.Place(s.head.domain, s.reg.Site())
	s.box.Link(s.roomText(), s.userText())
	return nil
}

func (r *Room) code(c *wire.Coder) {
	wire.Str(c, 1, &r.ID)
	c.Sub(2, r.Info.Code)
	wire.Str(c, 3, &r.CreatedBy)
	wire.Int(c, 4, &r.CreatedAt)
	wire.Str(c, 5, &r.UpdatedBy)
	wire.Int(c, 6, &r.UpdatedAt)
	wire.Uint(c, 7, &r.Revision)
}

func (p *PublishedSetting) code(c *wire.Coder) {
	wire.Str(c, 1, &p.User)
	c.Sub(2, p.Setting.Code)
	wire.Int(c, 3, &p.PublishedAt)
}

func (p *PublishedSetting) hint() uint64 { return table.Hint(string(p.User), skipScheme) }

func (p *PublishedSetting) parts() []string {
	return []string{string(p.User), p.Category, fmt.Sprintf("%016x", p.Instance)}
}

func settingsByUser(a, b *PublishedSetting) bool {
	if a.User != b.User {
		return a.User < b.User
	}
	if a.Category != b.Category {
		return a.Category < b.Category
	}
	return a.Instance < b.Instance
}

func (n *Node) code(c *wire.Coder) {
	wire.Str(c, 1, &n.ID)
	wire.Uint(c, 2, &n.Incarnation)
	c.Bool(3, &n.Alive)
	wire.Str(c, 4, &n.Version)
	wire.Uint(c, 5, &n.Since)
}
