package log_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log"
	"parley/log/logtest"
)

func TestConformance(t *testing.T) {
	logtest.Run(t, func(fs vfs.FS, dir string, o log.Options) (*log.Log, error) {
		o.FS = fs
		return log.Open(dir, o)
	})
}
