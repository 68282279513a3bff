package compliance_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"parley/compliance"
	"parley/compliance/actiance"
	"parley/compliance/adaptertest"
	"parley/compliance/csv"
	"parley/compliance/eml"
	"parley/compliance/jsonl"
	"parley/compliance/lyncxml"
	"parley/log/event"
	"parley/projections/chat"
)

// shelf is a disk that can be out of order.
type shelf struct {
	*adaptertest.Disk
	mu     sync.Mutex
	broken map[string]bool // directories
}

func (s *shelf) MkdirAll(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken[dir] {
		return errors.New("mount point is not there")
	}
	return s.Disk.MkdirAll(dir)
}

// runFeeds runs the feeds of a node whose adapters write to a disk.
func runFeeds(t *testing.T, w *adaptertest.World, n event.NodeID, fs compliance.FS, static ...compliance.FeedConfig) (*compliance.Feeds, func()) {
	t.Helper()
	f := compliance.NewFeeds(compliance.FeedsConfig{Static: static, Make: func(cut, now *event.FeedInfo) (compliance.Adapter, error) {
		info := jsonl.Kind.Effective(cut, now)
		o := compliance.NewOptions(info.Options)
		a, err := jsonl.Kind.New(compliance.Env{Node: n, FS: fs}, o)
		return a, errors.Join(err, o.Err())
	}}, w.Node(n), w, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return f, stop
}

func setFeed(w *adaptertest.World, name string, change func(*event.FeedInfo)) {
	fd, _ := w.State().Feed(name)
	info := fd.Info
	if !fd.Configured() {
		info = event.FeedInfo{Adapter: "jsonl", Options: []event.FeedOption{{Name: "dir", Value: "/a"}}, Every: 1e9}
	}
	if change != nil {
		change(&info)
	}
	w.Must(trusted(&chat.SetFeed{Feed: name, Info: info}))
}

func dir(d string) func(*event.FeedInfo) {
	return func(i *event.FeedInfo) { i.Options = []event.FeedOption{{Name: "dir", Value: d}} }
}

func statusOf(t *testing.T, f *compliance.Feeds, name string) compliance.Status {
	t.Helper()
	for _, s := range f.List() {
		if s.Feed == name {
			return s
		}
	}
	t.Fatalf("no feed %s in %+v", name, f.List())
	return compliance.Status{}
}

// TestFeedsFollowTheLog: a feed that is set runs, one that is paused stands and goes on where it was, one that fails says why
// on its owner and goes on once it is mended, one that is removed ends, and set again it goes on.
func TestFeedsFollowTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := adaptertest.Scene()
		s := &shelf{Disk: adaptertest.NewDisk(), broken: map[string]bool{}}
		w.Must(chat.Request{Origin: chat.Origin{By: "node:n2", Node: "n2", Trusted: true}, Command: &chat.StartNode{Version: "test"}})
		f, _ := runFeeds(t, w, "n1", s)
		other, _ := runFeeds(t, w, "n2", s)
		if len(f.List()) != 0 || f.Slowest(9) != 9 {
			t.Fatalf("feeds of a pool without any: %+v", f.List())
		}
		synctest.Wait() // nobody looks before time goes on
		setFeed(w, "j", nil)
		if got := f.Slowest(w.Head()); got != 0 {
			t.Errorf("a feed that has not begun lets the log be erased up to %d", got)
		}
		time.Sleep(time.Minute)
		if st := statusOf(t, f, "j"); st.Backlog != 0 || st.State != compliance.StateWaiting || st.Adapter != "jsonl" {
			t.Fatalf("a minute after it was set: %+v", st)
		}
		delivered := feedOf(w, "j").Receipt

		w.Must(trusted(&chat.PauseFeed{Feed: "j", Reason: "new disk"}))
		post(w, "while it is paused")
		time.Sleep(time.Hour)
		for _, node := range []*compliance.Feeds{f, other} {
			if st := statusOf(t, node, "j"); st.State != compliance.StatePaused || st.Reason != "new disk" || st.Offset != delivered || st.Backlog == 0 || st.Oldest == 0 {
				t.Errorf("paused: %+v", st)
			}
		}
		if got := f.Slowest(w.Head()); got != delivered {
			t.Errorf("a paused feed lets the log be erased up to %d, it has %d", got, delivered)
		}

		s.mu.Lock()
		s.broken["/b"] = true
		s.mu.Unlock()
		setFeed(w, "j", dir("/b"))
		w.Must(trusted(&chat.ResumeFeed{Feed: "j"}))
		time.Sleep(10 * time.Minute)
		st := statusOf(t, f, "j")
		if st.State != compliance.StateFailing || !strings.Contains(st.LastError, "mount point") || st.Offset != delivered || st.Failures < 5 {
			t.Errorf("its directory is not there: %+v", st)
		}
		if there := statusOf(t, other, "j"); there.Backlog != st.Backlog || there.Owner != "n1" {
			t.Errorf("the owner sees %+v, another node %+v", st, there)
		}
		setFeed(w, "j", dir("/c")) // somebody mends it: at once, not at the end of a minute
		time.Sleep(5 * time.Second)
		if st := statusOf(t, f, "j"); st.LastError != "" || st.Failures != 0 {
			t.Errorf("mended: %+v", st)
		}
		time.Sleep(10 * time.Second)
		if st := statusOf(t, f, "j"); st.Backlog != 0 {
			t.Errorf("mended a while ago: %+v", st)
		}

		w.Must(trusted(&chat.RemoveFeed{Feed: "j"}))
		time.Sleep(time.Minute)
		at := feedOf(w, "j").Receipt
		post(w, "while there is no feed")
		time.Sleep(time.Minute)
		if len(f.List()) != 0 || feedOf(w, "j").Receipt != at || f.Slowest(w.Head()) != w.Head() {
			t.Errorf("removed: %+v", f.List())
		}
		setFeed(w, "j", dir("/c"))
		time.Sleep(time.Minute)
		if feedOf(w, "j").Receipt <= at {
			t.Errorf("set again: %+v", statusOf(t, f, "j"))
		}
		// What lies in the two directories is one archive.
		all := s.Disk.Files("/a")
		for n, c := range s.Disk.Files("/c") {
			if _, twice := all[n]; twice {
				t.Errorf("%s is in both directories", n)
			}
			all[n] = c
		}
		for n, c := range all {
			s.Disk.Plant("/all/"+n, c)
		}
		if err := s.Disk.SyncDir("/all"); err != nil {
			t.Fatal(err)
		}
		for n := range all {
			if err := s.Disk.SyncFile("/all/" + n); err != nil {
				t.Fatal(err)
			}
		}
		adaptertest.AuditFrom(t, w, s.Disk, "/all", "j", 1, replayJSONL)
	})
}

func replayJSONL(fs compliance.FS, _ *event.FeedInfo) (compliance.Adapter, error) {
	return jsonl.New("/replay", fs, "auditor"), nil
}

// stuck is a disk whose sync of a file hangs once.
type stuck struct {
	compliance.FS
	hang atomic.Bool
	open atomic.Int32 // files that are being written
	most atomic.Int32
	free chan struct{}
}

func (s *stuck) Create(name string) (compliance.File, error) {
	f, err := s.FS.Create(name)
	if err != nil {
		return nil, err
	}
	s.most.Store(max(s.most.Load(), s.open.Add(1)))
	return &stuckFile{f, s}, nil
}

type stuckFile struct {
	compliance.File
	s *stuck
}

func (f *stuckFile) Sync() error {
	if f.s.hang.CompareAndSwap(true, false) {
		<-f.s.free
	}
	return f.File.Sync()
}

func (f *stuckFile) Close() error {
	f.s.open.Add(-1)
	return f.File.Close()
}

// TestSetAgainWhileTheDiskHangs: a feed that is set again begins when the one before it has let go of the disk: both write
// under the same temporary name. What was removed puts nothing there any more.
func TestSetAgainWhileTheDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := adaptertest.Scene()
		d := adaptertest.NewDisk()
		s := &stuck{FS: d, free: make(chan struct{})}
		s.hang.Store(true)
		runFeeds(t, w, "n1", s)
		setFeed(w, "j", nil)
		time.Sleep(time.Minute)
		w.Must(trusted(&chat.RemoveFeed{Feed: "j"}))
		time.Sleep(time.Minute)
		setFeed(w, "j", dir("/b"))
		time.Sleep(time.Minute)
		if s.most.Load() != 1 || feedOf(w, "j").Receipt != 0 {
			t.Errorf("%d files at a time, receipt %d", s.most.Load(), feedOf(w, "j").Receipt)
		}
		close(s.free)
		time.Sleep(time.Minute)
		if feedOf(w, "j").Receipt == 0 || len(d.Files("/a")) != 0 || len(d.Files("/b")) == 0 {
			t.Errorf("receipt %d, %d and %d files", feedOf(w, "j").Receipt, len(d.Files("/a")), len(d.Files("/b")))
		}
	})
}

// TestOpenCutKeepsItsForm: a cut that is open when the feed's filter changes is delivered as it was cut, to where the feed
// goes now.
func TestOpenCutKeepsItsForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := adaptertest.Scene()
		s := &shelf{Disk: adaptertest.NewDisk(), broken: map[string]bool{"/a": true}}
		setFeed(w, "j", nil)
		runFeeds(t, w, "n1", s)
		time.Sleep(time.Minute)
		if fd := feedOf(w, "j"); fd.CutFirst != 1 || fd.Receipt != 0 {
			t.Fatalf("no open cut: %+v", fd)
		}
		setFeed(w, "j", func(i *event.FeedInfo) { dir("/b")(i); i.Kinds = []string{"posted"} })
		time.Sleep(time.Minute)
		post(w, "under the filter")
		time.Sleep(time.Minute)
		files := s.Disk.Files("/b")
		names := slices.Sorted(maps.Keys(files))
		if len(names) < 2 || !strings.Contains(files[names[0]], `"kind":"room_created"`) {
			t.Fatalf("the cut that was open: %v\n%s", names, files[names[0]])
		}
		if last := files[names[len(names)-1]]; strings.Contains(last, `"kind":"feed_`) || !strings.Contains(last, "under the filter") {
			t.Errorf("a cut under the filter:\n%s", last)
		}
		adaptertest.AuditFrom(t, w, s.Disk, "/b", "j", 1, replayJSONL)
	})
}

// TestLateFeed: a feed can begin at any event, and delivers nothing from before.
func TestLateFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := adaptertest.Scene()
		d := adaptertest.NewDisk()
		w.Must(trusted(&chat.SetFeed{Feed: "late", Info: event.FeedInfo{Adapter: "jsonl", Options: []event.FeedOption{{Name: "dir", Value: "/a"}}}, From: m.Talk + 1}))
		runFeeds(t, w, "n1", d)
		time.Sleep(time.Minute)
		if fd := feedOf(w, "late"); fd.Receipt <= m.Talk {
			t.Fatalf("%+v", fd)
		}
		adaptertest.AuditFrom(t, w, d, "/a", "late", m.Talk+1, replayJSONL)
	})
}

func TestFilter(t *testing.T) {
	w, m := adaptertest.Scene()
	adaptertest.Late(w)
	offsets := func(i event.FeedInfo) (out []event.Offset, parts []event.RoomID) {
		base, err := compliance.StateAt(t.Context(), w, 0)
		if err != nil {
			t.Fatal(err)
		}
		cut, run, err := compliance.NewCut("f", 1, w.Head(), base, w, compliance.FilterOf(&i))
		if err != nil {
			t.Fatal(err)
		}
		for e, err := range run {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, e.Offset)
			for _, p := range cut.Parts(e) {
				parts = append(parts, p.Room)
			}
		}
		return out, parts
	}
	// The naive reference: what an event says of itself, and what everybody knows of the scene: all rooms are in General.
	naive := func(want func(event.Envelope) bool) (out []event.Offset) {
		for _, e := range w.Events() {
			if want(e) {
				out = append(out, e.Offset)
			}
		}
		return out
	}
	lost := func(e event.Envelope) bool { return e.Offset == m.Lost || e.Offset == m.Restarted }
	inBoard := func(e event.Envelope) bool {
		_, search := e.Event.(*event.MessageSearched)
		return e.Room == adaptertest.Board || search || lost(e)
	}
	for name, c := range map[string]struct {
		info event.FeedInfo
		want func(event.Envelope) bool
	}{
		"all":  {event.FeedInfo{}, func(event.Envelope) bool { return true }},
		"room": {event.FeedInfo{Rooms: []event.RoomID{adaptertest.Board}}, inBoard},
		"kind": {event.FeedInfo{Kinds: []string{"posted"}}, func(e event.Envelope) bool { return e.Kind() == event.KindPosted }},
		"part": {event.FeedInfo{Kinds: []string{"parted"}}, func(e event.Envelope) bool { return e.Kind() == event.KindParted || lost(e) }},
		"both": {event.FeedInfo{Rooms: []event.RoomID{adaptertest.Board}, Kinds: []string{"posted"}}, func(e event.Envelope) bool {
			return e.Room == adaptertest.Board && e.Kind() == event.KindPosted
		}},
		"category": {event.FeedInfo{Categories: []event.CategoryID{adaptertest.General}}, func(e event.Envelope) bool {
			k := e.Kind()
			return e.Room != "" || k == event.KindMessageSearched || k == event.KindCategoryCreated || k == event.KindCategoryChanged || lost(e)
		}},
		"nothing": {event.FeedInfo{Rooms: []event.RoomID{adaptertest.Empty}, Kinds: []string{"posted"}}, func(event.Envelope) bool { return false }},
	} {
		if got, _ := offsets(c.info); !slices.Equal(got, naive(c.want)) {
			t.Errorf("%s: %v, want %v", name, got, naive(c.want))
		}
	}
	_, all := offsets(event.FeedInfo{})
	_, some := offsets(event.FeedInfo{Rooms: []event.RoomID{adaptertest.Board}})
	if len(some) == 0 || len(some) >= len(all) || slices.Contains(some, adaptertest.Lobby) {
		t.Errorf("implied parts of one room: %v of %v", some, all)
	}
}

// TestReplayFindsWhatDiffers: a replay that does not come to what the receipt says is an error, never a file.
func TestReplayFindsWhatDiffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := adaptertest.Scene()
		setFeed(w, "j", func(i *event.FeedInfo) { i.MaxEvents = 6 })
		_, stop := runFeeds(t, w, "n1", adaptertest.NewDisk())
		time.Sleep(time.Minute)
		stop()
		replay := func(from, to event.Offset, mk func(compliance.FS, *event.FeedInfo) (compliance.Adapter, error)) (cuts [][2]event.Offset, err error) {
			err = compliance.Replay(t.Context(), w, "j", from, to, nil, mk, func(r compliance.Replayed) error {
				cuts = append(cuts, [2]event.Offset{r.First, r.Last})
				return nil
			})
			return cuts, err
		}
		all, err := replay(1, feedOf(w, "j").Receipt, replayJSONL)
		if err != nil || len(all) < 4 {
			t.Fatalf("%v, %v", all, err)
		}
		gapless(t, all)
		if some, err := replay(all[1][1], all[2][0], replayJSONL); err != nil || !slices.Equal(some, all[1:3]) {
			t.Errorf("the cuts around an edge: %v, %v; want %v", some, err, all[1:3])
		}
		other := maker(&csv.Kind)
		_, err = replay(1, 99, func(fs compliance.FS, _ *event.FeedInfo) (compliance.Adapter, error) {
			return other(fs, "/replay", "auditor"), nil
		})
		if !errors.Is(err, compliance.ErrReplay) {
			t.Errorf("other bytes: %v", err)
		}
	})
}

func maker(k *compliance.Kind) adaptertest.New {
	return func(fs compliance.FS, dir string, node event.NodeID) compliance.Adapter {
		a, err := k.New(compliance.Env{Node: node, FS: fs, Dir: dir}, compliance.NewOptions(nil))
		if err != nil {
			panic(err)
		}
		return a
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		kind    *compliance.Kind
		options string
		ok      bool
	}{
		{&jsonl.Kind, "dir=/a", true}, {&jsonl.Kind, "", false}, {&jsonl.Kind, "dir=a", false}, {&jsonl.Kind, "dir=/a x=1", false},
		{&csv.Kind, "dir=/a guard=true", true}, {&csv.Kind, "dir=/a guard=yes", false}, {&actiance.Kind, "dir=/a perspective=x", true},
		{&eml.Kind, "dir=/a from=a@b.test", true}, {&eml.Kind, "dir=/a from=b.test", false},
		{&lyncxml.Kind, "dir=/a rtf=true one_room_per_file=true user_details=true room_details=true attachments_manifest=true", true}, {&lyncxml.Kind, "dir=/a rtf=", false},
	} {
		var list []event.FeedOption
		for _, o := range strings.Fields(c.options) {
			name, value, _ := strings.Cut(o, "=")
			list = append(list, event.FeedOption{Name: name, Value: value})
		}
		o := compliance.NewOptions(list)
		_, err := c.kind.New(compliance.Env{}, o)
		if err == nil {
			err = o.Err()
		}
		if (err == nil) != c.ok {
			t.Errorf("%s with %q: %v", c.kind.Name, c.options, err)
		}
	}
}
