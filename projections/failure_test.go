package projections_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"parley/projections"
	"parley/projections/projectionstest"
)

// TestDiskFails: every write and sync of the views fails from some moment on. The projection stops, says why, and
// nothing hangs; when the disk is well again a restart goes on.
func TestDiskFails(t *testing.T) {
	for _, c := range []struct {
		name string
		op   func(errorfs.OpKind) bool
	}{
		{"write", func(k errorfs.OpKind) bool { return k == errorfs.OpFileWrite }},
		{"sync", func(k errorfs.OpKind) bool {
			return k == errorfs.OpFileSync || k == errorfs.OpFileSyncData || k == errorfs.OpFileSyncTo
		}},
		{"everything", func(k errorfs.OpKind) bool { return k.ReadOrWrite() == errorfs.OpIsWrite }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := projectionstest.NewLog(t)
			disk := vfs.NewCrashableMem()
			var broken atomic.Bool
			fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if broken.Load() && c.op(op.Kind) {
					return errors.New("the disk is broken")
				}
				return nil
			}))
			s, err := projections.OpenStore("views", projections.Options{FS: fs, CacheBytes: 1 << 20, SyncEvery: time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			r := run(t, s, l, newTally(1))
			projectionstest.Wait(t, r, l.Add(posts(10)...))
			broken.Store(true)
			deadline := time.After(20 * time.Second)
			for stopped := false; !stopped; {
				l.Add(posts(20)...)
				select {
				case <-r.Done():
					stopped = true
				case <-deadline:
					t.Fatal("the projection goes on without a disk")
				default:
				}
			}
			if err := r.Err(); !errors.Is(err, projections.ErrStopped) || !strings.Contains(err.Error(), "the disk is broken") {
				t.Errorf("stopped with %v", err)
			}
			closed := make(chan error, 1)
			go func() { closed <- s.Close() }()
			select {
			case err := <-closed:
				if err == nil || !strings.Contains(err.Error(), "the disk is broken") {
					t.Errorf("close: %v", err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("close hangs")
			}
			s = openStore(t, disk.CrashClone(vfs.CrashCloneCfg{}), projections.Options{})
			p := newTally(1)
			r = run(t, s, l, p)
			projectionstest.Wait(t, r, l.Head().Offset)
			if p.twice != 0 || p.rows(t) != want(t, l, 1, l.Head().Offset) {
				t.Error("rows are not those of the log")
			}
		})
	}
}
