package compliance_test

import (
	"testing"

	"parley/compliance"
	"parley/compliance/actiance"
	"parley/compliance/adaptertest"
	"parley/compliance/csv"
	"parley/compliance/eml"
	"parley/compliance/jsonl"
	"parley/compliance/lyncxml"
	"parley/log/event"
)

// kinds are the adapters that write files, with the options worth a suite of their own.
var kinds = []struct {
	name    string
	kind    *compliance.Kind
	options []event.FeedOption
}{
	{"jsonl", &jsonl.Kind, nil},
	{"csv", &csv.Kind, nil},
	{"eml", &eml.Kind, nil},
	{"actiance", &actiance.Kind, nil},
	{"lyncxml per room", &lyncxml.Kind, []event.FeedOption{{Name: "one_room_per_file", Value: "true"}, {Name: "attachments_manifest", Value: "true"},
		{Name: "user_details", Value: "true"}, {Name: "room_details", Value: "true"}, {Name: "rtf", Value: "true"}}},
}

func maker(k *compliance.Kind, options []event.FeedOption) adaptertest.New {
	return func(fs compliance.FS, dir string, node event.NodeID) compliance.Adapter {
		a, err := k.New(compliance.Env{Node: node, FS: fs, Dir: dir}, compliance.NewOptions(options))
		if err != nil {
			panic(err)
		}
		return a
	}
}

func TestConformance(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			adaptertest.Run(t, maker(k.kind, k.options))
		})
	}
}
