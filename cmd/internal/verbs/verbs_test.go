package verbs

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

type schema struct {
	Type       string
	Format     string
	Ref        string `yaml:"$ref"`
	Items      *schema
	AllOf      []schema `yaml:"allOf"`
	Properties map[string]*schema
	Enum       []string
}

// document is what the tests want of the API's.
type document struct {
	Paths map[string]map[string]struct {
		Right      string `yaml:"x-right"`
		Parameters []struct {
			Name   string
			In     string
			Schema schema
		}
		RequestBody struct {
			Content map[string]struct{ Schema schema }
		} `yaml:"requestBody"`
	}
	Components struct{ Schemas map[string]*schema }
}

func api(t *testing.T) *document {
	t.Helper()
	b, err := os.ReadFile("../../../webfront/admin/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d := new(document)
	if err := yaml.Unmarshal(b, d); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *document) resolve(s schema) *schema {
	if s.Ref == "" && len(s.AllOf) == 1 {
		s = s.AllOf[0]
	}
	if s.Ref == "" {
		return &s
	}
	return d.Components.Schemas[s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]]
}

var inPath = regexp.MustCompile(`\{\w+\}`)

// elsewhere are the routes that the table does not have, with the verb that uses them.
var elsewhere = map[string]string{
	"get /openapi.yaml": "none: it describes the others", "get /node": "pool status; and nodes ask each other", "get /status": "pool status",
	"post /members": "pool add", "delete /members/{}": "pool remove", "post /members/{}/promote": "pool promote", "post /leader": "pool transfer",
	"get /feeds": "feed list", "get /projections": "projection list", "get /log/events": "log dump and tail", "get /log/verify": "log verify",
	"get /feeds/{}": "feed status", "put /feeds/{}": "feed set", "delete /feeds/{}": "feed rm", "post /feeds/{}/pause": "feed pause",
	"post /feeds/{}/resume": "feed resume", "get /feeds/{}/replay": "feed replay", "get /node/feeds": "none: nodes ask each other",
	"get /feeds/{}/proof": "feed prove", "get /log/records": "feed prove", "get /checkpoint": "log checkpoint", "get /log/state": "log state",
	"get /node/keys": "none: nodes ask each other", "get /keys": "pool key list", "post /keys": "pool key rotate",
	"get /node/digest": "none: nodes ask each other",
	"get /data/export": "data export", "post /data/import": "data import", "post /directory/import": "user, group and ou import", "post /admin-tokens": "admin token new",
}

// Every verb is a route of the API with the right that it says, and its options are parameters and fields of that route,
// of the same kind. Every route, parameter and field has a verb.
func TestVerbsAreTheAPI(t *testing.T) {
	d := api(t)
	type use struct{ params, fields map[string]bool }
	used := map[string]*use{}
	routeOf := map[string]string{} // path without names: method and path of the description
	for path, methods := range d.Paths {
		for m := range methods {
			routeOf[m+" "+inPath.ReplaceAllString(path, "{}")] = path
		}
	}
	check := func(v *Verb, route string) {
		path, ok := routeOf[route]
		if !ok {
			t.Errorf("%s: there is no route %s", v.Words, route)
			return
		}
		method, _, _ := strings.Cut(route, " ")
		op := d.Paths[path][method]
		if op.Right != string(v.Right) {
			t.Errorf("%s: right %q, the API says %q", v.Words, v.Right, op.Right)
		}
		u := used[route]
		if u == nil {
			u = &use{map[string]bool{}, map[string]bool{}}
			used[route] = u
		}
		body := &schema{}
		if c, ok := op.RequestBody.Content["application/json"]; ok {
			body = d.resolve(c.Schema)
		}
		field := func(name string) *schema {
			u.fields[name] = true
			if body.Properties[name] == nil {
				t.Errorf("%s: the body of %s has no field %q", v.Words, route, name)
				return &schema{}
			}
			return d.resolve(*body.Properties[name])
		}
		if v.ArgKey != "" {
			field(v.ArgKey)
		}
		for i := range v.Options {
			o := &v.Options[i]
			if strings.HasSuffix(route, "/{}") && v.Arg == OneOrAll && !o.Both {
				continue // it narrows the list
			}
			var s *schema
			if o.Query {
				for _, p := range op.Parameters {
					if p.In == "query" && p.Name == o.Key() {
						s = &p.Schema
					}
				}
				if s == nil {
					t.Errorf("%s --%s: %s has no parameter %q", v.Words, o.Name, route, o.Key())
					continue
				}
				u.params[o.Key()] = true
			} else {
				s = field(o.Key())
			}
			want := map[Kind]string{Text: "string", Words: "array", Flag: "boolean", Switch: "boolean", Number: "integer", List: "object", Time: "string", Password: "string"}[o.Kind]
			if s.Type != want || o.Kind == List && s.Properties["remove"] == nil {
				t.Errorf("%s --%s: takes %s, %s has %s", v.Words, o.Name, want, route, s.Type)
			}
			if s.Enum != nil && !slices.Equal(s.Enum, o.Values) {
				t.Errorf("%s --%s: one of %v, %s has %v", v.Words, o.Name, o.Values, route, s.Enum)
			}
		}
	}
	for _, v := range All() {
		route := strings.ToLower(v.Method) + " " + v.Path
		check(&v, route)
		if _, ok := routeOf[route+"/{}"]; ok && v.Arg == OneOrAll {
			check(&v, route+"/{}")
		}
	}
	for route, path := range routeOf {
		method, _, _ := strings.Cut(route, " ")
		u := used[route]
		if (u == nil) != (elsewhere[route] != "") {
			t.Errorf("%s: used by a verb of the table: %v; elsewhere: %q", route, u != nil, elsewhere[route])
		}
		if u == nil {
			continue
		}
		for _, p := range d.Paths[path][method].Parameters {
			if p.In == "query" && p.Name != "what_if" && !u.params[p.Name] {
				t.Errorf("%s: no verb gives the parameter %s", route, p.Name)
			}
		}
		if c, ok := d.Paths[path][method].RequestBody.Content["application/json"]; ok {
			for name := range d.resolve(c.Schema).Properties {
				// What is new has no revision, and what has an identity keeps it.
				if !u.fields[name] && (name != "revision" || method != "post") && (name != "identity" && name != "user" || method != "patch") {
					t.Errorf("%s: no verb gives the field %s", route, name)
				}
			}
		}
	}
	for route := range elsewhere {
		if _, ok := routeOf[route]; !ok {
			t.Errorf("elsewhere: there is no route %s", route)
		}
	}
}

// The table is complete in itself.
func TestTable(t *testing.T) {
	name := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	groups := map[string]bool{"pool": true}
	for _, g := range Groups() {
		groups[g.Words] = true
	}
	seen := map[string]bool{}
	for _, v := range All() {
		if seen[v.Words] || v.Short == "" || strings.HasSuffix(v.Short, ".") {
			t.Errorf("%s: twice, or without a line of help", v.Words)
		}
		seen[v.Words] = true
		if strings.Contains(v.Words, " ") && !groups[v.Object()] {
			t.Errorf("%s: belongs to no group", v.Words)
		}
		if slices.Contains([]string{"rm", "clear", "purge"}, v.Name()) != (v.Question != "") {
			t.Errorf("%s: asks %q", v.Words, v.Question)
		}
		if strings.Contains(v.Path, "{}") && v.Arg != One {
			t.Errorf("%s: the path has an argument, the verb has none", v.Words)
		}
		flags := map[string]bool{v.ArgFlag: true, "what-if": true, "request-id": true, "json": true}
		for _, o := range v.Options {
			for _, f := range o.Flags() {
				if flags[f] || !name.MatchString(f) {
					t.Errorf("%s --%s: twice, or not a word", v.Words, f)
				}
				flags[f] = true
			}
			if o.Help == "" && o.Name != "force" || o.Kind == List && o.Value == "" || o.Kind == Text && o.Value == "" {
				t.Errorf("%s --%s: no help", v.Words, o.Name)
			}
		}
		for _, g := range v.OneOf {
			for _, f := range g {
				if !flags[f] {
					t.Errorf("%s: no option --%s", v.Words, f)
				}
			}
		}
	}
}
