package compliance_test

import (
	"errors"
	"flag"
	"fmt"
	"strings"
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

var matrixRuns = flag.Int("compliance.matrix", 0, "at least this many runs of the crash matrix; 0: a third of the points of one adapter")

// What goes wrong in a run of the matrix, at one step of a feed.
const (
	processKill   = iota // the owner's process dies there; it is started again at once
	powerLoss            // and what was not synced is gone
	powerLossName        // and names have survived that their content has not
	leaderChange         // the owner dies there and is taken for lost; another node leads and takes over
	staleOwner           // the owner is cut off there and goes on, while another node has taken over
	diskFull             // writing fails there, until somebody makes room
	failedSync           // the step takes effect, or not, and reports an error
	lostAnswer           // the pool's answer is lost there: the command took effect
	noLeader             // the pool refuses there
	faults
)

var faultNames = [faults]string{"process kill", "power loss", "power loss, names kept", "leadership change", "stale owner", "full disk", "failed sync", "lost answer", "no leader"}

// step is a point of a run: the n-th of a kind of operations.
type step struct {
	command string // of the pool: cut, receipt, claim; or "" for one of the disk
	n       int    // from 1
	what    string // for people
}

// matrixAdapters write what a cut comes to in one file and in many.
var matrixAdapters = []struct {
	kind    *compliance.Kind
	options []event.FeedOption
}{{&lyncxml.Kind, nil}, {&jsonl.Kind, nil}, {&eml.Kind, nil}, {&csv.Kind, nil}, {&actiance.Kind, nil},
	{&lyncxml.Kind, []event.FeedOption{{Name: "one_room_per_file", Value: "true"}, {Name: "attachments_manifest", Value: "true"}}}}

// TestCrashMatrix stops a feed at every step of cut, write, sync, link, removal, directory sync and receipt in every way that
// a step can go wrong, lets the pool recover, and compares the archive with the log: no gap, no repetition, no temporary
// file.
func TestCrashMatrix(t *testing.T) {
	runs := 0
	// A round goes through all points of a feed of one adapter; more rounds have other sizes of cuts, so other points.
	for round := 0; ; round++ {
		if round > 0 && runs >= *matrixRuns {
			break
		}
		a := matrixAdapters[round%len(matrixAdapters)]
		size := []uint64{11, 5, 29, 3, 17}[(round/len(matrixAdapters))%5]
		for _, s := range steps(t, a.kind, a.options, size) {
			for f := range faults {
				if (f == lostAnswer || f == noLeader) == (s.command == "") { // of the pool, all others of the disk
					continue
				}
				if *matrixRuns == 0 && (s.n+f)%3 != 0 {
					continue
				}
				name := fmt.Sprintf("%s in cuts of %d: %s at %s", a.kind.Name, size, faultNames[f], s.what)
				runs++
				synctest.Test(t, func(t *testing.T) {
					defer func() {
						if t.Failed() {
							t.Log(name)
						}
					}()
					matrixRun(t, a.kind, a.options, size, s, f)
				})
				if t.Failed() {
					return
				}
			}
		}
	}
	t.Logf("%d runs: no gap, no repetition, no temporary file left", runs)
	if runs < max(100, *matrixRuns) {
		t.Errorf("only %d runs", runs)
	}
}

// matrixPool is a pool with a feed over one disk.
type matrixPool struct {
	t       *testing.T
	w       *adaptertest.World
	disk    *adaptertest.Disk
	kind    *compliance.Kind
	options []event.FeedOption
	stops   []func()
}

func newMatrixPool(t *testing.T, k *compliance.Kind, options []event.FeedOption, size uint64) *matrixPool {
	w, _ := adaptertest.Scene()
	adaptertest.Late(w)
	w.Must(chat.Request{Origin: chat.Origin{By: "node:n3", Node: "n3", Trusted: true}, Command: &chat.StartNode{Version: "test"}})
	info := event.FeedInfo{Adapter: k.Name, Options: options, Every: 1e9, MaxEvents: size}
	w.Must(trusted(&chat.SetFeed{Feed: "m", Info: info}))
	return &matrixPool{t: t, w: w, disk: adaptertest.NewDisk(), kind: k, options: options}
}

func (p *matrixPool) make(fs compliance.FS, n event.NodeID) compliance.Maker {
	return func(cut, now *event.FeedInfo) (compliance.Adapter, error) {
		info := p.kind.Effective(cut, now)
		o := compliance.NewOptions(info.Options)
		a, err := p.kind.New(compliance.Env{Node: n, FS: fs, Dir: adaptertest.Dir}, o)
		return a, errors.Join(err, o.Err())
	}
}

// boot starts a node's feeds on a file system.
func (p *matrixPool) boot(n event.NodeID, fs compliance.FS) (stop func()) {
	f := compliance.NewFeed(compliance.FeedConfig{Name: "m", Make: p.make(fs, n)}, p.w.Node(n), p.w, nil)
	stop = start(p.t, f)
	p.stops = append(p.stops, stop)
	return stop
}

// finish waits until everything is delivered and compares the archive with the log.
func (p *matrixPool) finish(leader event.NodeID) {
	p.t.Helper()
	end := post(p.w, "the last word")
	for range 600 {
		if feedOf(p.w, "m").Receipt >= end {
			break
		}
		time.Sleep(time.Second)
	}
	if fd := feedOf(p.w, "m"); fd.Receipt < end {
		p.t.Fatalf("ten minutes later the feed stands at %d of %d (leader %s): %+v", fd.Receipt, end, leader, fd)
	}
	for _, stop := range p.stops {
		stop()
	}
	adaptertest.AuditFrom(p.t, p.w, p.disk, adaptertest.Dir, "m", 1, func(fs compliance.FS, info *event.FeedInfo) (compliance.Adapter, error) {
		return p.make(fs, "auditor")(info, info)
	})
}

// steps are the points of an undisturbed run.
func steps(t *testing.T, k *compliance.Kind, options []event.FeedOption, size uint64) (out []step) {
	synctest.Test(t, func(t *testing.T) {
		p := newMatrixPool(t, k, options, size)
		seen := map[string]int{}
		p.w.Faults(func(_ event.NodeID, c chat.Command) (before, after error) {
			name := strings.TrimPrefix(fmt.Sprintf("%T", c), "*command.")
			seen[name]++
			out = append(out, step{command: name, n: seen[name], what: fmt.Sprintf("%s %d", name, seen[name])})
			return nil, nil
		})
		p.boot("n1", p.disk)
		p.finish("n1")
		for i, op := range p.disk.Trace() {
			out = append(out, step{n: i + 1, what: fmt.Sprintf("file operation %d, %s", i+1, op)})
		}
	})
	return out
}

// matrixRun is one run: the feed runs on n1 until a step, something goes wrong, the pool recovers.
func matrixRun(t *testing.T, k *compliance.Kind, options []event.FeedOption, size uint64, s step, fault int) {
	p := newMatrixPool(t, k, options, size)
	if s.command != "" {
		n := 0
		p.w.Faults(func(_ event.NodeID, c chat.Command) (before, after error) {
			if strings.TrimPrefix(fmt.Sprintf("%T", c), "*command.") != s.command {
				return nil, nil
			}
			switch n++; {
			case n != s.n:
				return nil, nil
			case fault == noLeader:
				return chat.Refuse(chat.CodeUnavailable, "no leader"), nil
			}
			return nil, chat.Refuse(chat.CodeUnavailable, "answer lost")
		})
		p.boot("n1", p.disk)
		p.finish("n1")
		return
	}
	m := &mortal{Disk: p.disk}
	m.left.Store(-1)
	switch fault {
	case diskFull:
		full := time.Now().Add(time.Hour) // by the bubble's clock, once it has begun
		began := false
		p.disk.OnOp(func(n int, op string) error {
			if n >= s.n && !began {
				began, full = true, time.Now().Add(30*time.Second)
			}
			if began && time.Now().Before(full) && (strings.HasPrefix(op, "write ") || strings.HasPrefix(op, "create ") || strings.HasPrefix(op, "link ") || strings.HasPrefix(op, "mkdir ")) {
				return errors.New("no space left on device")
			}
			return nil
		})
		p.boot("n1", p.disk)
		p.finish("n1")
		return
	case failedSync:
		p.disk.Break(s.n, []adaptertest.Fault{adaptertest.FailBefore, adaptertest.FailAfter}[s.n%2])
		p.boot("n1", p.disk)
		p.finish("n1")
		return
	case staleOwner:
		held, goOn := make(chan struct{}), make(chan struct{})
		done := false
		p.disk.OnOp(func(n int, _ string) error {
			if n == s.n && !done { // only n1 is there yet
				done = true
				close(held)
				<-goOn
			}
			return nil
		})
		p.boot("n1", p.disk)
		<-held
		p.w.Freeze("n1")
		p.w.Must(trusted(&chat.LoseNode{Node: "n1", Incarnation: 2, Reason: "cut off"}))
		p.w.Lead("n3")
		p.boot("n3", p.disk)
		time.Sleep(time.Minute)
		if fd := feedOf(p.w, "m"); fd.Owner != "n3" {
			t.Fatalf("nobody took over: %+v", fd)
		}
		close(goOn) // with a state of long ago
		time.Sleep(10 * time.Second)
		p.w.Thaw("n1")
		p.w.Must(chat.Request{Origin: chat.Origin{By: "node:n1", Node: "n1", Trusted: true}, Command: &chat.StartNode{Version: "test"}})
		p.again("n3")
		return
	}
	// The process dies: everything that it does from there on fails.
	dead := make(chan struct{})
	m.onDeath = func() { close(dead) }
	m.left.Store(int64(s.n))
	stop := p.boot("n1", m)
	<-dead
	stop()
	switch fault {
	case powerLoss:
		p.disk = p.disk.Restart(adaptertest.LoseAll)
	case powerLossName:
		p.disk = p.disk.Restart(adaptertest.LoseBytes)
	case leaderChange:
		p.w.Must(trusted(&chat.LoseNode{Node: "n1", Incarnation: 2, Reason: "dead"}))
		p.w.Lead("n3")
		p.boot("n3", p.disk)
		time.Sleep(time.Minute)
		p.w.Must(chat.Request{Origin: chat.Origin{By: "node:n1", Node: "n1", Trusted: true}, Command: &chat.StartNode{Version: "test"}})
		p.again("n3")
		return
	}
	p.w.Must(chat.Request{Origin: chat.Origin{By: "node:n1", Node: "n1", Trusted: true}, Command: &chat.StartNode{Version: "test"}})
	p.boot("n1", p.disk)
	p.finish("n1")
}

// again gives the feed back to n1, whose new process sweeps what its old one left.
func (p *matrixPool) again(from event.NodeID) {
	for _, stop := range p.stops {
		stop()
	}
	nd, _ := p.w.State().Node(from)
	p.w.Must(trusted(&chat.LoseNode{Node: from, Incarnation: nd.Incarnation, Reason: "test"}))
	p.w.Lead("n1")
	p.boot("n1", p.disk)
	p.finish("n1")
}
