package config

import (
	_ "embed" // the manual is the source of Config
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"reflect"
	"strings"
)

//go:embed config.go
var source string

// fieldDocs returns the comment of each key, as one line, from the source of Config. It panics when the embedded
// source does not parse, which the compiler rules out.
func fieldDocs() map[string]string {
	f, err := parser.ParseFile(token.NewFileSet(), "config.go", source, parser.ParseComments)
	if err != nil {
		panic(err)
	}
	byType := map[string]map[string]string{}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range g.Specs {
			ts, ok := s.(*ast.TypeSpec)
			if !ok {
				continue
			}
			st, ok := ts.Type.(*ast.StructType)
			if !ok {
				continue
			}
			fields := map[string]string{}
			for _, fl := range st.Fields.List {
				for _, n := range fl.Names {
					fields[n.Name] = strings.Join(strings.Fields(fl.Doc.Text()), " ")
				}
			}
			byType[ts.Name.Name] = fields
		}
	}
	out := map[string]string{}
	var visit func(t reflect.Type, prefix string)
	visit = func(t reflect.Type, prefix string) {
		for i := range t.NumField() {
			fl := t.Field(i)
			key := prefix + fl.Tag.Get("koanf")
			out[key] = byType[t.Name()][fl.Name]
			switch {
			case fl.Type.Kind() == reflect.Struct:
				visit(fl.Type, key+".")
			case fl.Type.Kind() == reflect.Slice && fl.Type.Elem().Kind() == reflect.Struct:
				visit(fl.Type.Elem(), key+"[].")
			}
		}
	}
	visit(reflect.TypeFor[Config](), "")
	return out
}

// Entry describes one key.
type Entry struct {
	Key     string `json:"key"`
	Type    string `json:"type"`
	Default string `json:"default"`
	Env     string `json:"env,omitempty"`  // empty: parts of a list are set in the file only
	Flag    string `json:"flag,omitempty"` // of serve
	Doc     string `json:"doc"`
}

// Reference returns the manual, in the order of the fields.
func Reference() []Entry {
	docs := fieldDocs()
	def := reflect.ValueOf(Default())
	values := map[string]string{}
	var fill func(v reflect.Value, prefix string)
	fill = func(v reflect.Value, prefix string) {
		for i := range v.NumField() {
			key := prefix + v.Type().Field(i).Tag.Get("koanf")
			if v.Field(i).Kind() == reflect.Struct {
				fill(v.Field(i), key+".")
			} else if v.Field(i).Kind() != reflect.Slice {
				values[key] = fmt.Sprint(v.Field(i).Interface())
			}
		}
	}
	fill(def, "")
	settable := map[string]bool{}
	for _, key := range scalarKeys() {
		settable[key] = true
	}
	var out []Entry
	walk(def.Type(), "", func(key string, f reflect.StructField) {
		e := Entry{Key: key, Type: typeName(f.Type), Default: values[key], Doc: docs[key]}
		if settable[key] {
			e.Env, e.Flag = EnvName(key), "--"+flagName(key)
		}
		out = append(out, e)
	})
	return out
}

func typeName(t reflect.Type) string {
	switch {
	case t.String() == "time.Duration":
		return "duration"
	case t.Kind() == reflect.Struct:
		return "section"
	case t.Kind() == reflect.Slice:
		return "list"
	default:
		return t.Kind().String()
	}
}

// WriteReference prints the manual for people.
func WriteReference(w io.Writer) error {
	for _, e := range Reference() {
		head := e.Key + "  (" + e.Type
		if e.Default != "" {
			head += ", default " + e.Default
		}
		head += ")"
		if _, err := fmt.Fprintf(w, "%s\n%s", head, wrap(e.Doc, 100)); err != nil {
			return err
		}
		if e.Env != "" {
			if _, err := fmt.Fprintf(w, "    %s, %s\n", e.Env, e.Flag); err != nil {
				return err
			}
		}
	}
	return nil
}

func wrap(text string, width int) string {
	var b strings.Builder
	line := "   "
	for _, w := range strings.Fields(text) {
		if len(line)+1+len(w) > width {
			b.WriteString(line + "\n")
			line = "   "
		}
		line += " " + w
	}
	return b.String() + line + "\n"
}
