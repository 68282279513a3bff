package admin_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"parley/projections/chat/roles"
	"parley/webfront/admin"
	"parley/webfront/objects"
)

var update = flag.Bool("update", false, "write openapi.yaml again")

const description = `Administration of a pool, on every node's HTTPS port. The parley command line uses nothing else. Any node takes any
request. Lists are JSON arrays; errors are problem details (RFC 9457) with a code, and where they apply the rule that was
broken and the principal that it is about.

A change that is sent again with the same Idempotency-Key takes effect once, on any node, for at least 24 hours.
what_if=true answers what a change would write, and writes nothing. A change is answered when every node that lives shows
it; nodes that did not in time are named in the header Parley-Unconfirmed, and follow when they can.

x-right is what a caller must be allowed to do, and x-roles who is. Routes with x-recorded write an event that says who
read what, before anything is read.
`

// schemas collects the schemas of Go types.
type schemas map[string]any

func (s schemas) of(t reflect.Type) any {
	switch t {
	case reflect.TypeFor[objects.Who]():
		return map[string]any{"oneOf": []any{map[string]any{"type": "string"}, s.of(reflect.TypeFor[objects.WhoObject]())}}
	case reflect.TypeFor[json.RawMessage]():
		return map[string]any{"type": "object"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Int, reflect.Int64, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer"}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
	default:
		panic(fmt.Sprintf("what is a %s?", t))
	}
	if s[t.Name()] == nil {
		properties := map[string]any{}
		s[t.Name()] = map[string]any{"type": "object", "properties": properties}
		s.fields(t, properties)
	}
	return map[string]any{"$ref": "#/components/schemas/" + t.Name()}
}

func (s schemas) fields(t reflect.Type, properties map[string]any) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			s.fields(f.Type, properties)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		p := s.of(f.Type)
		if doc := f.Tag.Get("doc"); doc != "" {
			if m := p.(map[string]any); m["$ref"] != nil {
				p = map[string]any{"allOf": []any{m}, "description": doc}
			} else {
				m["description"] = doc
			}
		}
		properties[name] = p
	}
}

var pathParam = regexp.MustCompile(`\{(\w+)\}`)

// document is the description that the table of routes comes to.
func document(routes []admin.Route) map[string]any {
	s := schemas{}
	problem := map[string]any{"description": "refused or failed; 503 means try again",
		"content": map[string]any{"application/problem+json": map[string]any{"schema": s.of(reflect.TypeFor[admin.Problem]())}}}
	paths := map[string]map[string]any{}
	for _, r := range routes {
		op := map[string]any{"summary": r.Summary}
		if r.Right != "" {
			var who []string
			for _, role := range roles.For(r.Right) {
				who = append(who, string(role))
			}
			op["x-right"], op["x-roles"] = string(r.Right), who
		}
		if r.Recorded {
			op["x-recorded"] = true
		}
		if r.Nodes {
			op["x-nodes"] = "other nodes may ask with their certificate"
		}
		var params []any
		for _, m := range pathParam.FindAllStringSubmatch(r.Path, -1) {
			params = append(params, map[string]any{"name": m[1], "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
		}
		for _, p := range r.Params {
			schema := map[string]any{"type": "string"}
			switch {
			case p.Kind == "date-time":
				schema["format"] = p.Kind
			case p.Kind != "":
				schema["type"] = p.Kind
			}
			if p.Values != nil {
				schema["enum"] = p.Values
			}
			if p.Many {
				schema = map[string]any{"type": "array", "items": schema}
			}
			q := map[string]any{"name": p.Name, "in": "query", "schema": schema}
			if p.Doc != "" {
				q["description"] = p.Doc
			}
			params = append(params, q)
		}
		if r.Method != "GET" && !r.Leader {
			params = append(params, map[string]any{"$ref": "#/components/parameters/IdempotencyKey"})
		}
		if params != nil {
			op["parameters"] = params
		}
		if r.In != nil {
			op["requestBody"] = map[string]any{"required": true, "content": map[string]any{"application/json": map[string]any{"schema": s.of(reflect.TypeOf(r.In))}}}
		}
		done, kind := map[string]any{"description": "done"}, "application/json"
		if r.Lines {
			kind, done["description"] = "application/x-ndjson", "one JSON object per line"
		}
		switch {
		case r.Out != nil:
			done["content"] = map[string]any{kind: map[string]any{"schema": s.of(reflect.TypeOf(r.Out))}}
		case r.Lines:
			done["content"] = map[string]any{kind: map[string]any{}}
		}
		responses := map[string]any{fmt.Sprint(r.Status): done, "default": map[string]any{"$ref": "#/components/responses/Problem"}}
		if r.Leader {
			responses["307"] = map[string]any{"description": "only the leader can; ask at Location"}
		}
		op["responses"] = responses
		if paths[r.Path] == nil {
			paths[r.Path] = map[string]any{}
		}
		paths[r.Path][strings.ToLower(r.Method)] = op
	}
	return map[string]any{
		"openapi":  "3.1.0",
		"info":     map[string]any{"title": "parley admin API", "version": "1", "description": description},
		"servers":  []any{map[string]any{"url": admin.Prefix}},
		"security": []any{map[string]any{"token": []any{}}},
		"paths":    paths,
		"components": map[string]any{
			"securitySchemes": map[string]any{"token": map[string]any{"type": "http", "scheme": "bearer"}},
			"parameters": map[string]any{"IdempotencyKey": map[string]any{"name": admin.KeyHeader, "in": "header",
				"description": "makes the request the same one when it is sent again; at most 255 bytes", "schema": map[string]any{"type": "string", "maxLength": 255}}},
			"responses": map[string]any{"Problem": problem},
			"schemas":   map[string]any(s),
		},
	}
}

// The description that is served has every route, parameter and field, as the code has them.
func TestDescriptionIsCurrent(t *testing.T) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(document(admin.Routes(newFixture(t).api))); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("openapi.yaml", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, b.Bytes()) {
		t.Error("openapi.yaml is not what the routes come to; write it again: go test ./webfront/admin -run TestDescriptionIsCurrent -update")
	}
}

// Names are lower snake case, what goes in is read strictly, and every route says what it is.
func TestRoutesAreDescribed(t *testing.T) {
	name := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	seen := map[string]bool{}
	var fields func(t reflect.Type)
	check := t
	fields = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || seen[t.String()] || t == reflect.TypeFor[objects.Who]() {
			return
		}
		seen[t.String()] = true
		for i := range t.NumField() {
			f := t.Field(i)
			if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); !f.Anonymous && !name.MatchString(tag) {
				check.Errorf("%s.%s: JSON name %q", t, f.Name, tag)
			}
			fields(f.Type)
		}
	}
	for _, r := range admin.Routes(newFixture(t).api) {
		if r.Summary == "" || (r.Out == nil && !r.Lines && r.Path != "/openapi.yaml") || (r.Method == "GET") != (r.In == nil && r.Method == "GET") {
			t.Errorf("%s %s: not described", r.Method, r.Path)
		}
		for _, v := range []any{r.In, r.Out} {
			if v != nil {
				fields(reflect.TypeOf(v))
			}
		}
		for _, p := range r.Params {
			if !name.MatchString(p.Name) {
				t.Errorf("%s %s: parameter %q", r.Method, r.Path, p.Name)
			}
		}
	}
}
