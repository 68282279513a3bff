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
	"path/filepath"
	"strings"
	"time"

	"parley/compliance"
	"parley/log/event"
)

// SMTPName is what the adapter that sends is called in a configuration.
const SMTPName = "smtp"

// SMTPConfig says where the messages go.
type SMTPConfig struct {
	Server       string   // HOST:PORT
	To           []string // envelope recipients: the archive's mailboxes
	NoTLS        bool     // do without STARTTLS; a password is never sent then
	CAFile       string   // certificates to believe, in PEM form; empty: the system's
	User         string   // empty: no authentication
	PasswordFile string   // on every node
	Format       Format
}

// SMTPKind describes the adapter. Options: server; to (comma-separated); starttls (required, the default, or off); ca_file;
// user; password_file; from; msg_type. A replay writes the messages to a directory, as the adapter eml does.
var SMTPKind = compliance.Kind{Name: SMTPName, Targets: []string{"server", "to", "starttls", "ca_file", "user", "password_file"},
	New: func(env compliance.Env, o *compliance.Options) (compliance.Adapter, error) {
		c := SMTPConfig{Server: o.Need("server"), To: strings.Split(o.Need("to"), ","), CAFile: o.Text("ca_file", ""),
			User: o.Text("user", ""), PasswordFile: o.Text("password_file", ""), Format: formatOf(o)}
		tlsMode := o.Text("starttls", "required")
		if c.NoTLS = tlsMode == "off"; !c.NoTLS && tlsMode != "required" {
			o.Fail("option starttls is %q, want required or off", tlsMode)
		}
		if _, port, err := net.SplitHostPort(c.Server); err != nil || port == "" {
			o.Fail("option server is %q, want HOST:PORT", c.Server)
		}
		for _, a := range c.To {
			if p, err := mail.ParseAddress(a); err != nil || p.Address != a {
				o.Fail("option to has %q, want addresses with commas between them", a)
			}
		}
		if (c.User == "") != (c.PasswordFile == "") || c.User != "" && c.NoTLS {
			o.Fail("options user and password_file go together, and only with TLS")
		}
		for _, f := range []string{c.CAFile, c.PasswordFile} {
			if f != "" && !filepath.IsAbs(f) {
				o.Fail("%q is not an absolute path", f)
			}
		}
		if env.Dir != "" {
			return New(Config{Dir: env.Dir, FS: env.FS, Node: env.Node, Format: c.Format}), o.Err()
		}
		return NewSMTP(c), o.Err()
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
		return compliance.Receipt{}, fmt.Errorf("send to %s: %w", a.cfg.Server, err)
	}
	var list []byte
	for _, m := range messages {
		list = compliance.Receipt{Name: m.name, SHA256: sha256.Sum256(m.data)}.AppendListed(list)
	}
	return compliance.Receipt{Name: cut.FileName(compliance.ListExt), Bytes: uint64(len(list)), SHA256: sha256.Sum256(list)}, nil
}

func (a *SMTP) send(ctx context.Context, cut compliance.Cut, messages []message) (err error) {
	dial := net.Dialer{Timeout: 30 * time.Second}
	conn, err := dial.DialContext(ctx, "tcp", a.cfg.Server)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it is over either way
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(stepTimeout)); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(a.cfg.Server)
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
	if a.cfg.NoTLS {
		return nil
	}
	conf := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if a.cfg.CAFile != "" {
		pem, err := os.ReadFile(a.cfg.CAFile)
		if err != nil {
			return err
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no certificate in PEM form", a.cfg.CAFile)
		}
	}
	if err := c.StartTLS(conf); err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	if a.cfg.User == "" {
		return nil
	}
	password, err := os.ReadFile(a.cfg.PasswordFile)
	if err != nil {
		return err
	}
	return c.Auth(smtp.PlainAuth("", a.cfg.User, strings.TrimRight(string(password), "\r\n"), host))
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
