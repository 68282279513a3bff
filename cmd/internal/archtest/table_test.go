package archtest

// row says what a package may import. Paths are below the module; "all" is every package of ours.
type row struct {
	pkg   string   // "x/*" stands for the packages directly below x that have no row of their own
	may   []string // ours, directly
	libs  []string // guarded libraries (see guarded), or any library in the case of a pure package; directly
	pure  bool
	lines int // its own limit of source lines, with a decision page; 0: the common one
	never []ban
}

// ban is something that a package must not reach. A path of ours, with all below it, counts however far away it is
// imported; a library counts in direct imports.
type ban struct{ what, why string }

// Libraries that only their owners touch.
const (
	pebble   = "github.com/cockroachdb/pebble/v2"
	raft     = "github.com/hashicorp/raft"
	raftBolt = "github.com/hashicorp/raft-boltdb/v2"
	bbolt    = "go.etcd.io/bbolt"
	sipgo    = "github.com/emiago/sipgo"
	bleve    = "github.com/blevesearch/bleve/v2"
	protobuf = "google.golang.org/protobuf"
	s2       = "github.com/klauspost/compress/s2"
	btree    = "github.com/tidwall/btree"
	note     = "golang.org/x/mod/sumdb/note"
)

// guarded maps a library to why it has owners.
var guarded = map[string]string{
	pebble:   "the row layouts belong to the log and the projections store; everybody else reads through them",
	raft:     "only raftnode orders events; the log outlives the library",
	raftBolt: "only raftnode keeps term and vote",
	bbolt:    "only raftnode keeps term and vote, only search looks into its index",
	sipgo:    "SIP stays in the front: nobody behind it knows how a client is connected",
	bleve:    "only search knows its index",
}

var (
	noRaft  = ban{"raftnode", "a reader of the log must not know how it was ordered"}
	noSIP   = ban{"sipfront", "data flows from the front to the log and back through readers, never through a call into the front"}
	noChat  = ban{"projections/chat", "it must not know what a room is: it carries opaque bytes"}
	noWeb   = ban{"webfront", "the web pages are an outermost reader"}
	noCmd   = ban{"cmd", "cmd wires the house; nothing in the house knows it"}
	noViews = ban{"projections", "the log comes first: everything else is derived from it"}
)

// testOnly are packages that no program contains; their importers are tests or, for siptest, the tools that play a user.
var testOnly = map[string][]string{
	"log/logtest":                 nil,
	"projections/projectionstest": nil,
	"raftnode/sim":                nil,
	"compliance/adaptertest":      nil,
	"webfront/admin/admintest":    nil,
	"cmd/internal/freeport":       nil,
	"sipfront/siptest":            {"cmd/parley", "cmd/parley-bench", "cmd/internal/*"},
}

// table says what may import what. docs/architecture.md says what each package is for.
var table = []row{
	{pkg: "log/wire", pure: true, libs: []string{protobuf},
		never: []ban{{"", "it knows how bytes stand and not what they mean: all of ours may import it"}}},
	{pkg: "log/event", pure: true, lines: 2000, may: []string{"log/wire"}, libs: []string{protobuf, s2},
		never: []ban{{"", "the vocabulary is below everything: all of ours may import it"}}},
	{pkg: "log", may: []string{"log/event", "log/compaction", "log/readonly"}, libs: []string{pebble},
		never: []ban{noViews, {"raftnode", "the log knows records by index and nothing else of Raft, so that it outlives it"}, noSIP, noWeb}},
	{pkg: "log/compaction", libs: []string{pebble}, never: []ban{noViews, noRaft, noSIP, noWeb}},
	{pkg: "log/readonly", libs: []string{pebble}, never: []ban{noViews, noRaft, noSIP, noWeb}},
	{pkg: "log/scrub", may: []string{"log", "log/event"}, never: []ban{noViews, noRaft, noSIP, noWeb}},
	{pkg: "log/eraser", may: []string{"log", "log/event"}, never: []ban{noViews, noRaft, noSIP, noWeb}},
	{pkg: "log/logtest", may: []string{"log", "log/event"}, libs: []string{pebble}, never: []ban{noViews, noRaft, noSIP}},

	{pkg: "projections", may: []string{"log", "log/event", "log/wire"}, libs: []string{pebble},
		never: []ban{noRaft, noSIP, {"search", "an index is one projection of many"}, noWeb}},
	{pkg: "projections/projectionstest", may: []string{"projections", "projections/chat", "log", "log/event"}, libs: []string{pebble},
		never: []ban{noRaft, noSIP, noWeb}},
	{pkg: "projections/chat", pure: true, lines: 3500, libs: []string{btree},
		may: []string{"log/event", "log/wire", "projections/chat/table", "projections/chat/directory", "projections/chat/directory/plan", "projections/chat/directory/bulk",
			"projections/chat/policy", "projections/chat/feeds", "projections/chat/holds", "projections/chat/keys", "projections/chat/roles", "projections/chat/registry", "projections/chat/invites", "projections/chat/memory", "projections/chat/messages", "projections/chat/command", "projections/chat/form"}},
	{pkg: "projections/chat/command", pure: true, may: []string{"log/event", "log/wire", "projections/chat/roles", "projections/chat/directory/bulk"},
		never: []ban{{"projections/chat/invites", "a wish knows no state"}, {"projections/chat/policy", "a wish knows no state"}}},
	{pkg: "projections/chat/*", pure: true, libs: []string{btree}, // none may know the rules: they know it
		may: []string{"log/event", "log/wire", "projections/chat/table", "projections/chat/roles", "projections/chat/command", "projections/chat/form", "projections/chat/policy"}},
	{pkg: "projections/chat/keys", pure: true, libs: []string{note},
		may: []string{"log/event", "log/wire", "projections/chat/table", "projections/chat/command", "projections/chat/form"}},
	{pkg: "projections/chat/directory/*", pure: true,
		may:   []string{"log/event", "log/wire", "projections/chat/table", "projections/chat/directory", "projections/chat/directory/dn", "projections/chat/directory/plan"},
		never: []ban{{"projections/chat", "the rules ask it; it does not know the rules"}}},
	{pkg: "projections/history", may: []string{"projections", "log", "log/event", "log/wire"},
		never: []ban{noRaft, noSIP, {"search", "history is text in room order; searching is another projection"}, noWeb}},
	{pkg: "projections/merkle", may: []string{"projections", "log/event"},
		never: []ban{noRaft, noSIP, {bleve, "it is a projection over rows"}, {"compliance", "proofs are made from the tree, not the other way round"}}},
	{pkg: "projections/snapshots", may: []string{"projections/chat", "log/event"},
		never: []ban{noRaft, noSIP, {"compliance", "who needs a state of the past asks for it"}, noWeb}},
	{pkg: "projections/state", may: []string{"projections", "projections/chat", "log", "log/event"},
		never: []ban{noRaft, noSIP, {"search", "the state of rooms does not depend on an index"}, noWeb}},

	{pkg: "raftnode", may: []string{"log", "log/event"}, libs: []string{raft, raftBolt, bbolt}, never: []ban{noChat, noSIP, noWeb, noViews}},
	{pkg: "raftnode/sequencer", may: []string{"log/event"},
		never: []ban{noChat, noSIP, {raft, "it proposes through an interface, so that it is tested without a pool"}}},
	{pkg: "raftnode/router", may: []string{"log/event"}, never: []ban{noChat, noSIP}},
	{pkg: "raftnode/submit", may: []string{"raftnode", "raftnode/router", "raftnode/sequencer", "projections/chat", "log/event", "log/wire"}, never: []ban{noSIP, noWeb}},
	{pkg: "raftnode/sim", may: []string{"all"}, libs: []string{pebble, raft, raftBolt, bbolt}},

	{pkg: "sipfront/xccos/xmltree", pure: true},
	{pkg: "sipfront/xccos/xmlcode", pure: true, may: []string{"sipfront/xccos/xmltree"}},
	{pkg: "sipfront/xccos/content", pure: true, may: []string{"log/event"}},
	{pkg: "sipfront/xccos", pure: true, may: []string{"sipfront/xccos/xmltree", "sipfront/xccos/xmlcode", "projections/chat", "log/event"}},
	{pkg: "sipfront/flow", libs: []string{sipgo}, never: []ban{{"projections", "a flow carries messages and does not know what they say"}, noRaft, noWeb}},
	{pkg: "sipfront/udp", may: []string{"sipfront/flow"},
		never: []ban{{"projections", "a flow carries messages and does not know what they say"}, noRaft, noWeb}},
	{pkg: "sipfront/digest", may: []string{"log/event"}, never: []ban{{"sipfront/flow", "whether a password is right does not depend on how it came"}, noRaft, noWeb}},
	{pkg: "sipfront/presence", pure: true, may: []string{"projections/chat", "log/event"}},
	{pkg: "sipfront/blocks", may: []string{"sipfront/xccos", "sipfront/xccos/content", "projections/chat", "projections/chat/invites", "projections/history", "log/event"},
		never: []ban{{"sipfront/flow", "what a user is shown does not depend on how he is connected"}, noRaft, noWeb}},
	{pkg: "sipfront/commands", may: []string{"sipfront/blocks", "sipfront/xccos", "sipfront/xccos/content", "projections/chat", "projections/chat/match", "projections/history", "log/event"},
		never: []ban{{"sipfront/flow", "what a command is answered does not depend on how it came"}, {"search", "the pool finds rooms and messages; a command only asks"}, noRaft, noWeb}},
	{pkg: "sipfront/notices", may: []string{"sipfront/blocks", "sipfront/xccos", "projections/chat", "projections/chat/invites", "log/event"},
		never: []ban{{"sipfront/flow", "who is told what does not depend on how he is connected"}, noRaft, noWeb}},
	{pkg: "sipfront", may: []string{"sipfront/blocks", "sipfront/commands", "sipfront/notices", "sipfront/xccos", "sipfront/flow", "sipfront/udp", "sipfront/digest", "sipfront/presence", "projections", "projections/chat", "projections/chat/policy", "projections/history", "projections/state", "log/event"},
		libs:  []string{sipgo},
		never: []ban{noRaft, {"search", "the backend finds rooms; the front only asks"}, {"compliance", "archiving reads the log, not the wire"}, noWeb}},
	{pkg: "sipfront/siptest", may: []string{"sipfront/xccos", "log/event"}, libs: []string{sipgo},
		never: []ban{{"sipfront/flow", "a judge that shares code with the server shares its mistakes"}, noRaft, noWeb}},
	{pkg: "sipfront/realclient", never: []ban{{"", "the judge from outside knows the program, the client and nothing of ours"}}},

	{pkg: "search", may: []string{"projections", "log", "log/event", "log/wire"}, libs: []string{bleve, bbolt}, never: []ban{noRaft, noSIP, noWeb}},

	{pkg: "compliance", may: []string{"projections", "projections/chat", "projections/chat/feeds", "log", "log/event"},
		never: []ban{noRaft, noSIP, {"compliance/lyncxml", "a feed knows adapters by their interface; cmd chooses one"}, noWeb}},
	{pkg: "compliance/adaptertest", may: []string{"compliance", "projections/chat", "log/event"}, never: []ban{noRaft, noSIP}},
	{pkg: "compliance/proof", may: []string{"log/event"}, never: []ban{noRaft, noSIP, noViews}},
	{pkg: "compliance/retention", may: []string{"projections/chat", "projections/chat/holds", "projections/history", "log/event"},
		never: []ban{noRaft, noSIP, noWeb, {"compliance/render", "what goes does not depend on how it was archived"}}},
	{pkg: "compliance/proof/witness", may: []string{"compliance/proof"}, never: []ban{noRaft, noSIP, noViews}},
	{pkg: "compliance/render", may: []string{"compliance", "log/event"}, never: []ban{noRaft, noSIP, noWeb}},
	{pkg: "compliance/*", may: []string{"compliance", "compliance/render", "log/event"},
		never: []ban{noRaft, noSIP, noWeb, {pebble, "its output is a pure function of what the feed hands it"}}},

	{pkg: "webfront/*", may: []string{"log/wire", "webfront/answer", "webfront/dump", "webfront/signing", "webfront/replay", "webfront/archive", "webfront/objects", "projections", "projections/chat", "projections/chat/directory", "projections/chat/directory/bulk", "projections/chat/policy", "projections/chat/roles", "projections/chat/registry", "projections/chat/match", "projections/chat/command", "projections/chat/holds", "projections/history", "projections/state", "compliance/retention", "search", "log/event"},
		never: []ban{noRaft, noSIP, {pebble, "pages read projections, not rows"}}},
	{pkg: "webfront/admin/admintest", may: []string{"webfront/admin", "log", "log/event", "projections", "projections/chat", "projections/history"}, libs: []string{pebble},
		never: []ban{noRaft, noSIP}},

	{pkg: "cmd/parley", may: []string{"all"}},
	{pkg: "cmd/parley-bench", may: []string{"all"}, libs: []string{pebble, raft, raftBolt, bbolt, sipgo, bleve}},
	{pkg: "cmd/parley-verify", may: []string{"log/event", "log/wire", "compliance/proof", "compliance/proof/witness"},
		never: []ban{{"log", "the auditor reads this program in an hour: it has no server code in it"}, noRaft, noSIP, noViews, noWeb}},
	{pkg: "cmd/internal/server", may: []string{"all"}},
	{pkg: "cmd/internal/archtest"},
	{pkg: "cmd/internal/*", may: []string{"all"}, never: []ban{{"cmd/internal/server", "only the program assembles nodes"}}},
}

// Limits in source lines, blank lines and comments not counted, and in lines of a file. docs/decisions/0005 says why
// two packages have their own.
const (
	maxPackage = 3000
	maxPure    = 1000
	maxFile    = 700
)

// impure maps packages of the standard library to why a pure package must not import them.
var impure = map[string]string{
	"os": "the environment differs from node to node", "os/exec": "", "os/signal": "", "os/user": "", "path/filepath": "paths differ from node to node",
	"io/fs": "", "io/ioutil": "", "embed": "", "syscall": "", "runtime": "", "runtime/debug": "", "plugin": "", "unsafe": "",
	"net": "", "net/http": "", "net/netip": "", "net/url": "", "net/rpc": "", "net/mail": "", "net/textproto": "", "crypto/tls": "",
	"math/rand": "random draws are made before propose and stand in the event", "math/rand/v2": "the same", "crypto/rand": "the same",
	"log/slog": "a rule that logs has a side effect", "expvar": "", "testing": "", "context": "a decision is not cancelled half way",
	"sync": "one goroutine owns a state", "sync/atomic": "one goroutine owns a state",
}

// impureCalls maps functions of otherwise harmless packages to why.
var impureCalls = map[string]string{
	"time.Now": "time enters once, in the sequencer", "time.Since": "the same", "time.Until": "the same", "time.Sleep": "", "time.After": "",
	"time.AfterFunc": "", "time.NewTimer": "", "time.NewTicker": "", "time.Tick": "", "time.Local": "the zone differs from node to node",
	"time.LoadLocation": "the zone table differs from node to node",
}
