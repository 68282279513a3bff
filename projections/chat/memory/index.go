package memory

import (
	"github.com/tidwall/btree"

	"parley/log/event"
	"parley/projections/chat/table"
)

// index finds the offset of a command by a hash of its id, its tag. An ordered tree of millions of ids would do it too,
// but each of its levels is several lines of memory that are in no cache; here all but the last step mostly are.
//
// It is an extendible hash: the tag's leading bits choose a page, six bits a branch, and a page that fills up is split
// by the next bit. As long as it has not used all bits of its branch it stands in several slots. Like table.Hash it is
// copied in O(1) and shares what neither copy changes; the first change after a copy copies a page and the few branches above it.
type index struct {
	top   *branch                   // nil: empty, but for the rest
	rest  *btree.BTreeG[entry]      // what pages have no room for, by id; nil: nothing
	hash  func(id key) (tag uint32) // never 0
	owner *owner                    // of the branches that may be changed in place; nil: none
}

// owner is who may change a branch in place. It has a size so that two are never one address.
type owner struct{ _ byte }

// entry is a command where tags do not tell apart.
type entry struct {
	id     key
	offset event.Offset
}

func entryByID(x, y entry) bool { return x.id.compare(y.id) < 0 }

const (
	slotBits  = 6
	fanOut    = 1 << slotBits
	maxLevels = 4 // 24 bits of the tag; the other eight are for the place within the page
	maxDepth  = maxLevels * slotBits

	pageSlots = 63 // so that a page fills one of the allocator's sizes, 768 bytes
	pageFull  = pageSlots * 7 / 8
	pageFew   = pageFull / 3 // two pages with no more than this become one
)

// branch has in each slot either a page or, where the page would need more bits, a branch below.
type branch struct {
	owner *owner
	mine  uint64 // slots whose page belongs to the owner too: a page has no pointers, so that the collector skips it
	pages [fanOut]*page
	below *[fanOut]*branch // nil: none
}

// page is a hash table with open addressing.
type page struct {
	tags    [pageSlots]uint32 // 0: free. Apart from the offsets: who is not here is not here for one line of memory
	depth   uint16            // how many bits of the tags are those of all
	used    uint16
	offsets [pageSlots]event.Offset
}

// tagOf mixes an id, so that ids that somebody counts up are spread as well. It is no secret: who makes many of one tag
// makes finding them slower, by the rows of one full page and a tree of the rest.
func tagOf(id key) uint32 {
	const prime = 0x9e3779b97f4a7c15
	h := (id.hi ^ id.hi>>32) * prime
	h = (h ^ h>>29 ^ id.lo) * prime
	h = (h ^ h>>32) * prime
	return max(uint32(h>>32), 1)
}

func newIndex() index { return index{hash: tagOf} }

// copy returns an independent copy in O(1).
func (x *index) copy() index {
	x.owner = nil // what is there belongs to both
	c := *x
	if x.rest != nil {
		c.rest = x.rest.Copy()
	}
	return c
}

// slotOf returns the slot of a tag in a branch of a level.
func slotOf(tag uint32, level int) int { return int(tag>>(32-slotBits*(level+1))) % fanOut }

// page returns the page in which a tag is, if it is in one.
func (x *index) page(tag uint32) *page {
	b := x.top
	for level := 0; b != nil; level++ {
		i := slotOf(tag, level)
		if p := b.pages[i]; p != nil {
			return p
		}
		b = b.below[i]
	}
	return nil
}

// find returns the row of a command, or nil; row tells which one an offset has.
func (x *index) find(id key, row func(event.Offset) *seen) *seen {
	tag := x.hash(id)
	if p := x.page(tag); p != nil {
		for i := home(tag); p.tags[i] != 0; i = next(i) {
			if p.tags[i] != tag {
				continue
			}
			if r := row(p.offsets[i]); r != nil && r.id == id {
				return r
			}
		}
	}
	if x.rest != nil {
		if e, ok := x.rest.Get(entry{id: id}); ok {
			return row(e.offset)
		}
	}
	return nil
}

// own returns a branch that may be changed.
func (x *index) own(b *branch) *branch {
	if b.owner == x.owner {
		return b
	}
	c := &branch{owner: x.owner, pages: b.pages}
	if b.below != nil {
		below := *b.below
		c.below = &below
	}
	return c
}

// ready is called before each change.
func (x *index) ready() {
	if x.owner == nil {
		x.owner = new(owner)
	}
	if x.top == nil {
		x.top = &branch{owner: x.owner}
		x.top.put(new(page), 0, 0)
	}
}

// add adds a command that is not in the index.
func (x *index) add(id key, offset event.Offset) {
	x.ready()
	tag := x.hash(id)
	at := &x.top
	for level := 0; ; {
		b := x.own(*at)
		*at = b
		i := slotOf(tag, level)
		p := b.pages[i]
		switch {
		case p == nil:
			at = &b.below[i]
			level++
		case p.used < pageFull:
			b.ownPage(i, level).add(tag, offset)
			return
		case p.depth == maxDepth:
			if x.rest == nil {
				x.rest = table.NewTree(entryByID)
			}
			x.rest.Set(entry{id, offset})
			return
		case int(p.depth) == slotBits*(level+1):
			b.deepen(i, x.owner)
		default:
			b.split(i, level)
		}
	}
}

// remove drops a command, if it is in the index.
func (x *index) remove(id key, offset event.Offset) {
	tag := x.hash(id)
	p := x.page(tag)
	if p == nil {
		return
	}
	place := p.place(tag, offset)
	if place < 0 {
		if x.rest != nil {
			x.rest.Delete(entry{id: id})
		}
		return
	}
	x.ready()
	var path [maxLevels]*branch
	at, level := &x.top, 0
	for ; ; level++ {
		path[level] = x.own(*at)
		*at = path[level]
		i := slotOf(tag, level)
		if path[level].pages[i] != nil {
			break
		}
		at = &path[level].below[i]
	}
	p = path[level].ownPage(slotOf(tag, level), level)
	p.free(place)
	// What has become small becomes one again: or a busy day would cost its memory for ever.
	for p.used <= pageFew && p.depth > 0 {
		if int(p.depth) == slotBits*level { // it has its branch to itself
			level--
			i := slotOf(tag, level)
			path[level].below[i] = nil
			path[level].put(p, i, level)
		}
		if !path[level].merge(slotOf(tag, level), level) {
			break
		}
	}
}

// span returns in how many slots a page stands.
func span(depth uint16, level int) int { return 1 << (slotBits*(level+1) - int(depth)) }

// put places a page that may be changed into its slots, one of which is i.
func (b *branch) put(p *page, i, level int) {
	n := span(p.depth, level)
	for i = i &^ (n - 1); n > 0; n-- {
		b.pages[i] = p
		b.mine |= 1 << i
		i++
	}
}

// ownPage returns the page of a slot, to be changed.
func (b *branch) ownPage(i, level int) *page {
	if b.mine>>i&1 == 0 {
		p := *b.pages[i]
		b.put(&p, i, level)
	}
	return b.pages[i]
}

// split makes two of a page.
func (b *branch) split(i, level int) {
	p := b.pages[i]
	halves := [2]*page{{depth: p.depth + 1}, {depth: p.depth + 1}}
	for j, tag := range p.tags {
		if tag != 0 {
			halves[tag>>(31-p.depth)&1].add(tag, p.offsets[j])
		}
	}
	n := span(p.depth, level)
	lower := i &^ (n - 1)
	b.put(halves[0], lower, level)
	b.put(halves[1], lower+n/2, level)
}

// deepen puts a branch between a slot and its page, which is split next: whose it is does not matter any more.
func (b *branch) deepen(i int, o *owner) {
	c := &branch{owner: o}
	for j := range c.pages {
		c.pages[j] = b.pages[i]
	}
	if b.below == nil {
		b.below = new([fanOut]*branch)
	}
	b.below[i], b.pages[i] = c, nil
}

// merge makes one of a page, which may be changed, and the one that it was split from, if both have few. Otherwise it
// returns false.
func (b *branch) merge(i, level int) bool {
	p := b.pages[i]
	other := b.pages[i^span(p.depth, level)]
	if other == nil || other.depth != p.depth || other.used > pageFew {
		return false
	}
	for j, tag := range other.tags {
		if tag != 0 {
			p.add(tag, other.offsets[j])
		}
	}
	p.depth--
	b.put(p, i, level)
	return true
}

// home returns where a tag is in a page, if that place is free; else it is in one of the next. It uses the bits that no
// branch uses, in which the tags of a page still differ.
func home(tag uint32) int { return int(tag&0xff) * pageSlots >> 8 }

func next(i int) int {
	if i++; i == pageSlots {
		return 0
	}
	return i
}

// add adds an entry to a page with room.
func (p *page) add(tag uint32, offset event.Offset) {
	i := home(tag)
	for p.tags[i] != 0 {
		i = next(i)
	}
	p.tags[i], p.offsets[i] = tag, offset
	p.used++
}

// place returns where an entry is, -1 if it is not there.
func (p *page) place(tag uint32, offset event.Offset) int {
	for i := home(tag); p.tags[i] != 0; i = next(i) {
		if p.tags[i] == tag && p.offsets[i] == offset {
			return i
		}
	}
	return -1
}

// free drops the entry of a place. Those behind it move up, so that the way from each one's home to it has no gap.
func (p *page) free(i int) {
	for j := next(i); p.tags[j] != 0; j = next(j) {
		if distance(home(p.tags[j]), j) >= distance(i, j) {
			p.tags[i], p.offsets[i] = p.tags[j], p.offsets[j]
			i = j
		}
	}
	p.tags[i] = 0
	p.used--
}

func distance(from, to int) int {
	if to < from {
		to += pageSlots
	}
	return to - from
}
