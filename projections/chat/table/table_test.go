package table

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"parley/log/event"
	"parley/log/wire"
)

type pair struct{ a, b string }

func (p *pair) code(c *wire.Coder) { wire.Str(c, 1, &p.a); wire.Str(c, 2, &p.b) }
func (p *pair) hint() uint64       { return Hint(p.a, 0) }
func (p *pair) parts() []string    { return []string{p.a, p.b} }

func less(x, y *pair) bool {
	if x.a != y.a {
		return x.a < y.a
	}
	return x.b < y.b
}

func newPairs() Tupled[pair] { return NewTupled(1, (*pair).hint, less, (*pair).parts, (*pair).code) }

func some(rng *rand.Rand, n int) (list []*pair) {
	for range n { // texts with equal hints, with and without equal ends
		list = append(list, &pair{fmt.Sprintf("the same beginning %d", rng.IntN(n/4+1)), fmt.Sprint(rng.IntN(n))})
	}
	return list
}

func content(x *Index[pair]) (out []pair) {
	x.Scan(func(p *pair) bool {
		out = append(out, *p)
		return true
	})
	return out
}

// Filling an index gives the same as setting row after row, in any order, and so does loading.
func TestFillAndLoad(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, 50, 3000} {
		list := some(rng, n)
		want := newPairs()
		for _, p := range list {
			want.Set(p)
		}
		filled := NewIndex((*pair).hint, less)
		var last *pair
		filled.Fill(list, func(p *pair) {
			if last != nil && less(p, last) {
				t.Fatalf("%v comes after %v", p, last)
			}
			last = p
		})
		if !slices.Equal(content(&filled), content(&want.Index)) || filled.Len() != want.Len() {
			t.Fatalf("%d rows: filled, the index has %d, want %d", n, filled.Len(), want.Len())
		}
		type row struct{ k, v []byte }
		var rows []row
		want.Each(func(k, v []byte) bool {
			if len(rows) > 0 && bytes.Compare(rows[len(rows)-1].k, k) >= 0 {
				t.Fatalf("row %q comes after %q", k, rows[len(rows)-1].k)
			}
			rows = append(rows, row{bytes.Clone(k), bytes.Clone(v)})
			return true
		})
		for _, shuffled := range []bool{false, true} {
			if shuffled {
				rng.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
			}
			loaded := newPairs()
			for _, r := range rows {
				if err := loaded.Load(r.k, r.v); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(content(&loaded.Index), content(&want.Index)) {
				t.Fatalf("%d rows, shuffled %v: loaded, the table has %d", n, shuffled, loaded.Len())
			}
		}
	}
}

// A row under another key than its own, or that does not decode, is refused and changes nothing.
func TestLoadRefuses(t *testing.T) {
	x := newPairs()
	good := &pair{"a", "b"}
	v := Encode(good, (*pair).code)
	for _, r := range [][2][]byte{{Key(1, "a", "c"), v}, {Key(2, "a", "b"), v}, {Key(1, "a"), v}, {Key(1, "a", "b"), []byte{0xff}}} {
		if err := x.Load(r[0], r[1]); !errors.Is(err, event.ErrCorrupt) || x.Len() != 0 {
			t.Errorf("%q: %v, %d rows", r[0], err, x.Len())
		}
	}
	if err := x.Load(Key(1, "a", "b"), v); err != nil || x.Get(good) == nil {
		t.Error(err)
	}
	k := NewKeyed(3, 0, func(p *pair) string { return p.a }, (*pair).code)
	if err := k.Load(Key(3, "x"), v); !errors.Is(err, event.ErrCorrupt) {
		t.Error(err)
	}
	if err := k.Load(Key(3, "a"), v); err != nil || k.Get("a") == nil || k.Get("b") != nil {
		t.Error(err)
	}
}

// Neither of two copies sees what the other does.
func TestCopies(t *testing.T) {
	a := newPairs()
	for _, p := range some(rand.New(rand.NewPCG(3, 4)), 500) {
		a.Put(nil, p)
	}
	before := content(&a.Index)
	b := a.Copy()
	for _, p := range before[:200] {
		b.Drop(nil, &p)
	}
	b.Put(nil, &pair{"new", "row"})
	if !slices.Equal(content(&a.Index), before) || b.Len() != len(before)-199 {
		t.Errorf("%d and %d rows", a.Len(), b.Len())
	}
}

// A table that finds by hash holds what one does that does not, also in copies, and also when many keys have one hash.
func TestHashed(t *testing.T) {
	for name, hash := range map[string]func(string) uint64{"good": HashText, "few": func(k string) uint64 { return HashText(k) % 7 },
		"high": func(k string) uint64 { return HashText(k) << 62 }, "one": func(string) uint64 { return 0 }} {
		rng := rand.New(rand.NewPCG(5, 6))
		x, there := NewKeyed(3, 0, func(p *pair) string { return p.a }, (*pair).code).Hashed(), map[string]string{}
		x.hash.hash = hash
		type old struct {
			x     Keyed[string, pair]
			there map[string]string
		}
		var copies []old
		check := func(n int, x *Keyed[string, pair], there map[string]string) {
			t.Helper()
			for i := range 2000 {
				k := fmt.Sprint("key ", i)
				v, has := there[k]
				if got := x.Get(k); (got != nil) != has || has && (got.a != k || got.b != v) {
					t.Fatalf("%s, step %d: %s is %v, want %q (%v)", name, n, k, got, v, has)
				}
			}
			if x.Len() != len(there) {
				t.Fatalf("%s, step %d: %d rows, want %d", name, n, x.Len(), len(there))
			}
		}
		steps, keys := 8000, 2000
		if name == "one" || name == "high" { // all keys in few places: each step costs the number of rows
			steps, keys = 1500, 150
		}
		for n := range steps {
			k := fmt.Sprint("key ", rng.IntN(keys))
			if rng.IntN(5) < 3 {
				x.Put(nil, &pair{k, fmt.Sprint(n)})
				there[k] = fmt.Sprint(n)
			} else {
				x.Remove(nil, k)
				delete(there, k)
			}
			if n%(steps/5) == 0 {
				copies = append(copies, old{x.Copy(), maps.Clone(there)})
			}
		}
		check(steps, &x, there)
		c := x.Copy()
		for k := range there {
			c.Remove(nil, k)
		}
		check(steps, &c, nil)
		for i := range copies {
			check(i, &copies[i].x, copies[i].there)
		}
	}
	if HashText("") == HashText("\x00") || HashText("a") == HashText("a\x00") {
		t.Error("texts that differ by their ends have one hash")
	}
}
