package command

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"parley/log/event"
	"parley/log/wire"
	"parley/projections/chat/roles"
)

// Every command survives the journey between nodes.
func TestRequestsTravel(t *testing.T) {
	var fill func(v reflect.Value, n *int)
	fill = func(v reflect.Value, n *int) {
		*n++
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				fill(v.Field(i), n)
			}
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			for i := range 2 {
				fill(v.Index(i), n)
			}
		case reflect.Array:
			for i := range v.Len() {
				fill(v.Index(i), n)
			}
		case reflect.String:
			v.SetString(fmt.Sprint("text ", *n))
		case reflect.Bool:
			v.SetBool(true)
		default:
			if v.CanInt() {
				v.SetInt(int64(*n%100 + 1))
			} else {
				v.SetUint(uint64(*n%100 + 1))
			}
		}
	}
	for number, make := range commands {
		r := Request{Command: make()}
		n := 0
		fill(reflect.ValueOf(&r.Origin).Elem(), &n)
		fill(reflect.ValueOf(r.Command).Elem(), &n)
		var got Request
		if err := wire.Unmarshal(wire.Marshal(&r), &got); err != nil {
			t.Fatalf("command %d: %v", number, err)
		}
		if !reflect.DeepEqual(got, r) || r.Command.number() != number {
			t.Errorf("command %d: sent %+v, arrived %+v", number, r.Command, got.Command)
		}
	}
	reply := Reply{Outcome: Outcome{Offset: 1, At: 2}}
	n := 0
	fill(reflect.ValueOf(&reply.Outcome).Elem(), &n)
	var got Reply
	if err := wire.Unmarshal(wire.Marshal(&reply), &got); err != nil || !reflect.DeepEqual(got, reply) {
		t.Errorf("sent %+v, arrived %+v, %v", reply, got, err)
	}
}

// The class of a refusal survives the journey between nodes.
func TestRefusalsTravel(t *testing.T) {
	for code, class := range classes {
		var got Reply
		if err := wire.Unmarshal(wire.Marshal(&Reply{Refusal: Refuse(code, "x")}), &got); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(got.Refusal, class) {
			t.Errorf("%s arrives as %v", code, got.Refusal)
		}
	}
}

// Every command has a right, and every right a command; nobody gives one without it, and a denial names the role.
func TestEveryCommandHasARight(t *testing.T) {
	for number := range rights {
		if commands[number] == nil {
			t.Errorf("right %d is of no command", number)
		}
	}
	for number, make := range commands {
		right, declared := rights[number]
		if !declared || !right.Admin.Known() {
			t.Errorf("command %d (%T) has no right: declare one in right.go", number, make())
			continue
		}
		user := Request{Origin: Origin{By: "sip:bob@x"}, Command: make()}
		if err := user.Entitled(); (err == nil) != right.Users {
			t.Errorf("%T by a user: %v", make(), err)
		} else if err != nil {
			denied(t, make(), err, "sip:bob@x")
		}
		for _, r := range roles.All() {
			set, err := roles.Of(string(r))
			if err != nil {
				t.Fatal(err)
			}
			admin := Request{Origin: Origin{By: "admin:bob", Trusted: true, Roles: set}, Command: make()}
			err = admin.Entitled()
			if (err == nil) != set.May(right.Admin) {
				t.Errorf("%T by an %s: %v", make(), r, err)
			}
			if err == nil {
				continue
			}
			denied(t, make(), err, "admin:bob")
			for _, may := range roles.For(right.Admin) {
				if !strings.Contains(err.Error(), string(may)) {
					t.Errorf("%T: %q does not name the role %s", make(), err, may)
				}
			}
		}
		pool := Request{Origin: Origin{By: "node:n1", Trusted: true}, Command: make()}
		if err := pool.Entitled(); err != nil {
			t.Errorf("%T by the pool itself: %v", make(), err)
		}
	}
}

func denied(t *testing.T, c Command, err error, who event.Principal) {
	t.Helper()
	var f *Refusal
	if !errors.As(err, &f) || f.Code != CodeForbidden || f.Rule == "" || f.Principal != who {
		t.Errorf("%T: denied with %+v", c, err)
	}
}
