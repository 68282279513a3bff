package event

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// TestSchema decodes every golden with event.proto: no field may be unknown to it, and the goldens of full events must
// set every field that it has. So schema and codec cannot drift apart.
func TestSchema(t *testing.T) {
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{}}
	files, err := c.Compile(t.Context(), "event.proto")
	if err != nil {
		t.Fatal(err)
	}
	s := schema{messages: files[0].Messages()}
	seen := make(map[Kind]bool)
	for name, g := range readGoldens(t) {
		e, envelopes, err := parse(g.data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i, v := range envelopes {
			whole := name == fullName(v.Kind())
			if err := s.checkEvent(e.raw[i], e.bodies[i], e.erased[i], v, whole); err != nil {
				t.Errorf("%s, event %d: %v", name, i, err)
			}
			seen[v.Kind()] = seen[v.Kind()] || whole
		}
		l, n := protowire.ConsumeVarint(g.data[2:])
		if n < 0 {
			t.Fatalf("%s: no header", name)
		}
		if _, err := s.decode("Header", g.data[2+n:2+n+int(l)], name == "posted"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for k := range kinds {
		if !seen[k] {
			t.Errorf("%s: no golden with every field set", k)
		}
	}
}

type schema struct {
	messages protoreflect.MessageDescriptors
}

// checkEvent decodes one stored event, its payload and its body.
func (s *schema) checkEvent(raw, body []byte, erased bool, v Envelope, whole bool) error {
	m, err := s.decode("Event", raw, false)
	if err != nil {
		return err
	}
	if whole && !m.Has(m.Descriptor().Fields().ByName("meta")) {
		return fmt.Errorf("it has no meta")
	}
	if got := m.Get(m.Descriptor().Fields().ByName("kind")).Uint(); got != uint64(v.Kind()) {
		return fmt.Errorf("kind is %d, want %d", got, v.Kind())
	}
	name := reflect.TypeOf(v.Event).Elem().Name()
	payload := m.Get(m.Descriptor().Fields().ByName("payload")).Bytes()
	if _, err := s.decode(name, payload, whole); err != nil {
		return err
	}
	hash := m.Has(m.Descriptor().Fields().ByName("body_hash"))
	if hash != (body != nil) {
		return fmt.Errorf("body hash %v, body %v", hash, body != nil)
	}
	if body == nil || erased {
		return nil
	}
	bodies := map[Kind]string{KindPosted: "PostedBody", KindMessageSearched: "QueryBody", KindMessagesRemoved: "QueryBody", KindUserCreated: "Secret", KindUserChanged: "Secret",
		KindAdminRead: "AdminReadBody", KindMessageImported: "PostedBody"}
	if bodies[v.Kind()] == "" {
		return fmt.Errorf("name the message of the body of %s here and in event.proto", v.Kind())
	}
	_, err = s.decode(bodies[v.Kind()], body, whole)
	return err
}

func (s *schema) decode(name string, b []byte, whole bool) (*dynamicpb.Message, error) {
	d := s.messages.ByName(protoreflect.Name(name))
	if d == nil {
		return nil, fmt.Errorf("event.proto has no message %s", name)
	}
	m := dynamicpb.NewMessage(d)
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, check(m, name, whole)
}

// check looks for unknown fields at every depth and, if whole, for fields that are not set.
func check(m protoreflect.Message, path string, whole bool) error {
	if u := m.GetUnknown(); len(u) > 0 {
		return fmt.Errorf("%s: fields unknown to event.proto: %x", path, []byte(u))
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		at := path + "." + string(f.Name())
		if !m.Has(f) {
			if whole {
				return fmt.Errorf("%s is in event.proto, but not in the golden with every field set", at)
			}
			continue
		}
		if f.Kind() != protoreflect.MessageKind {
			continue
		}
		if !f.IsList() {
			if err := check(m.Get(f).Message(), at, whole); err != nil {
				return err
			}
			continue
		}
		for l, j := m.Get(f).List(), 0; j < l.Len(); j++ {
			if err := check(l.Get(j).Message(), at, whole); err != nil {
				return err
			}
		}
	}
	return nil
}
