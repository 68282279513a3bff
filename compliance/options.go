package compliance

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"parley/log/event"
)

// Kind is a kind of adapter: what a feed's configuration can name.
type Kind struct {
	Name string
	// Targets are the options that say where the output goes, and not what it is. A cut that is open when they change is
	// delivered to the new place; all others stay for a cut as they were when it was made.
	Targets []string
	// New makes an adapter. It touches no target, so it also serves to check options before they are set.
	New func(Env, *Options) (Adapter, error)
}

// Env is what an adapter gets from the node that it runs on.
type Env struct {
	Node event.NodeID
	// FS is where files go; nil: the operating system's. Dir, if it is not empty, is where they go instead of what the options
	// say: a replay.
	FS  FS
	Dir string
	// Check says that the adapter is made only to check a configuration, before it is set: what is not wrong but would not
	// work is then an error as well.
	Check bool
	// Program returns the command line of a program that the node's configuration has under a name.
	Program func(name string) ([]string, error)
	// MailServer returns a mail server that the node's configuration has under a name.
	MailServer func(name string) (MailServer, error)
}

// MailServer is where mail is sent through, and how. It is the node's and not the feed's: with a file and a server of his
// choice in one configuration, whoever sets a feed would have any file of every node sent to him as the password.
type MailServer struct {
	Address      string // HOST:PORT
	NoTLS        bool   // do without STARTTLS; a password is never sent then
	CAFile       string // certificates to believe, in PEM form; empty: the system's
	User         string // empty: no authentication
	PasswordFile string
}

// Options reads a feed's options. It remembers the first mistake, and which options nobody asked for.
type Options struct {
	left     map[string]string
	template string
	err      error
}

// NewOptions returns a reader of options.
func NewOptions(list []event.FeedOption) *Options {
	o := &Options{left: make(map[string]string, len(list))}
	for _, v := range list {
		o.left[v.Name] = v.Value
	}
	return o
}

// OptionsOf returns a reader of a feed's configuration: its options, and its template.
func OptionsOf(i *event.FeedInfo) *Options {
	o := NewOptions(i.Options)
	o.template = i.Template
	return o
}

// Template returns the template, empty if there is none. An adapter that takes none leaves it unread, which is an error.
func (o *Options) Template() string {
	t := o.template
	o.template = ""
	return t
}

// Text returns an option, or what holds without it.
func (o *Options) Text(name, otherwise string) string {
	v, ok := o.left[name]
	if !ok {
		return otherwise
	}
	delete(o.left, name)
	return v
}

// Need returns an option that there must be.
func (o *Options) Need(name string) string {
	v := o.Text(name, "")
	if v == "" {
		o.Fail("option %s is needed", name)
	}
	return v
}

// Bool returns an option that is true or false; false without it.
func (o *Options) Bool(name string) bool {
	v := o.Text(name, "false")
	if v != "true" && v != "false" {
		o.Fail("option %s is %q, want true or false", name, v)
	}
	return v == "true"
}

// Dir returns the directory of an archive: env's, or else the option dir, which must be absolute, because a relative one
// would mean another place on every node.
func (o *Options) Dir(env Env) string {
	dir := o.Text("dir", "")
	if env.Dir != "" {
		return env.Dir
	}
	switch {
	case dir == "":
		o.Fail("option dir is needed")
	case !filepath.IsAbs(dir):
		o.Fail("option dir is %q, want an absolute path", dir)
	}
	return dir
}

// Fail records a mistake.
func (o *Options) Fail(format string, args ...any) {
	if o.err == nil {
		o.err = fmt.Errorf(format, args...)
	}
}

// Err returns the first mistake. An option that was not read is one.
func (o *Options) Err() error {
	if o.err == nil && o.template != "" {
		return errors.New("this adapter takes no template")
	}
	if o.err == nil && len(o.left) > 0 {
		return fmt.Errorf("there is no option %s", strings.Join(slices.Sorted(maps.Keys(o.left)), ", "))
	}
	return o.err
}

// Effective returns the configuration under which a cut is delivered: what it was cut under, with the targets that hold
// now.
func (k *Kind) Effective(cut, now *event.FeedInfo) event.FeedInfo {
	if cut.Adapter == "" || cut.Adapter != now.Adapter {
		return *cut
	}
	out := *cut
	out.Options = slices.DeleteFunc(slices.Clone(cut.Options), func(o event.FeedOption) bool { return slices.Contains(k.Targets, o.Name) })
	for _, o := range now.Options {
		if slices.Contains(k.Targets, o.Name) {
			out.Options = append(out.Options, o)
		}
	}
	slices.SortFunc(out.Options, func(a, b event.FeedOption) int { return strings.Compare(a.Name, b.Name) })
	return out
}
