package chat

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/tidwall/btree"

	"parley/log/event"
)

// Saver receives the rows that Fold changed. What it does with them, and whether they are durable before the next
// event, is its own business: Load needs the rows of one offset, no more.
type Saver interface {
	Set(key, value []byte)
	Delete(key []byte)
}

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
)

// rowKey joins the parts of a key with NUL, which no part contains, so that the order of the bytes is the order of
// the parts.
func rowKey(prefix byte, parts ...string) []byte {
	n := len(parts)
	for _, p := range parts {
		n += len(p)
	}
	k := append(make([]byte, 0, n), prefix)
	for i, p := range parts {
		if i > 0 {
			k = append(k, 0)
		}
		k = append(k, p...)
	}
	return k
}

// visit makes a visit function a message.
type visit func(*event.Coder)

func (v visit) Code(c *event.Coder) { v(c) }

// hint returns eight bytes of a key, after skip, as a number in the order of the bytes. Trees compare it before the
// key itself: it lies in the node, the key elsewhere in memory, and a large pool does not fit into a cache.
func hint(key string, skip int) (h uint64) {
	for i := skip; i < skip+8; i++ {
		h <<= 8
		if i < len(key) {
			h |= uint64(key[i])
		}
	}
	return h
}

const skipScheme = len("sip:") // every user has it

func newTree[T any](less func(a, b T) bool) *btree.BTreeG[T] {
	return btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})
}

// keyed is a table whose rows have one text as their key. Rows are immutable: a change puts a new one.
type keyed[K ~string, V any] struct {
	rows   *btree.BTreeG[keyedRow[K, V]]
	prefix byte
	skip   int
	id     func(*V) K
	code   func(*V, *event.Coder)
}

type keyedRow[K ~string, V any] struct {
	hint uint64
	key  K
	row  *V
}

func keyedLess[K ~string, V any](a, b keyedRow[K, V]) bool {
	if a.hint != b.hint {
		return a.hint < b.hint
	}
	return a.key < b.key
}

func newKeyed[K ~string, V any](prefix byte, skip int, id func(*V) K, code func(*V, *event.Coder)) keyed[K, V] {
	return keyed[K, V]{rows: newTree(keyedLess[K, V]), prefix: prefix, skip: skip, id: id, code: code}
}

func (t *keyed[K, V]) at(k K) keyedRow[K, V] {
	return keyedRow[K, V]{hint: hint(string(k), t.skip), key: k}
}

// get returns the row or nil.
func (t *keyed[K, V]) get(k K) *V {
	r, _ := t.rows.Get(t.at(k))
	return r.row
}

func (t *keyed[K, V]) value(k K) (v V, ok bool) {
	if p := t.get(k); p != nil {
		return *p, true
	}
	return v, false
}

func (t *keyed[K, V]) scan(f func(*V) bool) {
	t.rows.Scan(func(r keyedRow[K, V]) bool { return f(r.row) })
}

func (t *keyed[K, V]) all() iter.Seq[V] {
	return func(yield func(V) bool) {
		t.scan(func(v *V) bool { return yield(*v) })
	}
}

func (t *keyed[K, V]) set(v *V) {
	r := t.at(t.id(v))
	r.row = v
	t.rows.Set(r)
}

func (t *keyed[K, V]) put(save Saver, v *V) {
	t.set(v)
	if save != nil {
		save.Set(t.key(v), encode(v, t.code))
	}
}

func (t *keyed[K, V]) remove(save Saver, k K) {
	if old, had := t.rows.Delete(t.at(k)); had && save != nil {
		save.Delete(t.key(old.row))
	}
}

func (t *keyed[K, V]) key(v *V) []byte { return rowKey(t.prefix, string(t.id(v))) }

func (t *keyed[K, V]) load(key, value []byte) error { return load(key, value, t.key, t.code, t.set) }

func (t *keyed[K, V]) each(yield func(key, value []byte) bool) (more bool) {
	more = true
	t.scan(func(v *V) bool {
		more = yield(t.key(v), encode(v, t.code))
		return more
	})
	return more
}

// index is an order of rows.
type index[V any] struct {
	tree *btree.BTreeG[indexed[V]]
	hint func(*V) uint64
}

type indexed[V any] struct {
	hint uint64
	row  *V
}

// newIndex orders rows by their hint, then by less. What is to stay together must have one hint, and in a table the
// two together must be the order of the row keys.
func newIndex[V any](hint func(*V) uint64, less func(a, b *V) bool) index[V] {
	return index[V]{hint: hint, tree: newTree(func(a, b indexed[V]) bool {
		if a.hint != b.hint {
			return a.hint < b.hint
		}
		return less(a.row, b.row)
	})}
}

func (x *index[V]) copy() index[V] { return index[V]{hint: x.hint, tree: x.tree.Copy()} }

func (x *index[V]) at(v *V) indexed[V] { return indexed[V]{x.hint(v), v} }

// get returns the row with the key of like, or nil.
func (x *index[V]) get(like *V) *V {
	r, _ := x.tree.Get(x.at(like))
	return r.row
}

// set adds or replaces a row, and reports whether it replaced one.
func (x *index[V]) set(v *V) bool {
	_, had := x.tree.Set(x.at(v))
	return had
}

func (x *index[V]) remove(v *V) bool {
	_, had := x.tree.Delete(x.at(v))
	return had
}

func (x *index[V]) scan(f func(*V) bool) {
	x.tree.Scan(func(r indexed[V]) bool { return f(r.row) })
}

// from visits the rows from the key of like on.
func (x *index[V]) from(like *V, f func(*V) bool) {
	x.tree.Ascend(x.at(like), func(r indexed[V]) bool { return f(r.row) })
}

// tupled is a table whose rows have several texts as their key.
type tupled[V any] struct {
	index[V]
	prefix byte
	parts  func(*V) []string
	code   func(*V, *event.Coder)
}

func (t *tupled[V]) put(save Saver, v *V) {
	t.set(v)
	if save != nil {
		save.Set(t.key(v), encode(v, t.code))
	}
}

func (t *tupled[V]) drop(save Saver, v *V) {
	if t.remove(v) && save != nil {
		save.Delete(t.key(v))
	}
}

func (t *tupled[V]) key(v *V) []byte { return rowKey(t.prefix, t.parts(v)...) }

func (t *tupled[V]) load(key, value []byte) error {
	return load(key, value, t.key, t.code, func(v *V) { t.set(v) })
}

func (t *tupled[V]) each(yield func(key, value []byte) bool) (more bool) {
	more = true
	t.scan(func(v *V) bool {
		more = yield(t.key(v), encode(v, t.code))
		return more
	})
	return more
}

func encode[V any](v *V, code func(*V, *event.Coder)) []byte {
	return event.Marshal(visit(func(c *event.Coder) { code(v, c) }))
}

// load decodes a row, refuses it when it is not under its own key, and sets it.
func load[V any](key, value []byte, own func(*V) []byte, code func(*V, *event.Coder), set func(*V)) error {
	v := new(V)
	if err := event.Unmarshal(value, visit(func(c *event.Coder) { code(v, c) })); err != nil {
		return err
	}
	if !bytes.Equal(key, own(v)) {
		return fmt.Errorf("the row belongs under key %x: %w", own(v), event.ErrCorrupt)
	}
	set(v)
	return nil
}

type rowTable interface {
	load(key, value []byte) error
	each(yield func(key, value []byte) bool) bool
}

// tables returns what is saved and hashed, in the order of the prefixes.
func (s *State) tables() map[byte]rowTable {
	return map[byte]rowTable{
		rowHead: (*headTable)(s), rowUser: &s.users, rowCategory: &s.categories, rowRoom: &s.rooms, rowTally: &s.tallies,
		rowGrant: &s.grants, rowSession: &s.sessions, rowSetting: &s.settings, rowNode: &s.nodes, rowFeed: &s.feeds,
		rowSeen: (*seenTable)(s),
	}
}

// rows returns the whole content in key order.
func (s *State) rows() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		tables := s.tables()
		for p := rowHead; p <= rowSeen; p++ {
			if !tables[p].each(yield) {
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
		if err := tables[k[0]].load(k, v); err != nil {
			return fmt.Errorf("load state row %x: %w", k, err)
		}
		n++
	}
	if n > 0 && s.head.offset == 0 {
		return fmt.Errorf("load %d state rows: the row that says at which offset is missing: %w", n, event.ErrCorrupt)
	}
	s.reindex()
	return nil
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
		save.Set(headKey(nil), encode(&t.head, (*head).code))
	}
}

func (t *headTable) load(key, value []byte) error {
	return load(key, value, headKey, (*head).code, func(h *head) { t.head = *h })
}

func (t *headTable) each(yield func(key, value []byte) bool) bool {
	return t.head.offset == 0 || yield(headKey(nil), encode(&t.head, (*head).code))
}

// reindex builds everything that is derived, and lets rows share the texts they have in common.
func (s *State) reindex() {
	s.rooms.scan(func(r *Room) bool {
		s.roomNames.Set(foldName(r.Info.Name), r.ID)
		return true
	})
	s.categories.scan(func(g *category) bool {
		s.categoryNames.Set(foldName(g.Info.Name), g.ID)
		return true
	})
	s.grants.scan(func(g *grant) bool {
		s.shareGrant(g)
		s.indexGrant(g)
		return true
	})
	s.sessions.scan(func(x *Session) bool {
		s.shareSession(x)
		s.sessionsOf.set(x)
		s.sessionsOn.set(x)
		return true
	})
	s.seen.Scan(func(x seen) bool {
		s.due.Set(x.offset, x.id)
		return true
	})
	s.noteOldest()
}

func (u *User) code(c *event.Coder) {
	event.Str(c, 1, &u.URI)
	c.Sub(2, u.Info.Code)
	c.Sub(3, u.Secret.Code)
	event.Uint(c, 4, &u.Revision)
}

func (r *Room) code(c *event.Coder) {
	event.Str(c, 1, &r.ID)
	c.Sub(2, r.Info.Code)
	event.Str(c, 3, &r.CreatedBy)
	event.Int(c, 4, &r.CreatedAt)
	event.Str(c, 5, &r.UpdatedBy)
	event.Int(c, 6, &r.UpdatedAt)
	event.Uint(c, 7, &r.Revision)
}

func (p *PublishedSetting) code(c *event.Coder) {
	event.Str(c, 1, &p.User)
	c.Sub(2, p.Setting.Code)
	event.Int(c, 3, &p.PublishedAt)
}

func (p *PublishedSetting) hint() uint64 { return hint(string(p.User), skipScheme) }

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

func (n *Node) code(c *event.Coder) {
	event.Str(c, 1, &n.ID)
	event.Uint(c, 2, &n.Incarnation)
	c.Bool(3, &n.Alive)
	event.Str(c, 4, &n.Version)
	event.Uint(c, 5, &n.Since)
}

func (f *Feed) code(c *event.Coder) {
	event.Str(c, 1, &f.Name)
	event.Str(c, 2, &f.Owner)
	event.Uint(c, 3, &f.Epoch)
	event.Uint(c, 4, &f.CutFirst)
	event.Uint(c, 5, &f.CutLast)
	event.Uint(c, 6, &f.Receipt)
	c.Sub(7, f.Last.Code)
	event.Int(c, 8, &f.At)
}
