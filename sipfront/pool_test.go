package sipfront_test

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley/log/event"
	"parley/projections/chat"
	"parley/projections/chat/match"
	"parley/projections/history"
	"parley/sipfront"
	"parley/sipfront/commands"
	"parley/sipfront/siptest"
)

const (
	domain  = "contoso.test"
	poolURI = "sip:parley@contoso.test"
	node    = event.NodeID("n1")
)

var (
	lobby   = chat.RoomURI(domain, "00000000-0000-4000-8000-000000000101") // open
	ops     = chat.RoomURI(domain, "00000000-0000-4000-8000-000000000102") // closed: alice, bob; manager alice
	board   = chat.RoomURI(domain, "00000000-0000-4000-8000-000000000103") // secret: carol
	announc = chat.RoomURI(domain, "00000000-0000-4000-8000-000000000104") // auditorium: alice presents
)

// pool is a Backend with one sequencer goroutine over the real rules: every event goes through the log's codec.
type pool struct {
	t     testing.TB
	queue chan queued
	st    atomic.Pointer[chat.State]
	own   *chat.State
	front atomic.Pointer[[]*sipfront.Front]
	ids   int
	stop  chan struct{}
	wg    sync.WaitGroup

	early  atomic.Bool  // done is called before the events are applied here
	down   atomic.Bool  // no leader: every command is refused as unavailable
	hidden atomic.Bool  // Available says no
	gate   sync.RWMutex // held by a test: nothing is decided
	seen   atomic.Int64 // requests

	mu       sync.Mutex
	messages map[event.RoomID][]history.Message
	events   []event.Envelope
	slow     chan struct{} // not nil: History waits for it
}

type queued struct {
	r    chat.Request
	done func(chat.Outcome, error)
}

var admin = chat.Origin{By: "admin:test", Node: node, Trusted: true}

func newPool(t testing.TB) *pool {
	p := &pool{t: t, queue: make(chan queued, 100000), own: chat.NewState(), stop: make(chan struct{}), messages: map[event.RoomID][]history.Message{}}
	p.st.Store(p.own.Clone())
	p.wg.Add(1)
	go p.sequence()
	t.Cleanup(func() { close(p.stop); p.wg.Wait() })
	p.must(&chat.FormPool{Domain: domain, PoolURI: poolURI})
	p.must(&chat.StartNode{Version: "test"})
	cat := event.CategoryID("00000000-0000-4000-8000-000000000001")
	p.must(&chat.CreateCategory{ID: cat, Info: event.CategoryInfo{Name: "General", Allowed: []event.Principal{"*"}, Invitations: true, FileUpload: true, ChatHistory: true}})
	for _, u := range []string{"alice", "bob", "carol", "dave", "erin"} {
		p.user(u, true)
	}
	p.user("mallory", false)
	room := func(uri, name string, privacy event.Privacy, kind event.RoomType, access ...event.Access) {
		_, id, _ := chat.ParseRoomURI(uri)
		p.must(&chat.CreateRoom{ID: id, Info: event.RoomInfo{Name: name, Description: name + " & <more>", Category: cat, Type: kind, Privacy: privacy, Invitations: event.InvitationsInherit}, Access: access})
	}
	room(lobby, "Lobby", event.PrivacyOpen, event.RoomNormal)
	room(ops, "Operations", event.PrivacyClosed, event.RoomNormal, event.Access{Principal: "sip:alice@contoso.test", Role: event.RoleMember | event.RoleManager}, event.Access{Principal: "sip:bob@contoso.test", Role: event.RoleMember})
	room(board, "Board", event.PrivacySecret, event.RoomNormal, event.Access{Principal: "sip:carol@contoso.test", Role: event.RoleMember})
	room(announc, "Announcements", event.PrivacyOpen, event.RoomAuditorium, event.Access{Principal: "sip:alice@contoso.test", Role: event.RoleMember | event.RolePresenter})
	return p
}

func (p *pool) user(name string, enabled bool) {
	address := name
	if !strings.Contains(name, "@") {
		address = name + "@" + domain
	}
	plain := []byte(address + ":" + domain + ":parley")
	s, m := sha256.Sum256(plain), md5.Sum(plain)
	p.must(&chat.CreateUser{User: event.UserPrincipal(address), Info: event.UserInfo{DisplayName: strings.ToUpper(name[:1]) + name[1:], Enabled: enabled},
		Secret: event.Secret{Realm: domain, HA1SHA256: s[:], HA1MD5: m[:]}})
}

// must runs a command as the administrator.
func (p *pool) must(c chat.Command) chat.Outcome {
	p.t.Helper()
	o, err := p.run(admin, c)
	if err != nil {
		p.t.Fatalf("%T: %v", c, err)
	}
	return o
}

func (p *pool) run(origin chat.Origin, c chat.Command) (chat.Outcome, error) {
	type end struct {
		o   chat.Outcome
		err error
	}
	ch := make(chan end, 1)
	p.Submit(chat.Request{Origin: origin, Command: c}, func(o chat.Outcome, err error) { ch <- end{o, err} })
	e := <-ch
	return e.o, e.err
}

func (p *pool) Submit(r chat.Request, done func(chat.Outcome, error)) {
	select {
	case p.queue <- queued{r, done}:
		p.seen.Add(1) // not before: whoever counts relies on the order in the queue
	case <-p.stop:
	}
}

func (p *pool) State() *chat.State { return p.st.Load() }

func (p *pool) Available() bool { return !p.hidden.Load() }

func (p *pool) History(ctx context.Context, room event.RoomID, first, last uint64) ([]history.Message, error) {
	p.mu.Lock()
	slow := p.slow
	p.mu.Unlock()
	if slow != nil {
		select {
		case <-slow:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []history.Message
	for _, m := range p.messages[room] {
		if m.ID >= first && m.ID <= last {
			all = append(all, m)
		}
	}
	return all, nil
}

func (p *pool) FindRooms(_ context.Context, q commands.RoomQuery) ([]event.RoomID, error) {
	var all []event.RoomID
	words := match.New(event.Query{Text: q.Text, Match: q.Match})
	for r := range p.State().Rooms() {
		texts := []string{r.Info.Name}
		if q.Descriptions {
			texts = append(texts, r.Info.Description)
		}
		if len(all) < q.Limit && q.Visible(r.ID) && words.Means("", 0, texts...) {
			all = append(all, r.ID)
		}
	}
	return all, nil
}

func (p *pool) HistorySpan(_ context.Context, room event.RoomID, from, to event.Time) (first, last uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.messages[room] {
		if m.At < from || to != 0 && m.At > to {
			continue
		}
		if first == 0 {
			first = m.ID
		}
		last = m.ID
	}
	return first, last, nil
}

func (p *pool) FindMessages(_ context.Context, q commands.MessageQuery) (ids []uint64, total uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	any := q.Query
	any.CaseSensitive = false
	means := match.New(any)
	for _, m := range p.messages[q.Room] {
		if !means.Means(m.By, m.At, m.Text) {
			continue
		}
		total++
		if q.From == 0 || q.Newest && m.ID <= q.From || !q.Newest && m.ID >= q.From {
			ids = append(ids, m.ID)
		}
	}
	if q.Newest {
		slices.Reverse(ids)
	}
	return ids[:min(len(ids), q.Limit)], total, nil
}

// sequence is the sequencer: it decides what is queued, packs it into one run and applies it.
func (p *pool) sequence() {
	defer p.wg.Done()
	for {
		var batch []queued
		select {
		case q := <-p.queue:
			batch = append(batch, q)
		case <-p.stop:
			return
		}
		p.gate.RLock()
		for more := true; more && len(batch) < 64; {
			select {
			case q := <-p.queue:
				batch = append(batch, q)
			default:
				more = false
			}
		}
		p.decide(batch)
		p.gate.RUnlock()
	}
}

func (p *pool) decide(batch []queued) {
	before := p.own.Clone()
	var run []event.Envelope
	var after []func()
	for _, q := range batch {
		if p.down.Load() {
			after = append(after, func() { q.done(chat.Outcome{}, chat.Refuse(chat.CodeUnavailable, "no leader")) })
			continue
		}
		at := event.Time(time.Now().UnixNano())
		if last := p.own.At(); at <= last {
			at = last + 1
		}
		d, err := chat.Decide(p.own, q.r, chat.Env{At: at, NewID: func() string {
			p.ids++
			return fmt.Sprintf("00000000-0000-4000-9000-%012x", p.ids)
		}})
		if err != nil {
			after = append(after, func() { q.done(chat.Outcome{Result: d.Result}, err) })
			continue
		}
		if len(d.Events) > 0 {
			run = append(run, p.commit(at, d.Events)...)
		}
		o := chat.Outcome{Offset: p.own.Offset(), At: at, Result: d.Result}
		after = append(after, func() { q.done(o, nil) })
	}
	apply := func() {
		st := p.own.Clone()
		p.st.Store(st)
		if fs := p.front.Load(); fs != nil && len(run) > 0 {
			for _, f := range *fs {
				f.Applied(run, before, st)
			}
		}
	}
	finish := func() {
		for _, fn := range after {
			fn()
		}
	}
	if p.early.Load() {
		finish()
		apply()
		return
	}
	apply()
	finish()
}

// commit seals, parses and folds, as the log would.
func (p *pool) commit(at event.Time, drafts []event.Draft) []event.Envelope {
	b := event.Batch{Base: p.own.Offset() + 1, At: at, Prev: p.own.Chain(), Events: drafts}
	data, _, err := b.Seal()
	if err != nil {
		p.t.Errorf("seal: %v", err)
		return nil
	}
	head, bodies, err := event.Split(data)
	if err != nil {
		p.t.Errorf("split: %v", err)
		return nil
	}
	entry, err := event.ParseEntry(head, append([]byte{}, bodies...))
	if err != nil {
		p.t.Errorf("parse: %v", err)
		return nil
	}
	all, err := entry.Envelopes(p.own.Index() + 1)
	if err != nil {
		p.t.Errorf("envelopes: %v", err)
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range all {
		if err := p.own.Fold(e, nil); err != nil {
			p.t.Errorf("fold: %v", err)
		}
		switch ev := e.Event.(type) {
		case *event.Posted:
			if !ev.Unlogged {
				p.messages[e.Room] = append(p.messages[e.Room], history.Message{ID: ev.MessageID, Offset: e.Offset, At: e.At, By: e.By, Text: ev.Text, RTF: ev.RTF, Alert: ev.Alert, Story: ev.Story, Title: ev.Title})
			}
		case *event.MessagesRemoved:
			p.remove(e.Room, ev)
		}
		p.events = append(p.events, e)
	}
	return all
}

// remove is what the history does with a removal.
func (p *pool) remove(room event.RoomID, ev *event.MessagesRemoved) {
	var kept []history.Message
	for _, m := range p.messages[room] {
		named := ev.Until != 0 && m.At <= ev.Until || slices.ContainsFunc(ev.Messages, func(r event.MessageRef) bool { return r.MessageID == m.ID })
		if named && ev.Replaced {
			m.Text = ev.Text
		}
		if !named || ev.Replaced {
			kept = append(kept, m)
		}
	}
	p.messages[room] = kept
}

// ofKind returns the committed events of a kind.
func (p *pool) ofKind(kind event.Kind) (all []event.Envelope) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if e.Kind() == kind {
			all = append(all, e)
		}
	}
	return all
}

// server is a front on loopback with a pool behind it.
type server struct {
	*pool
	front *sipfront.Front
	addr  string
	addrs []net.Addr
}

func serve(t testing.TB, change func(*sipfront.Config)) *server {
	t.Helper()
	return newPool(t).serve(node, change)
}

// serve adds a node to the pool.
func (p *pool) serve(node event.NodeID, change func(*sipfront.Config)) *server {
	t := p.t
	t.Helper()
	cfg := sipfront.Config{Node: node, Listeners: []sipfront.Listener{{Network: "tcp", Addr: "127.0.0.1:0", AllowUnchallenged: true}}}
	if change != nil {
		change(&cfg)
	}
	f, err := sipfront.New(cfg, p)
	if err != nil {
		t.Fatal(err)
	}
	var all []*sipfront.Front
	if before := p.front.Load(); before != nil {
		all = append(all, *before...)
	}
	all = append(all, f)
	p.front.Store(&all)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return &server{pool: p, front: f, addr: f.Addrs()[0].String(), addrs: f.Addrs()}
}

// dial connects a client and does not sign it in.
func (s *server) dial(user string, change ...func(*siptest.Options)) *siptest.Client {
	s.t.Helper()
	o := siptest.Options{Addr: s.addr, User: user + "@" + domain, Password: "parley", Timeout: time.Minute}
	for _, fn := range change {
		fn(&o)
	}
	c := siptest.Dial(o)
	s.t.Cleanup(c.Close)
	return c
}

// client connects and signs in.
func (s *server) client(user string, change ...func(*siptest.Options)) *siptest.Client {
	s.t.Helper()
	c := s.dial(user, change...).SignIn()
	check(s.t, c)
	return c
}

// check fails the test for any client's error.
func check(t testing.TB, all ...*siptest.Client) {
	t.Helper()
	for _, c := range all {
		if err := c.Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (p *pool) joined(room, user string) bool {
	_, id, _ := chat.ParseRoomURI(room)
	return p.State().Participates(id, event.UserPrincipal(user+"@"+domain))
}

func (p *pool) messagesOf(room string) []history.Message {
	_, id, _ := chat.ParseRoomURI(room)
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]history.Message(nil), p.messages[id]...)
}

// configure changes the configuration of the pool.
func (p *pool) configure(change func(*event.ConfigurationInfo)) {
	p.t.Helper()
	i := p.State().Limits()
	change(&i)
	p.must(&chat.SetConfiguration{Scope: "global", Info: i})
}
