package archtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "parley"

// pkg is what go list says about a package, and its files.
type pkg struct {
	ImportPath                         string
	Dir                                string
	GoFiles, TestGoFiles, XTestGoFiles []string
	CgoFiles                           []string
	Imports, TestImports, XTestImports []string
	Error                              *struct{ Err string }
	files                              []file
}

// path returns the path below the module.
func (p *pkg) path() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

type file struct {
	name string
	test bool
	src  []byte
}

func load(t *testing.T) []*pkg {
	t.Helper()
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatalf("go list -m: %v", err)
	}
	list := exec.Command("go", "list", "-e",
		"-json=ImportPath,Dir,GoFiles,CgoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports,Error", "./...")
	list.Dir = strings.TrimSpace(string(root))
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []*pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		p := new(pkg)
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Error != nil {
			t.Fatalf("%s: %s", p.ImportPath, p.Error.Err)
		}
		for i, names := range [][]string{p.GoFiles, p.CgoFiles, p.TestGoFiles, p.XTestGoFiles} {
			for _, name := range names {
				src, err := os.ReadFile(filepath.Join(p.Dir, name))
				if err != nil {
					t.Fatal(err)
				}
				p.files = append(p.files, file{name: name, test: i >= 2, src: src})
			}
		}
		all = append(all, p)
	}
	if len(all) < 5 {
		t.Fatalf("go list found %d packages only", len(all))
	}
	return all
}

// TestHouse checks every package of the module.
func TestHouse(t *testing.T) {
	for _, fault := range check(load(t)) {
		t.Error(fault)
	}
}

func check(all []*pkg) (faults []string) {
	byPath := make(map[string]*pkg)
	for _, p := range all {
		byPath[p.path()] = p
	}
	for _, p := range all {
		fault := func(format string, args ...any) { faults = append(faults, p.path()+": "+fmt.Sprintf(format, args...)) }
		r := rowOf(p.path())
		if r == nil {
			fault("has no row in the import table: say what it may import, and what it must never reach")
			continue
		}
		checkImports(p, r, fault)
		checkReach(p, r, byPath, fault)
		checkFiles(p, r, fault)
	}
	return faults
}

// rowOf returns the row of a package, or of the directory it stands in.
func rowOf(at string) *row {
	var found *row
	for i := range table {
		if table[i].pkg == at {
			return &table[i]
		}
		if matches(table[i].pkg, at) {
			found = &table[i]
		}
	}
	return found
}

// matches compares a path with a row's, which may end in "/*".
func matches(pattern, at string) bool {
	dir, ok := strings.CutSuffix(pattern, "/*")
	return pattern == at || ok && path.Dir(at) == dir
}

// within reports whether an import path is a package or below it.
func within(imp, root string) bool { return imp == root || strings.HasPrefix(imp, root+"/") }

func ours(imp string) (string, bool) { return strings.CutPrefix(imp, module+"/") }

func checkImports(p *pkg, r *row, fault func(string, ...any)) {
	for _, imp := range p.Imports {
		if at, ok := ours(imp); ok {
			if !slices.Contains(r.may, at) && !slices.Contains(r.may, "all") {
				fault("imports %s, which its row does not allow", at)
			}
			if users, ok := testOnly[at]; ok && p.path() != at && testOnly[p.path()] == nil &&
				!slices.ContainsFunc(users, func(u string) bool { return matches(u, p.path()) }) {
				fault("imports %s, which is for tests", at)
			}
			continue
		}
		std := !strings.Contains(strings.Split(imp, "/")[0], ".")
		if std {
			if why, ok := impure[imp]; ok && r.pure {
				fault("is pure and imports %s: %s", imp, why)
			}
			continue
		}
		allowed := slices.ContainsFunc(r.libs, func(lib string) bool { return within(imp, lib) })
		if r.pure && !allowed {
			fault("is pure and imports %s, which its row does not allow", imp)
		}
		for lib, why := range guarded {
			if within(imp, lib) && !allowed {
				fault("imports %s: %s", imp, why)
			}
		}
		for _, b := range r.never {
			if strings.Contains(b.what, ".") && within(imp, b.what) {
				fault("imports %s: %s", imp, b.why)
			}
		}
	}
	for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
		if imp == "log" {
			fault("imports log of the standard library: we use slog, and our own log needs no alias")
		}
	}
}

// checkReach follows imports through our packages. Bans name the way, so that the one import to cut is seen.
func checkReach(p *pkg, r *row, byPath map[string]*pkg, fault func(string, ...any)) {
	bans := r.never
	if !within(p.path(), "cmd") {
		bans = append(slices.Clone(bans), noCmd)
	}
	seen := map[string]bool{p.path(): true}
	type step struct{ at, way string }
	for queue := []step{{p.path(), p.path()}}; len(queue) > 0; queue = queue[1:] {
		from := byPath[queue[0].at]
		if from == nil {
			continue
		}
		for _, imp := range from.Imports {
			at, ok := ours(imp)
			if !ok || seen[at] {
				continue
			}
			seen[at] = true
			way := queue[0].way + " → " + at
			queue = append(queue, step{at, way})
			for _, b := range bans {
				if (b.what == "" || within(at, b.what)) && !reachAllowed(r, at) {
					fault("reaches %s: %s", way, b.why)
				}
			}
			if target := rowOf(at); r.pure && (target == nil || !target.pure) {
				fault("is pure and reaches %s, which is not", way)
			}
		}
	}
}

// reachAllowed reports whether a banned directory has a package below it that the row names all the same.
func reachAllowed(r *row, at string) bool { return slices.Contains(r.may, at) }

func checkFiles(p *pkg, r *row, fault func(string, ...any)) {
	if len(p.CgoFiles) > 0 {
		fault("uses cgo: the programs are built without it")
	}
	total := 0
	for _, f := range p.files {
		if !f.test && !ast.IsGenerated(parse(f.name, f.src)) {
			total += sourceLines(f.src)
			if n := strings.Count(string(f.src), "\n"); n > maxFile {
				fault("%s has %d lines, at most %d", f.name, n, maxFile)
			}
		}
		checkSyntax(p, r, f, fault)
	}
	limit := maxPackage
	if r.pure {
		limit = maxPure
	}
	if r.lines > 0 {
		limit = r.lines
	}
	if total > limit {
		fault("has %d source lines, at most %d: it holds more than one idea", total, limit)
	}
}

// parse never fails on what go list could read; a fault would show as an empty file, and in the compiler.
func parse(name string, src []byte) *ast.File {
	f, _ := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments|parser.SkipObjectResolution)
	return f
}

// sourceLines counts the lines that have code on them.
func sourceLines(src []byte) int {
	fset := token.NewFileSet()
	f := fset.AddFile("", fset.Base(), len(src))
	var s scanner.Scanner
	s.Init(f, src, nil, 0)
	lines := make(map[int]bool)
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			return len(lines)
		}
		if tok == token.SEMICOLON && lit == "\n" {
			continue
		}
		first := f.Line(pos)
		for i := range strings.Count(lit, "\n") + 1 {
			lines[first+i] = true
		}
	}
}

func checkSyntax(p *pkg, r *row, f file, fault func(string, ...any)) {
	if f.test {
		return
	}
	tree := parse(f.name, f.src)
	names := make(map[string]string) // local name of an import to its path
	for _, imp := range tree.Imports {
		at, _ := strconv.Unquote(imp.Path.Value)
		name := path.Base(at)
		if imp.Name != nil {
			name = imp.Name.Name
		}
		names[name] = at
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok {
				break
			}
			what := names[x.Name] + "." + n.Sel.Name
			if why, ok := impureCalls[what]; ok && r.pure {
				fault("%s is pure and uses %s: %s", f.name, what, why)
			}
			if strings.HasPrefix(what, "fmt.Print") && !within(p.path(), "cmd") {
				fault("%s uses %s: only cmd talks to people, the rest returns or logs", f.name, what)
			}
		case *ast.CallExpr:
			if x, ok := n.Fun.(*ast.Ident); ok && (x.Name == "println" || x.Name == "print") {
				fault("%s uses %s", f.name, x.Name)
			}
		case *ast.GoStmt:
			if r.pure {
				fault("%s is pure and starts a goroutine", f.name)
			}
		}
		return true
	})
}

// TestChecks: every check can fail, and says which package and why.
func TestChecks(t *testing.T) {
	at := func(name, src string, imports ...string) *pkg {
		return &pkg{ImportPath: module + "/" + name, Imports: imports, files: []file{{name: "x.go", src: []byte("package x\n" + src)}}}
	}
	mod := func(p string) string { return module + "/" + p }
	for name, c := range map[string]struct {
		pkgs []*pkg
		want string // empty: no fault
	}{
		"fine":            {[]*pkg{at("log", "", mod("log/event"), pebble+"/vfs"), at("log/event", "", protobuf+"/encoding/protowire")}, ""},
		"no row":          {[]*pkg{at("extras", "")}, "extras: has no row"},
		"not allowed":     {[]*pkg{at("search", "", mod("projections/history"))}, "search: imports projections/history"},
		"adapters":        {[]*pkg{at("compliance/eml", "", mod("compliance/lyncxml"))}, "compliance/eml: imports compliance/lyncxml"},
		"an adapter":      {[]*pkg{at("compliance/eml", "", mod("compliance"))}, ""},
		"adapter, pebble": {[]*pkg{at("compliance/eml", "", pebble)}, "its output is a pure function"},
		"guarded":         {[]*pkg{at("webfront/admin", "", sipgo+"/sip")}, "SIP stays in the front"},
		"raft-wal":        {[]*pkg{at("search", "", "github.com/hashicorp/raft-wal")}, ""},
		"far away": {[]*pkg{at("raftnode", "", mod("log")), at("log", "", mod("log/event")), at("log/event", "", mod("projections/chat")),
			at("projections/chat", "")}, "raftnode: reaches raftnode → log → log/event → projections/chat: it must not know"},
		"backwards":        {[]*pkg{at("log/event", "", mod("log"))}, "the vocabulary is below everything"},
		"cmd":              {[]*pkg{at("webfront/admin", "", mod("cmd/internal/config"))}, "nothing in the house knows it"},
		"sim in a program": {[]*pkg{at("cmd/parley", "", mod("raftnode/sim"))}, "raftnode/sim, which is for tests"},
		"siptest":          {[]*pkg{at("cmd/parley-bench", "", mod("sipfront/siptest"))}, ""},
		"pure library":     {[]*pkg{at("projections/chat", "", "github.com/google/uuid")}, "is pure and imports github.com/google/uuid"},
		"pure os":          {[]*pkg{at("projections/chat", "", "os")}, "is pure and imports os"},
		"pure reach":       {[]*pkg{at("sipfront/xccos", "", mod("projections/chat")), at("projections/chat", "", mod("log"))}, "is pure and reaches"},
		"clock":            {[]*pkg{at("projections/chat", "import \"time\"\nvar t = time.Now()")}, "uses time.Now: time enters once"},
		"clock by alias":   {[]*pkg{at("log/event", "import clock \"time\"\nvar t = clock.Now()")}, "uses time.Now"},
		"not the clock":    {[]*pkg{at("log/event", "import \"time\"\nvar t = time.Unix(0, 0)")}, ""},
		"goroutine":        {[]*pkg{at("log/event", "func f() { go f() }")}, "starts a goroutine"},
		"std log":          {[]*pkg{at("search", "", "log")}, "we use slog"},
		"print":            {[]*pkg{at("search", "import \"fmt\"\nfunc f() { fmt.Println() }")}, "only cmd talks to people"},
		"print in cmd":     {[]*pkg{at("cmd/parley", "import \"fmt\"\nfunc f() { fmt.Println() }")}, ""},
		"sprint":           {[]*pkg{at("search", "import \"fmt\"\nvar s = fmt.Sprint()")}, ""},
		"println":          {[]*pkg{at("search", "func f() { println() }")}, "uses println"},
		"pure size":        {[]*pkg{at("sipfront/xccos/xmltree", strings.Repeat("var _ = 1\n", maxPure))}, "sipfront/xccos/xmltree: has 1001 source lines"},
		"pure size, full":  {[]*pkg{at("sipfront/xccos/xmltree", strings.Repeat("var _ = 1\n", 600)+strings.Repeat("// a\n\n", 10))}, ""},
		"own size":         {[]*pkg{at("projections/chat", strings.Repeat("var _ = 1\n", 3600))}, "projections/chat: has 3601 source lines"},
		"file size":        {[]*pkg{at("search", strings.Repeat("\n", maxFile))}, "x.go has 701 lines"},
		"size":             {[]*pkg{at("search", strings.Repeat("var _ = 1\n", maxPackage))}, "search: has 3001 source lines"},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(check(c.pkgs), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("faults %q, want %q", got, c.want)
			}
		})
	}
}

func TestSourceLines(t *testing.T) {
	src := "// doc\npackage x\n\n/* a\nb */\nvar s = `one\ntwo\n\nfour` // tail\n\nfunc f() {\n}\n"
	if n := sourceLines([]byte(src)); n != 7 {
		t.Errorf("%d source lines, want 7", n)
	}
}
