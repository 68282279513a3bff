package compliance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"parley/log/event"
)

// ErrDiffers says that the archive already holds a file of that name with other content. Somebody changed it, or two
// versions of an adapter disagree. It is never overwritten: people have to look.
var ErrDiffers = errors.New("the archive holds a different file of that name")

// FS are the few file operations that an archive needs. OS is the real one; tests inject crashes here.
type FS interface {
	// MkdirAll makes a directory and those of its parents that do not exist, durably.
	MkdirAll(dir string) error
	// Create makes a new file for writing; one that exists is an error (fs.ErrExist).
	Create(name string) (File, error)
	// Open opens a file for reading.
	Open(name string) (io.ReadCloser, error)
	// Link gives a file a second name. A name that exists is an error (fs.ErrExist), never replaced.
	Link(old, name string) error
	// Rename moves a file, replacing what has the name.
	Rename(old, name string) error
	// Remove removes a name. One that does not exist is an error (fs.ErrNotExist).
	Remove(name string) error
	// SyncFile makes the content of an existing file durable.
	SyncFile(name string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
	// Names lists the names in a directory.
	Names(dir string) ([]string, error)
}

// File is a file being written.
type File interface {
	io.WriteCloser
	Sync() error
}

// OS is the operating system's file system.
type OS struct{}

// MkdirAll implements FS. The archive is read by others of the same group, not by everyone.
func (o OS) MkdirAll(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := o.MkdirAll(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncPath(parent) // also when another process made it just now
}

// Create implements FS.
func (OS) Create(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Open implements FS.
func (OS) Open(name string) (io.ReadCloser, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Link implements FS.
func (OS) Link(old, name string) error { return os.Link(old, name) }

// Rename implements FS.
func (OS) Rename(old, name string) error { return os.Rename(old, name) }

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// SyncFile implements FS.
func (OS) SyncFile(name string) error { return syncPath(name) }

// SyncDir implements FS.
func (OS) SyncDir(dir string) error { return syncPath(dir) }

func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

// Names implements FS.
func (OS) Names(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	return names, errors.Join(err, d.Close())
}

// Archive is a directory in which files appear whole, once, and for good. Several nodes may share one: the name of a
// temporary file carries the node, and the final name is given with a link, which cannot replace a file.
//
// Crash points of a file, in order: while the temporary file is written or synced (it is swept by the next start of this
// node), after the link (the file is whole; the repetition finds it equal), before the sync of the directory (the name
// may be lost with the power; the repetition gives it again). Of several files of one cut some may be there and some not:
// the repetition makes those that are missing. A receipt exists only after the last of them.
type Archive struct {
	fs    FS
	dir   string
	node  event.NodeID
	ready bool
}

// NewArchive returns the archive in a directory as one node writes it. The directory is made when it is first needed.
func NewArchive(fsys FS, dir string, node event.NodeID) *Archive {
	if fsys == nil {
		fsys = OS{}
	}
	return &Archive{fs: fsys, dir: dir, node: node}
}

const tempSuffix = ".tmp"

func (a *Archive) temp(name string) string {
	return filepath.Join(a.dir, "."+name+"."+string(a.node)+tempSuffix)
}

// tempOf matches the temporary names of one feed and node, and of none whose name merely begins the same.
func tempOf(feed string, node event.NodeID) *regexp.Regexp {
	return regexp.MustCompile(`^\.` + regexp.QuoteMeta(feed) + `-\d{20}-\d{20}[-.].*\.` + regexp.QuoteMeta(string(node)) + `\.tmp$`)
}

// prepare makes the directory and removes what an earlier process of this node left half written. feed narrows it
// down to one feed, because others may be writing in the same directory.
func (a *Archive) prepare(feed string) error {
	if a.ready {
		return nil
	}
	if err := a.fs.MkdirAll(a.dir); err != nil {
		return err
	}
	if err := a.Tidy(feed); err != nil {
		return err
	}
	a.ready = true
	return nil
}

// Tidy removes what an earlier process of this node left half written of a feed. It is for adapters to implement Tidier by.
func (a *Archive) Tidy(feed string) error {
	names, err := a.fs.Names(a.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	mine := tempOf(feed, a.node)
	for _, n := range names {
		if mine.MatchString(n) {
			if err := a.fs.Remove(filepath.Join(a.dir, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// ErrNothing is what the write function of a file returns when the range held nothing for it: there will be no file.
var ErrNothing = errors.New("nothing to write")

// Put writes a cut's one file and makes it durable under its name. A file of that name with the same content is as good
// as one just written; with other content it is ErrDiffers, and stays as it is. When Put fails nothing new is visible,
// or the whole file is. If write returns ErrNothing there is no file, and the receipt is zero.
func (a *Archive) Put(ctx context.Context, cut Cut, ext string, write func(io.Writer) error) (Receipt, error) {
	name := cut.FileName(ext)
	err := a.prepare(cut.Feed)
	var r Receipt
	if err == nil {
		r, err = a.put(ctx, name, write)
	}
	if err == nil && !r.Empty() {
		err = a.fs.SyncDir(a.dir)
	}
	if err != nil {
		return Receipt{}, fmt.Errorf("archive %s in %s: %w", name, a.dir, err)
	}
	return r, nil
}

// streamed is how much Stream gathers before it writes, in bytes.
const streamed = 64 << 10

// Stream writes a cut's one file while it reads the run, so memory does not depend on the cut: head, and then what add appends
// for each event. If that is nothing for any of them there is no file. Else it is as Put.
func (a *Archive) Stream(ctx context.Context, cut Cut, ext, head string, run iter.Seq2[event.Envelope, error], add func(b []byte, e event.Envelope) ([]byte, error)) (Receipt, error) {
	return a.Put(ctx, cut, ext, func(w io.Writer) error {
		b, empty := []byte(head), true
		for e, err := range run {
			if err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			before := len(b)
			if b, err = add(b, e); err != nil {
				return err
			}
			if empty = empty && len(b) == before; len(b) >= streamed {
				if _, err := w.Write(b); err != nil {
					return err
				}
				b = b[:0]
			}
		}
		if empty {
			return ErrNothing
		}
		_, err := w.Write(b)
		return err
	})
}

// Output is one of several files of a cut.
type Output struct {
	Name  string // Cut.FileName or Cut.PartName
	Write func(io.Writer) error
}

// ListExt is the extension of the list that stands for several files of a cut: a line for each, SHA-256 in hex, two
// blanks and the name, as the tool sha256sum writes and checks.
const ListExt = "sha256"

// PutAll writes several files of a cut, and last, once they are durable, their list: the receipt is the list's. Whoever
// sees the list sees the files. Without outputs there is no list, and the receipt is zero. Each file is as with Put.
func (a *Archive) PutAll(ctx context.Context, cut Cut, outputs []Output) (Receipt, error) {
	r, err := a.putAll(ctx, cut, outputs)
	if err != nil {
		return Receipt{}, fmt.Errorf("archive %s in %s: %w", cut.FileName(ListExt), a.dir, err)
	}
	return r, nil
}

func (a *Archive) putAll(ctx context.Context, cut Cut, outputs []Output) (Receipt, error) {
	if len(outputs) == 0 {
		return Receipt{}, nil
	}
	if err := a.prepare(cut.Feed); err != nil {
		return Receipt{}, err
	}
	var list []byte
	for _, o := range outputs {
		r, err := a.put(ctx, o.Name, o.Write)
		if err != nil {
			return Receipt{}, fmt.Errorf("%s: %w", o.Name, err)
		}
		list = r.AppendListed(list)
	}
	// A crash after a link and before this: the list is not there, so nobody was promised anything.
	if err := a.fs.SyncDir(a.dir); err != nil {
		return Receipt{}, err
	}
	r, err := a.put(ctx, cut.FileName(ListExt), func(w io.Writer) error {
		_, err := w.Write(list)
		return err
	})
	if err != nil {
		return Receipt{}, err
	}
	return r, a.fs.SyncDir(a.dir)
}

// AppendListed appends the line of a file in a list.
func (r Receipt) AppendListed(list []byte) []byte {
	return fmt.Appendf(list, "%x  %s\n", r.SHA256, r.Name)
}

// put makes one file whole and gives it its name. The directory is not synced yet.
func (a *Archive) put(ctx context.Context, name string, write func(io.Writer) error) (r Receipt, err error) {
	temp, final := a.temp(name), filepath.Join(a.dir, name)
	// A crash between Link and Remove below leaves the temporary name on the final file itself: opening it for
	// writing would destroy the archive. So the name goes first, and Create insists on a new file.
	if err := a.fs.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Receipt{}, err
	}
	w := &sink{ctx: ctx, hash: sha256.New()}
	if w.file, err = a.fs.Create(temp); err != nil {
		return Receipt{}, err
	}
	defer func() { // also after success: the temporary name has done its work
		if e := a.fs.Remove(temp); err == nil && e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = e
		}
		if err != nil {
			r = Receipt{}
		}
	}()
	err = write(w)
	if err == nil {
		err = w.err // an adapter that swallowed it
	}
	if err == nil {
		err = ctx.Err()
	}
	nothing := errors.Is(err, ErrNothing) && w.err == nil && ctx.Err() == nil
	if err == nil {
		err = w.file.Sync()
	}
	closed := w.file.Close()
	if nothing {
		return Receipt{}, closed
	}
	if err = errors.Join(err, closed, ctx.Err()); err != nil { // a sync may take long: the feed may have ended meanwhile
		return Receipt{}, err
	}
	if err := a.place(temp, final); err != nil {
		return Receipt{}, err
	}
	return Receipt{Name: name, Bytes: w.bytes, SHA256: [sha256.Size]byte(w.hash.Sum(nil))}, nil
}

// place gives the finished file its name, or finds it there already.
func (a *Archive) place(temp, final string) error {
	err := a.fs.Link(temp, final)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
		// A file system without hard links: look, then rename. Only here could a stale owner with another version of
		// the adapter replace a file, within the instant between the two.
		var f io.ReadCloser
		if f, err = a.fs.Open(final); errors.Is(err, fs.ErrNotExist) {
			return a.fs.Rename(temp, final)
		} else if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		err = fs.ErrExist
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	equal, err := a.equal(temp, final)
	if err != nil {
		return err
	}
	if !equal {
		return ErrDiffers
	}
	return a.fs.SyncFile(final) // whoever put it there may not have
}

func (a *Archive) equal(x, y string) (bool, error) {
	f, err := a.fs.Open(x)
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // read only
	g, err := a.fs.Open(y)
	if err != nil {
		return false, err
	}
	defer g.Close() //nolint:errcheck // read only
	p, q := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err1 := io.ReadFull(f, p)
		m, err2 := io.ReadFull(g, q)
		if !bytes.Equal(p[:n], q[:m]) {
			return false, nil
		}
		end1 := err1 == io.EOF || err1 == io.ErrUnexpectedEOF
		end2 := err2 == io.EOF || err2 == io.ErrUnexpectedEOF
		switch {
		case err1 != nil && !end1:
			return false, err1
		case err2 != nil && !end2:
			return false, err2
		case end1 && end2:
			return true, nil
		case end1 != end2:
			return false, nil
		}
	}
}

// sink counts and hashes what goes to the file, and stops when the context ends.
type sink struct {
	ctx   context.Context
	file  File
	hash  hash.Hash
	bytes uint64
	err   error
}

func (s *sink) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.err = s.ctx.Err(); s.err != nil {
		return 0, s.err
	}
	var n int
	n, s.err = s.file.Write(p)
	s.hash.Write(p[:n])
	s.bytes += uint64(n)
	return n, s.err
}

// Look says whether a directory could be an archive, without making or writing anything: it is one, or the nearest of its
// parents that exists is one. Whether this process may write there is for Probe.
func Look(dir string) error {
	for {
		info, err := os.Stat(dir)
		switch {
		case err == nil && info.IsDir():
			return nil
		case err == nil:
			return fmt.Errorf("%s is not a directory", dir)
		case !errors.Is(err, fs.ErrNotExist) || filepath.Dir(dir) == dir:
			return fmt.Errorf("look at directory %s: %w", dir, err)
		}
		dir = filepath.Dir(dir)
	}
}

// Probe says whether a directory can be an archive on this node: it makes it, and writes and removes a temporary file.
func Probe(fsys FS, dir string, node event.NodeID) error {
	if err := fsys.MkdirAll(dir); err != nil {
		return fmt.Errorf("make directory %s: %w", dir, err)
	}
	name := filepath.Join(dir, ".probe."+string(node)+tempSuffix)
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write into directory %s: %w", dir, err)
	}
	f, err := fsys.Create(name)
	if err != nil {
		return fmt.Errorf("write into directory %s: %w", dir, err)
	}
	_, err = f.Write([]byte("probe\n"))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close(), fsys.Remove(name)); err != nil {
		return fmt.Errorf("write into directory %s: %w", dir, err)
	}
	return nil
}

// PlaceFiles puts files into a directory as Put does: whole, durable, never over a different one. last, if it is among them,
// is the name that comes after all others.
func PlaceFiles(fsys FS, dir string, files map[string][]byte, last string) error {
	a := NewArchive(fsys, dir, "copy")
	if err := fsys.MkdirAll(dir); err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(files))
	at := slices.IndexFunc(names, func(n string) bool { return n == last })
	if at >= 0 {
		names = append(slices.Delete(names, at, at+1), last)
	}
	for _, n := range names {
		if n == last && len(names) > 1 {
			if err := fsys.SyncDir(dir); err != nil {
				return err
			}
		}
		if _, err := a.put(context.Background(), n, func(w io.Writer) error {
			_, err := w.Write(files[n])
			return err
		}); err != nil {
			return fmt.Errorf("%s in %s: %w", n, dir, err)
		}
	}
	return fsys.SyncDir(dir)
}
