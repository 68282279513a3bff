package logtest

import (
	"errors"
	"io"
	"maps"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/log"
	"parley/log/event"
)

// readOnly: a stopped directory can be read and verified, and is afterwards what it was, byte for byte: after a clean stop, and
// after a crash, when there is a write-ahead log to replay.
func readOnly(t *testing.T, open Open) {
	for _, d := range []string{"n a3 c a2 v c a r", "n a3 c a2 v c a", "A6 c A3 c7 t9", "r"} {
		t.Run(d, func(t *testing.T) {
			r := newRun(open, 1)
			if err := r.start(); err != nil {
				t.Fatal(err)
			}
			if err := r.draw(d); err != nil {
				t.Fatal(err)
			}
			stopped := crashClone(r.fs, 100, 1)
			if err := r.l.Close(); err != nil {
				t.Fatal(err)
			}
			before := files(t, stopped, "/data")
			r.fs, r.opts.ReadOnly = stopped, true
			if err := r.start(); err != nil {
				t.Fatal(err)
			}
			if err := r.m.check(r.l); err != nil {
				t.Error(err)
			}
			next := r.m.plain(1, nil)
			_, commit := r.l.Commit(r.m.last())
			for name, err := range map[string]error{"Append": r.l.Append([]log.Record{next}), "TruncateSuffix": r.l.TruncateSuffix(r.m.last()),
				"Commit": commit, "Checkpoint": r.l.Checkpoint("/data/copy")} {
				if !errors.Is(err, log.ErrReadOnly) {
					t.Errorf("%s: %v, want ErrReadOnly", name, err)
				}
			}
			if err := r.l.Close(); err != nil {
				t.Error(err)
			}
			if after := files(t, stopped, "/data"); !maps.Equal(before, after) {
				t.Errorf("files were %v and are %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
			}
		})
	}
	t.Run("no log", func(t *testing.T) {
		fs := vfs.NewMem()
		l, err := open(fs, "/data/log", log.Options{ReadOnly: true})
		if !errors.Is(err, log.ErrNoLog) || errors.Is(err, event.ErrCorrupt) {
			t.Errorf("opened %v, %v, want ErrNoLog", l, err)
		}
		if names, err := fs.List("/"); err != nil || len(names) != 0 {
			t.Errorf("something was made: %v, %v", names, err)
		}
	})
}

// files returns the content of all files below dir.
func files(t *testing.T, fs vfs.FS, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		p := fs.PathJoin(dir, n)
		info, err := fs.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			maps.Copy(out, files(t, fs, p))
			continue
		}
		f, err := fs.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		out[p] = string(b)
	}
	return out
}
