package proof_test

import (
	"bytes"
	"crypto/sha256"
	"io/fs"
	"runtime"
	"testing"
	"testing/fstest"
	"time"

	"parley/compliance/proof"
	"parley/log/event"
)

// stream is the directory of a proof of which the entries are made while they are read: posts alone, then the receipt.
type stream struct {
	fstest.MapFS
	post, receipt record
	posts         int
	looked        uint64 // live memory at its most, at some moments of the reading
}

type record struct {
	stored []byte
	leaf   [32]byte
}

func (s *stream) Open(name string) (fs.File, error) {
	if name != proof.FileEntries {
		return s.MapFS.Open(name)
	}
	return &streamed{s: s}, nil
}

type streamed struct {
	s    *stream
	next int
	left bytes.Buffer
}

func (f *streamed) Read(p []byte) (int, error) {
	for f.left.Len() < len(p) && f.next <= f.s.posts {
		if f.next%(f.s.posts/4) == 0 {
			f.s.look()
		}
		r := f.s.post
		if f.next == f.s.posts {
			r = f.s.receipt
		}
		f.next++
		if err := proof.WriteRecord(&f.left, event.Time(f.next), r.stored); err != nil {
			return 0, err
		}
	}
	return f.left.Read(p)
}

func (f *streamed) Stat() (fs.FileInfo, error) { return f, nil }
func (f *streamed) Close() error               { return nil }
func (f *streamed) Name() string               { return proof.FileEntries }
func (f *streamed) Size() int64                { return 0 }
func (f *streamed) Mode() fs.FileMode          { return 0o444 }
func (f *streamed) ModTime() time.Time         { return time.Time{} }
func (f *streamed) IsDir() bool                { return false }
func (f *streamed) Sys() any                   { return nil }

func (s *stream) look() {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s.looked = max(s.looked, m.HeapAlloc)
}

// newStream is a proof of a log of posts that were delivered in one file.
func newStream(t *testing.T, posts int) *stream {
	w := newWorld(t)
	w.add(&event.Posted{MessageID: 1, Text: "what people write"})
	one := record{w.stored[0], w.events[0].Leaf}
	data, name := []byte("<all/>"), "all.xml"
	sum := sha256.Sum256(data)
	w.add(&event.FeedReceipt{Feed: feed, Epoch: 1, First: 1, Last: event.Offset(posts), Name: name, Bytes: uint64(len(data)), SHA256: sum[:]})
	last := record{w.stored[1], w.events[1].Leaf}

	var tree proof.Frontier
	for i := range posts {
		tree.Append((&event.Envelope{At: event.Time(i + 1), Leaf: one.leaf}).RecordHash())
	}
	tree.Append((&event.Envelope{At: event.Time(posts + 1), Leaf: last.leaf}).RecordHash())
	signed, err := proof.Checkpoint{Origin: w.signer.Name(), Size: tree.Size(), Root: tree.Root()}.Sign(w.signer)
	if err != nil {
		t.Fatal(err)
	}
	js, err := (&proof.Proof{Format: proof.Format, Feed: feed, First: 1, Last: event.Offset(posts), End: event.Offset(posts + 1), Size: tree.Size()}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{MapFS: fstest.MapFS{proof.FileProof: {Data: js}, proof.FileCheckpoint: {Data: signed}, name: {Data: data}, proof.FileEntries: {}},
		post: one, receipt: last, posts: posts}
	r := verify(t, s, nil, w.key)
	if len(r.Findings) > 0 || len(r.Rooms) != 1 || r.Rooms[0].Posts != posts {
		t.Fatalf("%d posts: %+v", posts, r)
	}
	return s
}

// TestMemory: what a verification keeps does not depend on how many events it is about.
func TestMemory(t *testing.T) {
	const posts, slack = 30_000, 256 << 10 // posts: more than a buffer holds
	short, long := newStream(t, posts), newStream(t, 4*posts)
	if long.looked > short.looked+slack {
		t.Errorf("%d KiB in use for %d events, %d KiB for %d", long.looked>>10, 4*posts, short.looked>>10, posts)
	}
}
