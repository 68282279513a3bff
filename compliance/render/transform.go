package render

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"
	"text/template/parse"
	"unicode/utf8"
)

// Transform turns a document into text of another form: a template of Go's text/template, in which nothing can do what
// would make the output depend on anything but the template and the document, or run without end.
//
//   - What an action prints is escaped for XML and HTML, unless its pipeline ends with xml, csv, json or raw.
//   - There are no functions but those in transformFuncs and the template language's own and, or, not, len, index, slice, eq,
//     ne, lt, le, gt and ge. They, and what an action prints, take texts, numbers and truth values only: a list or an
//     object would show how this program keeps it, and even where.
//   - Every turn of a range, every call of a template and every function is counted, by the size of what it makes too.
type Transform struct{ root *template.Template }

// Limits of a transform.
const (
	MaxTransform   = 64 << 10  // bytes of the template
	MaxSteps       = 5_000_000 // of one document: seconds
	trialSteps     = 20_000    // of a small document
	MaxTransformed = 256 << 20 // bytes of output of one document
	maxMade        = 1 << 20   // bytes of a text that a function makes
	stepBytes      = 256       // of text that count as one step
)

// ErrLimit says that a template takes more steps or writes more than it may.
var ErrLimit = errors.New("the template exceeds its limits")

// stepFunc counts. A template that calls it itself only counts once more.
const stepFunc = "step__"

// endings are the functions after which nothing is escaped.
var endings = map[string]bool{"xml": true, "html": true, "csv": true, "json": true, "raw": true}

// NewTransform parses a template.
func NewTransform(text string) (*Transform, error) {
	switch {
	case len(text) > MaxTransform:
		return nil, fmt.Errorf("template of %d bytes, at most %d", len(text), MaxTransform)
	case !utf8.ValidString(text):
		return nil, errors.New("template is not UTF-8")
	}
	t, err := template.New("template").Funcs(new(running).funcs()).Parse(text)
	if err != nil {
		return nil, err
	}
	if t.Tree == nil || t.Root == nil {
		return nil, errors.New("template is empty")
	}
	for _, one := range t.Templates() {
		if one.Tree == nil || one.Root == nil {
			continue
		}
		guard(one.Tree, one.Root)
		count(one.Tree, one.Root)
	}
	return &Transform{t}, nil
}

// Execute writes what the template makes of a document. ErrLimit, and every error of the template itself, is the same each
// time; other errors are w's and ctx's.
func (t *Transform) Execute(ctx context.Context, w io.Writer, document any, steps int) error {
	c, err := t.root.Clone()
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 64<<10) // a template writes a few bytes at a time
	r := &running{ctx: ctx, steps: steps, w: out, left: MaxTransformed}
	err = c.Funcs(r.funcs()).Execute(r, document)
	if err == nil {
		r.err = out.Flush()
	}
	if r.err != nil { // of w or ctx: it is no mistake of the template, whatever that made of it
		return r.err
	}
	if err != nil {
		return &TemplateError{err}
	}
	return nil
}

// TemplateError is what a template does wrong: the same for the same document, each time.
type TemplateError struct{ Err error }

// Error returns one line.
func (e *TemplateError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *TemplateError) Unwrap() error { return e.Err }

// guard ends every pipeline that prints something with an escape.
func guard(tree *parse.Tree, n parse.Node) {
	walk(n, func(n parse.Node) {
		a, ok := n.(*parse.ActionNode)
		if !ok || len(a.Pipe.Decl) > 0 {
			return
		}
		last := a.Pipe.Cmds[len(a.Pipe.Cmds)-1]
		if id, ok := last.Args[0].(*parse.IdentifierNode); ok && endings[id.Ident] {
			return
		}
		a.Pipe.Cmds = append(a.Pipe.Cmds, command(tree, a.Pos, "xml"))
	})
}

// count puts a step before everything that a template or a turn of a range does.
func count(tree *parse.Tree, root *parse.ListNode) {
	step := func(l *parse.ListNode) {
		pipe := &parse.PipeNode{NodeType: parse.NodePipe, Pos: l.Pos, Cmds: []*parse.CommandNode{command(tree, l.Pos, stepFunc)}}
		l.Nodes = append([]parse.Node{&parse.ActionNode{NodeType: parse.NodeAction, Pos: l.Pos, Pipe: pipe}}, l.Nodes...)
	}
	var lists []*parse.ListNode
	walk(root, func(n parse.Node) {
		if r, ok := n.(*parse.RangeNode); ok {
			lists = append(lists, r.List)
		}
	})
	for _, l := range lists {
		step(l)
	}
	step(root)
}

func command(tree *parse.Tree, pos parse.Pos, name string) *parse.CommandNode {
	id := parse.NewIdentifier(name).SetTree(tree).SetPos(pos)
	return &parse.CommandNode{NodeType: parse.NodeCommand, Pos: pos, Args: []parse.Node{id}}
}

func walk(n parse.Node, visit func(parse.Node)) {
	list := func(l *parse.ListNode) {
		if l != nil {
			for _, n := range l.Nodes {
				walk(n, visit)
			}
		}
	}
	branch := func(b *parse.BranchNode) { list(b.List); list(b.ElseList) }
	visit(n)
	switch n := n.(type) {
	case *parse.ListNode:
		list(n)
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	}
}

// running is one execution: what it may still do.
type running struct {
	ctx   context.Context
	steps int
	w     io.Writer
	left  int   // bytes of output
	err   error // of w or ctx
}

// Write implements io.Writer.
func (r *running) Write(p []byte) (int, error) {
	if r.left -= len(p); r.left < 0 {
		return 0, fmt.Errorf("%w: more than %d bytes of output", ErrLimit, MaxTransformed)
	}
	n, err := r.w.Write(p)
	if err != nil {
		r.err = err
	}
	return n, err
}

func (r *running) step(n int) error {
	if r.steps -= n; r.steps < 0 {
		return fmt.Errorf("%w: too many steps", ErrLimit)
	}
	if r.ctx != nil && r.steps&0xff < n {
		if err := r.ctx.Err(); err != nil {
			r.err = err
			return err
		}
	}
	return nil
}

// made charges for a text that a function made.
func (r *running) made(s string) (string, error) {
	if len(s) > maxMade {
		return "", fmt.Errorf("%w: a text of %d bytes", ErrLimit, len(s))
	}
	return s, r.step(1 + len(s)/stepBytes)
}

// plain refuses values that would not print the same everywhere.
func plain(values ...any) error {
	for _, v := range values {
		switch v.(type) {
		case string, bool, int, int64, uint64, nil:
		default:
			return fmt.Errorf("a %T cannot be printed: take one of its fields", v)
		}
	}
	return nil
}

func text(v any) (string, error) {
	if v == nil {
		return "", nil
	}
	if s, ok := v.(string); ok {
		return s, nil
	}
	return fmt.Sprint(v), plain(v)
}

// funcs are the functions of a template: its own, and those that replace what the language has.
func (r *running) funcs() template.FuncMap {
	// A text grows at most sixfold when it is escaped, and a message is 64,000 bytes at most: maxMade is for what templates
	// put together.
	of := func(f func(string) string) func(any) (string, error) {
		return func(v any) (string, error) {
			s, err := text(v)
			if err != nil {
				return "", err
			}
			return r.made(f(s))
		}
	}
	gone := func(...any) (string, error) { return "", errors.New("a template of a feed has no such function") }
	xml := of(func(s string) string {
		return strings.ReplaceAll(string(AppendXML(nil, s)), "'", "&#39;")
	})
	sprint := func(f func(...any) string) func(...any) (string, error) {
		return func(v ...any) (string, error) {
			if err := plain(v...); err != nil {
				return "", err
			}
			return r.made(f(v...))
		}
	}
	return template.FuncMap{
		stepFunc: func() (string, error) { return "", r.step(1) },
		"xml":    xml,
		"html":   xml,
		"csv":    of(func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }),
		"json": func(v any) (string, error) {
			if err := plain(v); err != nil {
				return "", err
			}
			b, err := json.Marshal(v)
			if err != nil {
				return "", err
			}
			return r.made(string(b))
		},
		"raw":   of(func(s string) string { return s }),
		"lower": of(strings.ToLower),
		"upper": of(strings.ToUpper),
		"trim":  of(strings.TrimSpace),
		"replace": func(old, to, s string) (string, error) {
			if n := len(s) + strings.Count(s, old)*(len(to)-len(old)); n > maxMade {
				return "", fmt.Errorf("%w: a text of %d bytes", ErrLimit, n)
			}
			return r.made(strings.ReplaceAll(s, old, to))
		},
		"contains": func(part, s string) (bool, error) {
			return strings.Contains(s, part), r.step(1 + len(s)/stepBytes)
		},
		"add":     func(a, b int) int { return a + b },
		"print":   sprint(fmt.Sprint),
		"println": sprint(fmt.Sprintln),
		"printf": func(format string, v ...any) (string, error) {
			if err := plain(v...); err != nil {
				return "", err
			}
			// Each verb may ask for a million blanks, and this many of them are no accident.
			if strings.Count(format, "%") > 32 {
				return "", errors.New("printf: more than 32 verbs")
			}
			return r.made(fmt.Sprintf(format, v...))
		},
		"js": gone, "urlquery": gone, "call": gone,
	}
}

// Length returns how many bytes a template makes of a document, having kept none of them.
func (t *Transform) Length(ctx context.Context, document any) (int, error) {
	var n counter
	err := t.Execute(ctx, &n, document, MaxSteps)
	return int(n), err
}

type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// Trial runs a template over a document that is small, within bounds that are small too.
func (t *Transform) Trial(document any) ([]byte, error) {
	var out bytes.Buffer
	err := t.Execute(context.Background(), &out, document, trialSteps)
	return out.Bytes(), err
}
