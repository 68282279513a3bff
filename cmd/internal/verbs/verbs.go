// Package verbs is the one table of what administrators do from the command line: every object of the pool with its
// fields, lists, filters, ranges and words, and which of the product's cmdlets each verb stands for. Commands, help, shell
// completion, manual pages and docs/admin.md come from it. It is data; who runs it is the program.
package verbs

import (
	"net/http"
	"strings"

	"parley/projections/chat/roles"
)

// Kind is what an option takes.
type Kind int

// The kinds.
const (
	Text     Kind = iota
	Words         // several texts, separated by commas or given again
	Flag          // true or false; alone it is true
	Switch        // no value
	Number        // Min to Max
	List          // a list of principals or names that changes: --X-add, --X-remove, --X-set
	Time          // RFC 3339, or a date with or without a time, in UTC
	Password      // --X and --X-file
)

// Option is an option of a verb.
type Option struct {
	Name     string // kebab case, the word of the product's parameter
	Kind     Kind
	Value    string // placeholder of what it takes; of a List what is in it
	Help     string
	Field    string   // in the request, if it is not Name in snake case
	Default  string   // of the product, for the help
	Values   []string // it takes nothing else, in any case
	Min, Max uint64   // of a Number; Max 0: no bound that is known here
	Required bool
	Query    bool // a parameter of the request, not a field of its body
	Inverse  bool // of a Switch: sends false
	Both     bool // of get: also when one object is named
}

// Key returns its name in the request.
func (o *Option) Key() string {
	if o.Field != "" {
		return o.Field
	}
	return strings.ReplaceAll(o.Name, "-", "_")
}

// Flags returns the names of its options on the command line.
func (o *Option) Flags() []string {
	switch o.Kind {
	case List:
		return []string{o.Name + "-add", o.Name + "-remove", o.Name + "-set"}
	case Password:
		return []string{o.Name, o.Name + "-file"}
	}
	return []string{o.Name}
}

// Argument says what a verb takes besides options.
type Argument int

// What verbs take.
const (
	Nothing  Argument = iota
	One               // an object that is there
	OneOrAll          // the same, or all of them
	Fresh             // the name of a new one
	Several           // objects, at least one
)

// Verb is what can be done with an object.
type Verb struct {
	Words   string // "room new"
	Arg     Argument
	ArgWord string // placeholder of the argument
	ArgFlag string // option that does instead of the argument: identity, name
	ArgKey  string // of a Fresh or Several argument: the field that it goes into
	ArgElse string // what a missing One means; empty: it must be there
	ArgFind string // what finds one, for the help

	Short string
	Long  string // more, for the manual

	Method, Path string // the route; {} stands for the argument
	Right        roles.Action

	Options  []Option
	OneOf    [][]string // of each group exactly one option must be there
	Columns  []Column   // of a list; none: field by field
	Question string     // asked before something is lost; %s is the argument
	Lines    bool       // the answer is a stream of objects
	Done     string     // what is said afterwards, with {field} of the answer; empty: the answer is shown
}

// Changes reports whether the verb changes something.
func (v *Verb) Changes() bool { return v.Method != http.MethodGet }

// Object returns the first words of the verb: "admin token" of "admin token new".
func (v *Verb) Object() string {
	return v.Words[:strings.LastIndexByte(v.Words, ' ')]
}

// Name returns its last word.
func (v *Verb) Name() string { return v.Words[strings.LastIndexByte(v.Words, ' ')+1:] }

// Use returns the verb with its argument, as usage lines have it.
func (v *Verb) Use() string {
	switch {
	case v.Arg == Nothing:
		return v.Name()
	case v.Arg == OneOrAll || v.ArgElse != "":
		return v.Name() + " [" + v.ArgWord + "]"
	case v.Arg == Several:
		return v.Name() + " " + v.ArgWord + "..."
	}
	return v.Name() + " " + v.ArgWord
}

// Column is a column of a list.
//
// A list is shown by how many it has; with "[]" after its key by what it has.
type Column struct{ Head, Key string }

// object is a kind of object; its four verbs are made from it.
type object struct {
	word, noun    string // "ou", "organisational unit"
	arg           string // placeholder
	find          string // what finds one, for the help
	path          string // of the API
	nameKey       string // field with the name of a new one
	nameFlag      string // option that does instead of the argument of new
	read          roles.Action
	create        roles.Action // of new, set and rm, if the next are empty
	change        roles.Action
	remove        roles.Action
	fields        []Option // of new and set
	onNew, onSet  []Option
	onGet         []Option
	makes, alters string // short help; empty: no such verb
	shows, drops  string
	long          map[string]string // more help by verb
	question      string
	columns       []Column
	dropForce     bool   // rm tells the API about --force
	setElse       string // what set without an argument means
	gone          string // Done of rm, if it is not the common one
}

// verbs makes the verbs of an object.
func (o object) verbs() []Verb {
	if o.find == "" {
		o.find = "scope"
	}
	or := func(a, b roles.Action) roles.Action {
		if a != "" {
			return a
		}
		return b
	}
	var out []Verb
	add := func(v Verb) {
		v.Words = o.word + " " + v.Words
		v.Long, v.ArgFind = o.long[v.Name()], o.find
		out = append(out, v)
	}
	if o.makes != "" {
		add(Verb{Words: "new", Arg: Fresh, ArgWord: o.arg, ArgFlag: o.nameFlag, ArgKey: o.nameKey, Short: o.makes, Method: http.MethodPost, Path: o.path,
			Right: o.create, Options: concat(o.onNew, o.fields, []Option{poolOption})})
	}
	add(Verb{Words: "get", Arg: OneOrAll, ArgWord: o.arg, ArgFlag: "identity", Short: o.shows, Method: http.MethodGet, Path: o.path, Right: o.read,
		Options: concat(o.onGet, []Option{resultSize, both(poolOption)}), Columns: o.columns})
	if o.alters != "" {
		add(Verb{Words: "set", Arg: One, ArgWord: o.arg, ArgFlag: "identity", ArgElse: o.setElse, Short: o.alters, Method: http.MethodPatch, Path: o.path + "/{}",
			Right: or(o.change, o.create), Options: concat(o.onSet, o.fields, []Option{revision})})
	}
	if o.drops != "" {
		v := Verb{Words: "rm", Arg: One, ArgWord: o.arg, ArgFlag: "identity", Short: o.drops, Method: http.MethodDelete, Path: o.path + "/{}",
			Right: or(o.remove, o.create), Question: o.question, Done: o.noun + " {removed} is removed (event {offset})"}
		if o.gone != "" {
			v.Done = o.gone
		}
		if o.dropForce {
			v.Options = []Option{{Name: "force", Kind: Switch, Query: true}}
		}
		add(v)
	}
	return out
}

func concat(lists ...[]Option) (out []Option) {
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

// both makes an option of a list one of single objects too.
func both(o Option) Option {
	o.Both = true
	return o
}
