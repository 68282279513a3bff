// Package config is the configuration of one node: what can be set, what it means, where values come from, and
// which configurations are refused.
package config

import "time"

// Config is the configuration of one node. The comments of its fields are the manual: `parley config reference`
// prints them. A relative path is relative to the directory of the file it stands in.
type Config struct {
	// Name of this node, unique in the pool: 1 to 63 lower-case letters, digits and "-". It is written into the
	// log and into the node's certificate, and never changes. Required.
	Node string `koanf:"node"`
	// Directory of this node's data: the log, the views, the Raft votes. Nothing else may write into it. It is
	// created at the first start. Required.
	Data string `koanf:"data"`
	// SIP domain of the pool: users are user@domain, rooms are ma-chan://domain/guid. It is fixed when the pool
	// forms.
	Domain string `koanf:"domain"`
	// Address under which clients know the pool, with "sip:". It is fixed when the pool forms. Empty means
	// sip:parley@DOMAIN.
	PoolURI string `koanf:"pool_uri"`
	// Adds the demo directory (users alice, bob, carol, dave and erin with the password "parley", one category
	// and four rooms) once, when the pool forms. For trying out only.
	Demo bool `koanf:"demo"`
	// Least level of what is written to standard error: debug, info, warn or error.
	LogLevel string `koanf:"log_level"`
	// Addresses to listen on.
	Listen Listen `koanf:"listen"`
	// Certificates and the key of this node.
	TLS TLS `koanf:"tls"`
	// The nodes that form the pool, this one included. Read at the first start only: later the pool itself
	// knows who belongs to it (`parley pool add`).
	Peers []Peer `koanf:"peers"`
	// Timers of Raft.
	Raft Raft `koanf:"raft"`
	// The SIP front end.
	SIP SIP `koanf:"sip"`
	// Who may use the admin API.
	Admin Admin `koanf:"admin"`
	// What looks for damage in the background.
	Scrub Scrub `koanf:"scrub"`
	// What looks for messages that their category keeps no longer.
	Retention Retention `koanf:"retention"`
	// File with the key that signs checkpoints of the log, so that files of a feed can be proven to an auditor. The
	// same on every node; `parley pool init` makes it, and the auditor gets the public half, pool.vkey. Readable by the
	// server's user only. It may hold more keys, one a line: the first signs until `parley pool key rotate` says
	// otherwise. It is read whenever something is signed: a new key needs no restart. Empty: this node proves nothing.
	SigningKey string `koanf:"signing_key"`
	// Compliance feeds. Every node has the same list: any of them may own a feed.
	Feeds []Feed `koanf:"feeds"`
	// Programs that feeds with the adapter "external" may run. Every node has the same list.
	Programs []Program `koanf:"programs"`
	// Mail servers that feeds with the adapter "smtp" may send through. Every node has the same list.
	MailServers []MailServer `koanf:"mail_servers"`
}

// Listen holds one address per service, as HOST:PORT. Port 0 takes any free port. Empty switches the service off.
type Listen struct {
	// SIP over TCP and, on the same port, over UDP. Not encrypted.
	SIP string `koanf:"sip"`
	// SIP over TLS 1.2 or later, for clients.
	SIPS string `koanf:"sips"`
	// HTTPS: the admin API, room pages and files.
	HTTPS string `koanf:"https"`
	// Between the nodes of the pool, with mutual TLS. Required.
	Peer string `koanf:"peer"`
	// Plain HTTP for /metrics, /livez, /readyz and pprof. It has no access control, so it must be a loopback
	// address.
	Ops string `koanf:"ops"`
}

// TLS names files in PEM form. They are read again when they change: no restart is needed to renew a certificate.
type TLS struct {
	// Certificate of the pool's own authority: other nodes are believed only with a certificate from it.
	CA string `koanf:"ca"`
	// Certificate of this node, for servers and clients, with the chain if there is one.
	Cert string `koanf:"cert"`
	// Private key of the certificate. Readable by the server's user only.
	Key string `koanf:"key"`
}

// Peer is a node that forms the pool.
type Peer struct {
	// Name of the node.
	ID string `koanf:"id"`
	// Its peer address as the other nodes reach it, HOST:PORT.
	Addr string `koanf:"addr"`
	// Its HTTPS address as the other nodes reach it, HOST:PORT: `parley pool status` asks every node there.
	// Empty: this node's figures are missing from answers of other nodes.
	HTTPS string `koanf:"https"`
	// The node serves, but has no vote. A pool of four is three voters and one standby: a fourth vote would not
	// make it survive a second loss.
	Standby bool `koanf:"standby"`
}

// Raft holds Raft's timers. Only a slow network between the nodes is a reason to change them.
type Raft struct {
	// How long a follower waits for its leader before it asks for votes.
	HeartbeatTimeout time.Duration `koanf:"heartbeat_timeout"`
	// How long a candidate waits for votes before it asks again. At least heartbeat_timeout.
	ElectionTimeout time.Duration `koanf:"election_timeout"`
	// How long a leader that reaches no majority goes on believing it leads. At most heartbeat_timeout.
	LeaderLease time.Duration `koanf:"leader_lease"`
	// How long a leader waits before it tells followers of a commit when it has nothing else to send.
	CommitTimeout time.Duration `koanf:"commit_timeout"`
	// How long a write to the log may hang before this node ends its process, so that another can lead.
	StoreDeadline time.Duration `koanf:"store_deadline"`
	// How long a voter may be silent until its vote is given to a standby that has the log; 0: never. Longer than a
	// restart takes. The voter is a standby when it comes back.
	ReplaceVoterAfter time.Duration `koanf:"replace_voter_after"`
}

// SIP holds the switches and limits of the SIP front end that can be set. Others, such as the size of a message and of
// the queue of a slow connection, are fixed.
type SIP struct {
	// Offers Digest with MD5 beside SHA-256 (RFC 8760), for clients that know nothing better.
	DigestMD5 bool `koanf:"digest_md5"`
	// Lets clients from loopback addresses sign in as any user without a password. For trying out only: refused
	// when a SIP listener is bound to anything but a loopback address.
	LoopbackWithoutChallenge bool `koanf:"loopback_without_challenge"`
	// Most connections at a time.
	MaxConnections int `koanf:"max_connections"`
	// Most connections at a time from one address that have not signed in; loopback is exempt.
	MaxConnectionsPerSource int `koanf:"max_connections_per_source"`
	// Session-Expires (RFC 4028) of a dialog. At least 90 seconds.
	SessionExpires time.Duration `koanf:"session_expires"`
	// How long a node without a leader holds a request before it answers 503.
	LeaderWait time.Duration `koanf:"leader_wait"`
}

// Admin says who may use the admin API.
type Admin struct {
	// The credentials. A request carries the token of one of them.
	Credentials []Credential `koanf:"credentials"`
}

// Credential is an administrator. The token itself is never in a configuration.
type Credential struct {
	// Name of the administrator: the log says admin:NAME.
	Name string `koanf:"name"`
	// SHA-256 of the token in hex.
	SHA256 string `koanf:"sha256"`
	// File that holds the SHA-256 of the token in hex, instead of sha256.
	SHA256File string `koanf:"sha256_file"`
}

// Scrub says how often damage is looked for. 0 switches a check off.
type Scrub struct {
	// How long one pass over the log takes: every event is read again from disk and verified within this time. Damage
	// ends the node. At least 1 minute.
	Every time.Duration `koanf:"every"`
	// How often the state of this node is compared with that of the others at the same event. A node that differs from the
	// majority ends, and does not start again until somebody has looked. At least 1 second.
	CompareEvery time.Duration `koanf:"compare_every"`
}

// Retention says how often the leader looks for messages whose time is over. Which those are, categories say.
type Retention struct {
	// Between two looks at all rooms. A message goes with the first look after the first midnight (UTC) at which it is as old as
	// its category keeps messages. At least 1 second.
	Every time.Duration `koanf:"every"`
}

// Program is a command line that a feed names.
type Program struct {
	// Name that the feed's option program has: 1 to 63 lower-case letters, digits and "-".
	Name string `koanf:"name"`
	// The program, as an absolute path, and its arguments.
	Command []string `koanf:"command"`
}

// MailServer is a mail server that a feed names.
type MailServer struct {
	// Name that the feed's option server has: 1 to 63 lower-case letters, digits and "-".
	Name string `koanf:"name"`
	// Where it listens, HOST:PORT.
	Address string `koanf:"address"`
	// Does without STARTTLS. A password is never sent then.
	NoTLS bool `koanf:"no_tls"`
	// File with the certificates to believe, in PEM form. Empty: the system's.
	CAFile string `koanf:"ca_file"`
	// Name to sign in with. Empty: no authentication.
	User string `koanf:"user"`
	// File that holds the password. Readable by the server's user only.
	PasswordFile string `koanf:"password_file"`
}

// Feed is a compliance feed.
type Feed struct {
	// Name of the feed, unique: 1 to 63 lower-case letters, digits and "-". Its files begin with it.
	Name string `koanf:"name"`
	// What writes the files. There is one: lyncxml, the product's XML.
	Adapter string `koanf:"adapter"`
	// Directory of the files. Nodes that share a disk share the directory: one of them owns the feed at a time.
	Dir string `koanf:"dir"`
	// How often a file is written when something happened. At least 1 second.
	Every time.Duration `koanf:"every"`
}

// Default returns the configuration that holds where neither flag nor environment nor file says otherwise.
func Default() Config {
	return Config{
		Domain:   "contoso.test",
		LogLevel: "info",
		Raft: Raft{
			// Each wait is drawn from one to two times its timeout, and a follower does not vote while it believes in a
			// leader. So a leader's death costs up to two times heartbeat_timeout, and up to four when the node with
			// the longer log wakes first: 2.4 s, which with the clients' way back is the 3 s that are promised.
			HeartbeatTimeout: 600 * time.Millisecond,
			ElectionTimeout:  600 * time.Millisecond,
			LeaderLease:      300 * time.Millisecond,
			CommitTimeout:    5 * time.Millisecond,
			StoreDeadline:    10 * time.Second,

			ReplaceVoterAfter: 30 * time.Second,
		},
		Scrub:     Scrub{Every: 24 * time.Hour, CompareEvery: 10 * time.Minute},
		Retention: Retention{Every: 15 * time.Minute},
		SIP: SIP{
			DigestMD5:               true,
			MaxConnections:          30_000,
			MaxConnectionsPerSource: 64,
			SessionExpires:          30 * time.Minute,
			LeaderWait:              3 * time.Second,
		},
	}
}
