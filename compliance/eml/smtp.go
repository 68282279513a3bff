package eml

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/mail"
	"net/smtp"
	"os"
	"strings"
	"time"

	"parley/compliance"
	"parley/log/event"
)

// SMTPName is what the adapter that sends is called in a configuration.
const SMTPName = "smtp"

// SMTPConfig says where the messages go.
type SMTPConfig struct {
	Server compliance.MailServer
	To     []string // envelope recipients: the archive's mailboxes
	Format Format
}

// before were options of feeds, and are the node's since: a feed that names a file gets it sent to whom it likes. A log
// may have them. They stay among the targets, so that a feed can be set anew under an open cut.
var before = []string{"starttls", "ca_file", "user", "password_file"}

// SMTPKind describes the adapter. Options: server, the name of one in the node's configuration (mail_servers); to
// (comma-separated); from; msg_type. A replay writes the messages to a directory, as the adapter eml does.
var SMTPKind = compliance.Kind{Name: SMTPName, Targets: append([]string{"server", "to"}, before...),
	New: func(env compliance.Env, o *compliance.Options) (compliance.Adapter, error) {
		name := o.Need("server")
		c := SMTPConfig{To: strings.Split(o.Need("to"), ","), Format: formatOf(o)}
		for _, a := range c.To {
			if p, err := mail.ParseAddress(a); err != nil || p.Address != a {
				o.Fail("option to has %q, want addresses with commas between them", a)
			}
		}
		for _, old := range before {
			if o.Text(old, "") != "" && env.Dir == "" {
				o.Fail("option %s is none of a feed: take it away, and name the server in the nodes' configuration (mail_servers)", old)
			}
		}
		if env.Dir != "" {
			return New(Config{Dir: env.Dir, FS: env.FS, Node: env.Node, Format: c.Format}), o.Err()
		}
		if err := o.Err(); err != nil {
			return nil, err
		}
		if env.MailServer == nil {
			return nil, fmt.Errorf("no mail server %q in this node's configuration", name)
		}
		var err error
		if c.Server, err = env.MailServer(name); err != nil {
			return nil, err
		}
		return NewSMTP(c), nil
	}}

// SMTP is a compliance.Adapter that sends.
type SMTP struct{ cfg SMTPConfig }

// NewSMTP returns the adapter.
func NewSMTP(cfg SMTPConfig) *SMTP { return &SMTP{cfg} }

// Name implements compliance.Adapter.
func (a *SMTP) Name() string { return SMTPName }

// stepTimeout bounds one message, from its first byte to the server's answer. A server that says nothing for longer is
// taken for dead; the cut is sent again.
const stepTimeout = 2 * time.Minute

// Deliver implements compliance.Adapter. It returns a receipt only after the server has taken every message. A crash
// before that, or an answer that is lost, sends the same messages again, with the same Message-IDs. The receipt is that of
// the list that the files of these messages would have.
func (a *SMTP) Deliver(ctx context.Context, cut compliance.Cut, run iter.Seq2[event.Envelope, error]) (compliance.Receipt, error) {
	messages, err := a.cfg.Format.messages(ctx, cut, run)
	if err != nil || len(messages) == 0 {
		return compliance.Receipt{}, err
	}
	if err := a.send(ctx, cut, messages); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return compliance.Receipt{}, fmt.Errorf("send to %s: %w", a.cfg.Server.Address, err)
	}
	var list []byte
	for _, m := range messages {
		list = compliance.Receipt{Name: m.name, SHA256: sha256.Sum256(m.data)}.AppendListed(list)
	}
	return compliance.Receipt{Name: cut.FileName(compliance.ListExt), Bytes: uint64(len(list)), SHA256: sha256.Sum256(list)}, nil
}

func (a *SMTP) send(ctx context.Context, cut compliance.Cut, messages []message) (err error) {
	dial := net.Dialer{Timeout: 30 * time.Second}
	conn, err := dial.DialContext(ctx, "tcp", a.cfg.Server.Address)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it is over either way
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(stepTimeout)); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(a.cfg.Server.Address)
	if err != nil {
		return err
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	if err := a.secure(c, host); err != nil {
		return err
	}
	from := a.cfg.Format.From
	if from == "" {
		from = strings.TrimPrefix(cut.State().PoolURI(), "sip:")
	}
	for _, m := range messages {
		if err := conn.SetDeadline(time.Now().Add(stepTimeout)); err != nil {
			return err
		}
		if err := one(c, from, a.cfg.To, m); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	_ = c.Quit() // everything was taken: a farewell that fails changes nothing
	return nil
}

// secure starts TLS and signs in.
func (a *SMTP) secure(c *smtp.Client, host string) error {
	server := &a.cfg.Server
	if server.NoTLS {
		return nil
	}
	conf := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if server.CAFile != "" {
		pem, err := os.ReadFile(server.CAFile)
		if err != nil {
			return err
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no certificate in PEM form", server.CAFile)
		}
	}
	if err := c.StartTLS(conf); err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	if server.User == "" {
		return nil
	}
	password, err := os.ReadFile(server.PasswordFile)
	if err != nil {
		return err
	}
	return c.Auth(smtp.PlainAuth("", server.User, strings.TrimRight(string(password), "\r\n"), host))
}

func one(c *smtp.Client, from string, to []string, m message) error {
	if err := c.Mail(from); err != nil {
		return err
	}
	for _, r := range to {
		if err := c.Rcpt(r); err != nil {
			return fmt.Errorf("recipient %s: %w", r, err)
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(m.data); err != nil {
		return err
	}
	return w.Close() // waits for the server's 250: only now is the message its own
}
