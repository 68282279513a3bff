package admin_test

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"parley/webfront/admin"
)

type openAPI struct {
	Paths      map[string]map[string]yaml.Node `yaml:"paths"`
	Components struct {
		Schemas map[string]struct {
			Properties map[string]yaml.Node `yaml:"properties"`
		} `yaml:"schemas"`
		Parameters map[string]yaml.Node `yaml:"parameters"`
		Responses  map[string]yaml.Node `yaml:"responses"`
	} `yaml:"components"`
}

func description(t *testing.T) (*openAPI, string) {
	t.Helper()
	b, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d := new(openAPI)
	if err := yaml.Unmarshal(b, d); err != nil {
		t.Fatal(err)
	}
	return d, string(b)
}

// The description has exactly the routes there are.
func TestDescriptionHasAllRoutes(t *testing.T) {
	d, _ := description(t)
	var described []string
	for path, methods := range d.Paths {
		for m := range methods {
			if m != "parameters" {
				described = append(described, strings.ToUpper(m)+" "+admin.Prefix+path)
			}
		}
	}
	routes := admin.Routes(newFixture(t).api)
	slices.Sort(described)
	slices.Sort(routes)
	if !slices.Equal(described, routes) {
		t.Errorf("described:\n%s\nrouted:\n%s", strings.Join(described, "\n"), strings.Join(routes, "\n"))
	}
}

// The schemas have exactly the fields that are read and written.
func TestDescriptionHasAllFields(t *testing.T) {
	d, text := description(t)
	types := map[string]any{
		"Problem": admin.Problem{}, "NodeStatus": admin.NodeStatus{}, "AddMember": admin.AddMember{}, "ListChange": admin.ListChange{},
		"RoomChange": admin.RoomChange{}, "Room": admin.Room{}, "CategoryChange": admin.CategoryChange{}, "Category": admin.Category{},
		"UserChange": admin.UserChange{}, "User": admin.User{},
	}
	if a, b := slices.Sorted(maps.Keys(types)), slices.Sorted(maps.Keys(d.Components.Schemas)); !slices.Equal(a, b) {
		t.Errorf("schemas %v, types %v", b, a)
	}
	for name, v := range types {
		var fields []string
		for i := range reflect.TypeOf(v).NumField() {
			tag, _, _ := strings.Cut(reflect.TypeOf(v).Field(i).Tag.Get("json"), ",")
			fields = append(fields, tag)
		}
		slices.Sort(fields)
		if described := slices.Sorted(maps.Keys(d.Components.Schemas[name].Properties)); !slices.Equal(fields, described) {
			t.Errorf("%s: described %v, has %v", name, described, fields)
		}
	}
	// Every reference leads somewhere, and nothing is there that no one refers to.
	for kind, names := range map[string][]string{
		"schemas":    slices.Collect(maps.Keys(d.Components.Schemas)),
		"parameters": slices.Collect(maps.Keys(d.Components.Parameters)),
		"responses":  slices.Collect(maps.Keys(d.Components.Responses)),
	} {
		prefix := `"#/components/` + kind + "/"
		for _, rest := range strings.Split(text, prefix)[1:] {
			if name, _, _ := strings.Cut(rest, `"`); !slices.Contains(names, name) {
				t.Errorf("%s%s is not there", prefix, name)
			}
		}
		for _, n := range names {
			if !strings.Contains(text, prefix+n+`"`) {
				t.Errorf("nothing refers to %s%s", prefix, n)
			}
		}
	}
}

// What goes out as JSON has lower snake case names everywhere.
func TestFieldNames(t *testing.T) {
	for _, v := range []any{admin.PoolInfo{}, admin.NodeStatus{}, admin.FeedStatus{}, admin.ProjectionStatus{}, admin.Room{},
		admin.Category{}, admin.User{}, admin.Removed{}, admin.VerifyResult{}, admin.VerifyProgress{}, admin.WhatIf{}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		for name := range m {
			if name != strings.ToLower(name) || strings.ContainsAny(name, "- ") {
				t.Errorf("%T: field %q", v, name)
			}
		}
	}
}
