package pooldir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pool")
	now := time.Now()
	p, err := Init(dir, Options{Nodes: 4, Domain: "example.test", BasePort: 20000, Demo: true}, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"ca.key", "admin.token", "n1/key.pem", "n4/key.pem"} {
		if st, err := os.Stat(filepath.Join(dir, f)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, st.Mode(), err)
		}
	}
	if len(p.Nodes) != 4 {
		t.Fatalf("%d nodes", len(p.Nodes))
	}
	for i, n := range p.Nodes {
		c, err := n.Load(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Check(now); err != nil {
			t.Errorf("%s: %v", n.ID, err)
		}
		base := 20000 + 10*(i+1)
		got := fmt.Sprint(c.Node, c.Listen, c.Data, c.Domain, c.PoolURI, c.Demo, c.SIP.LoopbackWithoutChallenge)
		want := fmt.Sprintf("n%d{127.0.0.1:%d 127.0.0.1:%d 127.0.0.1:%d 127.0.0.1:%d 127.0.0.1:%d}%s/n%d/data%s%s%v %v", i+1, base, base+1,
			base+2, base+3, base+4, dir, i+1, " example.test ", "sip:parley@example.test ", true, true)
		if strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if len(c.Peers) != 4 || c.Peers[2].Standby || !c.Peers[3].Standby || c.Peers[0].Addr != "127.0.0.1:20013" || c.Peers[0].HTTPS != "127.0.0.1:20012" {
			t.Errorf("peers: %+v", c.Peers)
		}
		if len(c.Feeds) != 1 || c.Feeds[0].Adapter != "lyncxml" || c.Feeds[0].Dir != filepath.Join(dir, "compliance") || c.Feeds[0].Every != 5*time.Second {
			t.Errorf("feeds: %+v", c.Feeds)
		}
	}
	if b, err := p.BasePort(); err != nil || b != 20000 {
		t.Errorf("base port %d, %v", b, err)
	}
	if _, err := Init(dir, Options{Nodes: 1, Domain: "example.test", BasePort: 20000}, now); !errors.Is(err, ErrExists) {
		t.Errorf("over a pool: %v", err)
	}
	// The directory can be moved: nothing in it knows where it is.
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	if p, err = Open(moved); err != nil {
		t.Fatal(err)
	}
	if c, err := p.Nodes[1].Load(nil); err != nil || c.Check(now) != nil || c.Data != filepath.Join(moved, "n2/data") {
		t.Errorf("moved: %v %s", err, c.Data)
	}
}

// Without --demo nobody gets in without a password, and nothing is made up.
func TestInitIsClosed(t *testing.T) {
	p, err := Init(filepath.Join(t.TempDir(), "pool"), Options{Nodes: 1, Domain: "example.test", BasePort: 20000}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Nodes[0].Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.SIP.LoopbackWithoutChallenge || c.Demo || len(c.Feeds) != 0 {
		t.Errorf("%+v", c)
	}
}

func TestInitRefuses(t *testing.T) {
	for name, o := range map[string]Options{
		"no nodes":      {Nodes: 0, Domain: "a.test", BasePort: 20000},
		"nine nodes":    {Nodes: 9, Domain: "a.test", BasePort: 20000},
		"no domain":     {Nodes: 1, BasePort: 20000},
		"bad domain":    {Nodes: 1, Domain: "a.test\"\nx: y", BasePort: 20000},
		"ports too big": {Nodes: 4, Domain: "a.test", BasePort: 65500},
		"port zero":     {Nodes: 1, Domain: "a.test"},
	} {
		dir := filepath.Join(t.TempDir(), "pool")
		if _, err := Init(dir, o, time.Now()); err == nil {
			t.Errorf("%s was taken", name)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: something was written", name)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(dir, Options{Nodes: 1, Domain: "a.test", BasePort: 20000}, time.Now()); err == nil || !strings.Contains(err.Error(), "thesis.txt") {
		t.Errorf("among other files: %v", err)
	}
}

// An Init that broke off is finished by the next one, also with fewer nodes; data without a CA is never overwritten.
func TestInitAfterACrash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pool")
	o := Options{Nodes: 3, Domain: "a.test", BasePort: 20000}
	if _, err := Init(dir, o, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, CAFile)); err != nil { // the last file is not there yet
		t.Fatal(err)
	}
	if _, err := Open(dir); !errors.Is(err, ErrNoPool) {
		t.Errorf("half a pool opens: %v", err)
	}
	o.Nodes = 2
	p, err := Init(dir, o, time.Now())
	if err != nil || len(p.Nodes) != 2 {
		t.Fatalf("%v %v", p, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "n1", "data", "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, CAFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(dir, o, time.Now()); err == nil {
		t.Error("a node's data was taken for nothing")
	}
}

// Four voters survive one loss, as three do.
func TestVoters(t *testing.T) {
	for n, want := range map[int]int{1: 1, 2: 2, 3: 3, 4: 3, 5: 5, 6: 5, 7: 5, 8: 5} {
		if got := Voters(n); got != want {
			t.Errorf("%d nodes: %d voters, want %d", n, got, want)
		}
	}
}

func TestAddNode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pool")
	p, err := Init(dir, Options{Nodes: 3, Domain: "a.test", BasePort: 20000}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	n, addr, err := p.AddNode("n5", time.Now())
	if err != nil || addr != "127.0.0.1:20053" {
		t.Fatal(n, addr, err)
	}
	c, err := n.Load(nil)
	if err != nil || len(c.Peers) != 0 || c.Listen.Peer != addr || len(c.Admin.Credentials) != 1 {
		t.Errorf("%+v %v", c, err)
	}
	if err := c.Check(time.Now()); err != nil {
		t.Error(err)
	}
	if _, again, err := p.AddNode("n5", time.Now()); !errors.Is(err, ErrExists) || again != addr {
		t.Errorf("again: %s %v", again, err)
	}
	for _, id := range []string{"x", "n0", "n9", "n01", ""} {
		if _, _, err := p.AddNode(id, time.Now()); err == nil {
			t.Errorf("%q was added", id)
		}
	}
	ids := func() (out string) {
		p, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range p.Nodes {
			out += n.ID
		}
		return out
	}
	if ids() != "n1n2n3n5" {
		t.Error(ids())
	}
	if err := p.MarkRemoved("n5"); err != nil || ids() != "n1n2n3" {
		t.Error(ids(), err)
	}
	if err := p.MarkRemoved("../n5"); err != nil {
		t.Error(err)
	}
	if _, _, err := p.AddNode("n5", time.Now()); !errors.Is(err, ErrExists) || ids() != "n1n2n3n5" {
		t.Error("a node that comes back:", ids(), err)
	}
}
