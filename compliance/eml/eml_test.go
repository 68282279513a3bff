package eml_test

import (
	"testing"

	"parley/compliance"
	"parley/compliance/adaptertest"
	"parley/compliance/eml"
	"parley/log/event"
)

func adapter(fs compliance.FS, dir string, node event.NodeID) compliance.Adapter {
	a, err := eml.Kind.New(compliance.Env{Node: node, FS: fs, Dir: dir}, compliance.NewOptions(nil))
	if err != nil {
		panic(err)
	}
	return a
}

func TestConformance(t *testing.T) { adaptertest.Run(t, adapter) }

func TestGoldens(t *testing.T) { adaptertest.Goldens(t, adapter) }
