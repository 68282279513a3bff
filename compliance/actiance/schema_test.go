package actiance_test

import (
	"os"
	"strings"
	"testing"

	"parley/compliance/adaptertest"
)

// What is written is in the published vocabulary, says a validator that nobody here wrote, and other documents are not.
func TestSchema(t *testing.T) {
	text, err := os.ReadFile("filedump.xsd")
	if err != nil {
		t.Fatal(err)
	}
	s := adaptertest.NewSchema(t, text)
	files := adaptertest.Scenes(t, adapter)
	whole := ""
	for name, doc := range files {
		if ok, says := s.Valid(t, doc); !ok {
			t.Errorf("%s: %s", name, says)
		}
		if len(doc) > len(whole) {
			whole = doc
		}
	}
	for name, c := range map[string][2]string{
		"another root":      {"FileDump", "Dump"},
		"another element":   {"ParticipantEntered>", "ParticipantCame>"},
		"an element more":   {"<Content>", "<Mood>good</Mood><Content>"},
		"no login name":     {"<LoginName>alice@contoso.test<", "<LoginName><"}, // as the product's sample transform
		"no perspective":    {" Perspective=", " View="},
		"another order":     {"<RoomID>", "<EndTimeUTC>0</EndTimeUTC><RoomID>"},
		"no number":         {"<StartTimeUTC>", "<StartTimeUTC>x"},
		"no truth value":    {"<InternalFlag>true<", "<InternalFlag>yes<"},
		"no status":         {"<Status>Completed</Status>", ""},
		"no file name":      {"<FileName>", "<Name>"},
		"an attribute more": {"<Message>", `<Message type="x">`},
	} {
		bad := strings.ReplaceAll(strings.ReplaceAll(whole, c[0], c[1]), "</FileName>", "</"+map[bool]string{true: "Name", false: "FileName"}[name == "no file name"]+">")
		if bad == whole {
			t.Errorf("%s: nothing was changed", name)
		}
		if ok, says := s.Valid(t, bad); ok || !strings.Contains(says, "Schemas validity error") {
			t.Errorf("%s: valid: %t: %s", name, ok, says)
		}
	}
	if len(files) < 3 {
		t.Errorf("only %d files", len(files))
	}
}
