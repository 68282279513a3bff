package proof_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"parley/compliance/proof"
	"parley/log/event"
)

const (
	feed = "archive"
	room = event.RoomID("11111111-1111-1111-1111-111111111111")
)

// world is a log, the files that a feed made of it, and the pool's key.
type world struct {
	t      testing.TB
	events []event.Envelope
	stored [][]byte
	chain  event.Chain
	files  fstest.MapFS
	signer note.Signer
	key    note.Verifier
	seed   byte // of the key

	rotations []event.Offset
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, files: fstest.MapFS{}, seed: 1}
	w.signer, w.key = keys(t, "contoso.test", 1)
	return w
}

func keys(t testing.TB, name string, seed byte) (note.Signer, note.Verifier) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.NewChaCha8([32]byte{seed}), name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

// add commits events in one batch.
func (w *world) add(events ...event.Event) event.Offset {
	w.t.Helper()
	base := event.Offset(len(w.events) + 1)
	b := event.Batch{Base: base, At: event.Time(base) * 1e9, Prev: w.chain}
	for _, e := range events {
		m := event.Meta{By: "sip:alice@contoso.test", Room: room}
		if _, ok := e.(*event.FeedReceipt); ok {
			m = event.Meta{By: "node:n1"}
		}
		b.Events = append(b.Events, event.Draft{Meta: m, Event: e})
	}
	data, chain, err := b.Seal()
	if err != nil {
		w.t.Fatal(err)
	}
	head, bodies, err := event.Split(data)
	if err != nil {
		w.t.Fatal(err)
	}
	e, err := event.ParseEntry(head, bodies)
	if err != nil {
		w.t.Fatal(err)
	}
	run, err := e.Envelopes(1)
	if err != nil {
		w.t.Fatal(err)
	}
	w.chain = chain
	for i, x := range run {
		w.events = append(w.events, x)
		w.stored = append(w.stored, e.Stored(i))
	}
	return e.Last()
}

// deliver writes a file for everything since the last receipt up to last, and its receipt.
func (w *world) deliver(first, last event.Offset) event.Offset {
	name := fmt.Sprintf("%s-%020d-%020d.xml", feed, first, last)
	data := fmt.Appendf(nil, "<what happened from=%d to=%d/>", first, last)
	w.files[name] = &fstest.MapFile{Data: data}
	sum := sha256.Sum256(data)
	return w.add(&event.FeedReceipt{Feed: feed, Epoch: 1, First: first, Last: last, Name: name, Bytes: uint64(len(data)), SHA256: sum[:]})
}

func (w *world) Read(from event.Offset, n int) ([]event.Envelope, error) {
	rest := w.events[from-1:]
	return rest[:min(n, len(rest))], nil
}

// Tree is the naive one: every hash from the leaves.
func (w *world) Tree(_ context.Context, _ int64) (tlog.HashReader, error) {
	return tlog.HashReaderFunc(func(at []int64) (out []tlog.Hash, err error) {
		for _, i := range at {
			level, n := tlog.SplitStoredHashIndex(i)
			out = append(out, w.root(n<<level, (n+1)<<level))
		}
		return out, nil
	}), nil
}

// root is MTH of RFC 6962 section 2.1 for the leaves from..to-1.
func (w *world) root(from, to int64) tlog.Hash {
	if to-from == 1 {
		return w.events[from].RecordHash()
	}
	k := int64(1)
	for k*2 < to-from {
		k *= 2
	}
	return tlog.NodeHash(w.root(from, from+k), w.root(from+k, to))
}

func (w *world) checkpoint(size int64) []byte {
	w.t.Helper()
	b, err := proof.Checkpoint{Origin: w.key.Name(), Size: size, Root: w.root(0, size)}.Sign(w.signer)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// prove returns the directory for the files with from..to.
func (w *world) prove(from, to, receipt event.Offset, since int64) fstest.MapFS {
	w.t.Helper()
	size := int64(len(w.events))
	p, err := proof.Prove(context.Background(), w, feed, from, to, receipt, size, since)
	if err != nil {
		w.t.Fatal(err)
	}
	js, err := p.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	var entries bytes.Buffer
	for o := p.First; o <= p.End; o++ {
		if err := proof.WriteRecord(&entries, w.events[o-1].At, w.stored[o-1]); err != nil {
			w.t.Fatal(err)
		}
	}
	dir := fstest.MapFS{proof.FileProof: {Data: js}, proof.FileEntries: {Data: entries.Bytes()}, proof.FileCheckpoint: {Data: w.checkpoint(size)}}
	names, err := proof.Files(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, n := range names {
		dir[n] = w.files[n]
	}
	return dir
}

// town is a log of some hundred events with three deliveries, and some events after the last.
func town(t testing.TB) (w *world, receipt event.Offset) {
	w = newWorld(t)
	w.add(&event.RoomCreated{Info: event.RoomInfo{Name: "Lobby"}})
	first := event.Offset(1)
	for range 3 {
		for i := range 11 {
			w.add(&event.Posted{MessageID: uint64(i), Text: fmt.Sprint("message ", i)}, &event.Posted{MessageID: uint64(100 + i), Text: "two"})
		}
		last := event.Offset(len(w.events))
		receipt, first = last, w.deliver(first, last)
	}
	w.add(&event.MessagesRemoved{Messages: []event.MessageRef{{MessageID: 3, Offset: 8}}})
	return w, receipt
}

func verify(t testing.TB, dir fs.FS, since []byte, keys ...note.Verifier) *proof.Report {
	t.Helper()
	r, err := proof.Verify(dir, since, keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestProven: what the pool delivered is proven, whole or a part of it, with a checkpoint at any later size.
func TestProven(t *testing.T) {
	w, receipt := town(t)
	for _, c := range []struct{ from, to, first, last event.Offset }{
		{0, 0, 1, receipt}, {1, 5, 1, 23}, {24, 24, 24, 46}, {30, 0, 24, receipt}, {50, 60, 47, 69},
	} {
		dir := w.prove(c.from, c.to, receipt, 0)
		r := verify(t, dir, nil, w.key)
		if len(r.Findings) > 0 || r.First != c.first || r.Last != c.last || r.Files == 0 {
			t.Errorf("%d to %d: %+v", c.from, c.to, r)
		}
		if c.from == 0 && (len(r.Rooms) != 1 || r.Rooms[0] != (proof.Room{ID: room, Name: "Lobby", Events: 67, Posts: 66}) || r.Files != 3 ||
			r.From != 1e9 || r.To != event.Time(w.events[receipt-1].At)) {
			t.Errorf("%+v", r)
		}
	}
	// Until the tree has doubled and more: every shape of it.
	dir := w.prove(0, 0, receipt, 0)
	for range 150 {
		w.add(&event.Posted{Text: "later"})
		again := w.prove(0, 0, receipt, 0)
		if r := verify(t, again, nil, w.key); len(r.Findings) > 0 {
			t.Fatalf("with %d events: %v", len(w.events), r.Findings)
		}
		again[proof.FileProof] = dir[proof.FileProof] // of another checkpoint
		if r := verify(t, again, nil, w.key); len(r.Findings) == 0 {
			t.Fatal("a proof for another checkpoint is taken")
		}
	}
	for _, c := range []struct{ from, to, receipt event.Offset }{{1, receipt + 1, receipt}, {1, 0, 0}} {
		if _, err := proof.Prove(t.Context(), w, feed, c.from, c.to, c.receipt, int64(len(w.events)), 0); err == nil {
			t.Errorf("%+v is proven", c)
		}
	}
}

// TestReceiptBehindTheCheckpoint: a receipt that came after the checkpoint was signed is not waited for and is no mistake of
// the caller, unless he asks for its range.
func TestReceiptBehindTheCheckpoint(t *testing.T) {
	w := newWorld(t)
	first := w.add(&event.Posted{MessageID: 1, Text: "one"})
	size := w.deliver(1, first)
	second := w.add(&event.Posted{MessageID: 2, Text: "two"})
	w.deliver(first+1, second)
	p, err := proof.Prove(t.Context(), w, feed, 0, 0, second, int64(size), 0)
	if err != nil || p.First != 1 || p.Last != first {
		t.Errorf("%+v, %v; want the events 1 to %d", p, err, first)
	}
	if _, err := proof.Prove(t.Context(), w, feed, 0, second, second, int64(size), 0); !errors.Is(err, proof.ErrNotDelivered) {
		t.Errorf("up to %d under a checkpoint of %d: %v", second, size, err)
	}
}

// TestList: a cut with several files has a list of them, and each is covered.
func TestList(t *testing.T) {
	w := newWorld(t)
	w.add(&event.Posted{MessageID: 1, Text: "one"})
	var list []byte
	for _, name := range []string{"a.xml", "b.xml"} {
		w.files[name] = &fstest.MapFile{Data: []byte(name)}
		list = fmt.Appendf(list, "%x  %s\n", sha256.Sum256([]byte(name)), name)
	}
	sum := sha256.Sum256(list)
	w.files["all.sha256"] = &fstest.MapFile{Data: list}
	w.add(&event.FeedReceipt{Feed: feed, Epoch: 1, First: 1, Last: 1, Name: "all.sha256", Bytes: uint64(len(list)), SHA256: sum[:]})
	dir := w.prove(0, 0, 1, 0)
	files, err := proof.ParseList(dir["all.sha256"].Data)
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	if r := verify(t, dir, nil, w.key); len(r.Findings) != 2 {
		t.Errorf("both are missing: %v", r.Findings)
	}
	for _, f := range files {
		dir[f.Name] = w.files[f.Name]
	}
	if r := verify(t, dir, nil, w.key); len(r.Findings) > 0 || r.Files != 3 {
		t.Errorf("%+v", r)
	}
	for name, data := range map[string]string{"a.xml": "A.xml", "b.xml": "b.xml ", "all.sha256": "", "c.xml": ""} {
		before := dir[name]
		dir[name] = &fstest.MapFile{Data: []byte(data)}
		if r := verify(t, dir, nil, w.key); len(r.Findings) == 0 {
			t.Errorf("%s was altered, and nothing is found", name)
		}
		if dir[name] = before; before == nil {
			delete(dir, name)
		}
	}
}

// TestRemovals: the erasures that the entries tell of are named.
func TestRemovals(t *testing.T) {
	w, _ := town(t)
	last := event.Offset(len(w.events))
	w.deliver(70, last)
	r := verify(t, w.prove(0, 0, last, 0), nil, w.key)
	if len(r.Findings) > 0 || len(r.Removals) != 1 || r.Removals[0].Messages[0].MessageID != 3 || r.Removals[0].Room != room {
		t.Errorf("%+v", r)
	}
}

// TestTampered: a flipped bit in any byte of any file is found, and so is every file that is cut, missing or too much.
func TestTampered(t *testing.T) {
	w, receipt := town(t)
	dir := w.prove(24, 30, receipt, 40)
	if r := verify(t, dir, w.checkpoint(40), w.key); len(r.Findings) > 0 {
		t.Fatal(r.Findings)
	}
	cases := 0
	found := func(what string, args ...any) {
		cases++
		if r, err := proof.Verify(dir, nil, w.key); err == nil && len(r.Findings) == 0 {
			t.Errorf("not found: "+what, args...)
		}
	}
	var names []string
	for name := range dir {
		names = append(names, name)
	}
	for _, name := range names {
		whole := dir[name].Data
		for n := range whole {
			bit := 8*n + rand.IntN(8) // which one differs from run to run; a failure names it
			altered := bytes.Clone(whole)
			altered[bit/8] ^= 1 << (bit % 8)
			dir[name] = &fstest.MapFile{Data: altered}
			if name == proof.FileProof && strings.Contains(string(altered), `"since"`) && sameButSince(t, whole, altered) {
				continue // it is not about anything that is asked here; TestSince asks
			}
			found("bit %d of %s", bit, name)
		}
		for n := 0; n < len(whole); n += 5 {
			dir[name] = &fstest.MapFile{Data: whole[:n]}
			found("%s cut at %d", name, n)
		}
		dir[name] = &fstest.MapFile{Data: append(bytes.Clone(whole), whole[len(whole)/2:]...)}
		found("%s with more at its end", name)
		delete(dir, name)
		found("%s is gone", name)
		dir[name] = &fstest.MapFile{Data: whole}
	}
	dir["extra.xml"] = &fstest.MapFile{Data: []byte("<more/>")}
	found("a file too much")
	delete(dir, "extra.xml")
	if r := verify(t, dir, nil, w.key); len(r.Findings) > 0 {
		t.Fatal(r.Findings)
	}
	t.Logf("%d alterations, all found", cases)
	if cases < 4000 {
		t.Errorf("only %d alterations", cases)
	}
}

// sameButSince reports whether two proofs differ in the part for an earlier checkpoint only.
func sameButSince(t *testing.T, a, b []byte) bool {
	x, err := proof.ParseProof(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := proof.ParseProof(b)
	if err != nil || y.Since == nil {
		return false
	}
	x.Since, y.Since = nil, nil
	p, _ := x.Encode()
	q, _ := y.Encode()
	return bytes.Equal(p, q)
}

// TestRewritten: whoever holds the files can write everything anew, receipts too, but not the signature.
func TestRewritten(t *testing.T) {
	forge := func(change func(w *world)) *proof.Report {
		honest, receipt := town(t)
		dir := honest.prove(0, 0, receipt, 0)
		forged, _ := town(t)
		change(forged)
		other := forged.prove(0, 0, receipt, 0)
		other[proof.FileCheckpoint] = dir[proof.FileCheckpoint]
		return verify(t, other, nil, honest.key)
	}
	if r := forge(func(*world) {}); len(r.Findings) > 0 {
		t.Fatal(r.Findings)
	}
	restore := func(w *world, o int, at event.Time, e event.Draft) {
		b := event.Batch{Base: event.Offset(o), At: at, Events: []event.Draft{e}}
		data, _, err := b.Seal()
		if err != nil {
			t.Fatal(err)
		}
		head, bodies, _ := event.Split(data)
		parsed, err := event.ParseEntry(head, bodies)
		if err != nil {
			t.Fatal(err)
		}
		run, err := parsed.Envelopes(1)
		if err != nil {
			t.Fatal(err)
		}
		w.events[o-1], w.stored[o-1] = run[0], parsed.Stored(0)
	}
	for name, change := range map[string]func(*world){
		"another author": func(w *world) {
			e := w.events[4]
			restore(w, 5, e.At, event.Draft{Meta: event.Meta{By: "sip:mallory@contoso.test", Room: room}, Event: e.Event})
		},
		"another text": func(w *world) {
			e := w.events[4]
			restore(w, 5, e.At, event.Draft{Meta: e.Meta, Event: &event.Posted{MessageID: 3, Text: "never said"}})
		},
		"another time": func(w *world) {
			e := w.events[4]
			restore(w, 5, e.At+1, event.Draft{Meta: e.Meta, Event: e.Event})
		},
		"another order": func(w *world) {
			w.events[4], w.events[5] = w.events[5], w.events[4]
			w.stored[4], w.stored[5] = w.stored[5], w.stored[4]
		},
	} {
		if r := forge(change); len(r.Findings) == 0 {
			t.Errorf("%s is not found", name)
		}
	}
	// Also not with a key of one's own.
	w, receipt := town(t)
	stranger, _ := keys(t, "contoso.test", 7)
	dir := w.prove(0, 0, receipt, 0)
	if b, err := (proof.Checkpoint{Origin: "contoso.test", Size: int64(len(w.events)), Root: w.root(0, int64(len(w.events)))}).Sign(stranger); err == nil {
		dir[proof.FileCheckpoint] = &fstest.MapFile{Data: b}
		if r := verify(t, dir, nil, w.key); len(r.Findings) == 0 {
			t.Error("a stranger's signature is taken")
		}
	}
}

// TestSince: a pool that has signed two histories is found out by whoever has kept a checkpoint of the first.
func TestSince(t *testing.T) {
	w, receipt := town(t)
	kept := w.checkpoint(40)
	dir := w.prove(0, 0, receipt, 40)
	if r := verify(t, dir, kept, w.key); len(r.Findings) > 0 {
		t.Error(r.Findings)
	}
	if r := verify(t, dir, w.checkpoint(41), w.key); len(r.Findings) == 0 {
		t.Error("it is asked for another checkpoint than the proof leads from")
	}
	if r := verify(t, w.prove(0, 0, receipt, 0), kept, w.key); len(r.Findings) == 0 {
		t.Error("the proof does not lead from any checkpoint")
	}
	other, _ := town(t)
	other.events[10].At++ // a history that differs before the checkpoint was signed
	if r := verify(t, dir, other.checkpoint(40), w.key); len(r.Findings) == 0 {
		t.Error("two histories are not found")
	}
}

// TestCosigned: with a witness's key, its signature must be there too.
func TestCosigned(t *testing.T) {
	w, receipt := town(t)
	dir := w.prove(0, 0, receipt, 0)
	witness, witnessKey := keys(t, "witness.example", 2)
	if r := verify(t, dir, nil, w.key, witnessKey); len(r.Findings) == 0 {
		t.Error("the witness has not signed")
	}
	size := int64(len(w.events))
	b, err := proof.Checkpoint{Origin: w.key.Name(), Size: size, Root: w.root(0, size)}.Sign(w.signer, witness)
	if err != nil {
		t.Fatal(err)
	}
	dir[proof.FileCheckpoint] = &fstest.MapFile{Data: b}
	if r := verify(t, dir, nil, w.key, witnessKey); len(r.Findings) > 0 {
		t.Error(r.Findings)
	}
	if r := verify(t, dir, nil, w.key); len(r.Findings) > 0 {
		t.Error(r.Findings)
	}
}

// TestFrontier agrees with the library at every size.
func TestFrontier(t *testing.T) {
	w := newWorld(t)
	var f proof.Frontier
	for n := range int64(300) {
		if n > 0 {
			if got, want := f.Root(), w.root(0, n); got != want {
				t.Fatalf("size %d: %v, want %v", n, got, want)
			}
		}
		w.add(&event.Posted{MessageID: uint64(n)})
		f.Append(w.events[n].RecordHash())
	}
	if _, err := proof.NewFrontier(5, make([]tlog.Hash, 3)); err == nil {
		t.Error("a tree of 5 leaves has two subtrees")
	}
}
