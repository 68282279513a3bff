package adaptertest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"parley/compliance"
)

// ErrCrashed is what every operation of a disk returns after the crash.
var ErrCrashed = errors.New("crashed")

// ErrInjected is what a failing operation returns.
var ErrInjected = errors.New("injected failure of a file operation")

// Fault says what happens at one operation of a disk.
type Fault int

// The faults.
const (
	FailBefore  Fault = iota + 1 // the operation has no effect and reports an error
	FailAfter                    // the operation takes effect and reports an error
	CrashBefore                  // the process dies before the operation
	CrashAfter                   // the process dies after the operation, before it knows
)

var faultNames = map[Fault]string{FailBefore: "fail before", FailAfter: "fail after", CrashBefore: "crash before", CrashAfter: "crash after"}

// String names the fault.
func (f Fault) String() string { return faultNames[f] }

// Loss says what a crash does to what was not synced.
type Loss int

// The losses.
const (
	KeepAll   Loss = iota // the process was killed: nothing is lost
	LoseAll               // power loss: unsynced names and content are gone
	LoseBytes             // power loss: the names made it to the disk, unsynced content did not
)

var lossNames = map[Loss]string{KeepAll: "process killed", LoseAll: "power lost", LoseBytes: "power lost, names kept"}

// String names the loss.
func (l Loss) String() string { return lossNames[l] }

// Disk is a compliance.FS in memory that knows what was synced.
type Disk struct {
	mu      sync.Mutex
	names   map[string]*inode // as processes see them
	synced  map[string]*inode // as a power loss leaves them
	dirs    map[string]bool
	ops     int
	at      int // the operation that the fault hits, from 1; 0: none
	fault   Fault
	crashed bool
	trace   []string
	noLinks bool
	onWrite func()
	onOp    func(n int, op string) error
}

type inode struct {
	data   []byte
	synced []byte
}

var _ compliance.FS = (*Disk)(nil)

// NewDisk returns an empty disk.
func NewDisk() *Disk {
	return &Disk{names: map[string]*inode{}, synced: map[string]*inode{}, dirs: map[string]bool{".": true, "/": true}}
}

// Break makes the n-th operation from now (the first is 1) meet a fault.
func (d *Disk) Break(n int, f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.fault = d.ops+n, f
}

// NoLinks makes Link fail as it does where there are no hard links.
func (d *Disk) NoLinks() { d.mu.Lock(); d.noLinks = true; d.mu.Unlock() }

// OnWrite calls f before every write to a file: a slow target.
func (d *Disk) OnWrite(f func()) { d.mu.Lock(); d.onWrite = f; d.mu.Unlock() }

// OnOp calls f before every operation, with its number from 1 and as Trace has it; an error is the operation's, which then
// has no effect. f may block: others go on.
func (d *Disk) OnOp(f func(n int, op string) error) { d.mu.Lock(); d.onOp = f; d.mu.Unlock() }

// Ops returns how many operations the disk has seen, and Trace what they were.
func (d *Disk) Ops() int { d.mu.Lock(); defer d.mu.Unlock(); return d.ops }

// Trace returns the operations so far.
func (d *Disk) Trace() []string { d.mu.Lock(); defer d.mu.Unlock(); return slices.Clone(d.trace) }

// Restart returns the disk as the next process finds it.
func (d *Disk) Restart(l Loss) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := NewDisk()
	out.noLinks = d.noLinks
	for n := range d.dirs {
		out.dirs[n] = true
	}
	from := d.names
	if l == LoseAll {
		from = d.synced
	}
	moved := map[*inode]*inode{} // two names of one file stay two names of one file
	for n, i := range from {
		if moved[i] == nil {
			data := i.data
			if l != KeepAll {
				data = i.synced
			}
			moved[i] = &inode{data: slices.Clone(data), synced: slices.Clone(data)}
		}
		out.names[n], out.synced[n] = moved[i], moved[i]
	}
	return out
}

// Files returns the files in a directory and their content as processes see it.
func (d *Disk) Files(dir string) map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[string]string{}
	for n, i := range d.names {
		if filepath.Dir(n) == filepath.Clean(dir) {
			out[filepath.Base(n)] = string(i.data)
		}
	}
	return out
}

// Plant puts a file on the disk behind everybody's back, without any sync.
func (d *Disk) Plant(name, content string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = filepath.Clean(name)
	d.names[name] = &inode{data: []byte(content)}
	for dir := filepath.Dir(name); !d.dirs[dir]; dir = filepath.Dir(dir) {
		d.dirs[dir] = true
	}
}

// do runs one operation under the fault. The lock is held.
func (d *Disk) do(op, name string, f func() error) error {
	if d.crashed {
		return ErrCrashed
	}
	d.ops++
	hit := d.ops == d.at
	d.trace = append(d.trace, fmt.Sprintf("%s %s", op, filepath.Base(name)))
	if ask := d.onOp; ask != nil {
		n, line := d.ops, d.trace[d.ops-1]
		d.mu.Unlock()
		err := ask(n, line)
		if d.mu.Lock(); err != nil {
			return fmt.Errorf("%s %s: %w", op, name, err)
		}
	}
	if hit && d.fault == CrashBefore {
		d.crashed = true
		return ErrCrashed
	}
	if hit && d.fault == FailBefore {
		return fmt.Errorf("%s %s: %w", op, name, ErrInjected)
	}
	err := f()
	if hit && d.fault == CrashAfter {
		d.crashed = true
		return ErrCrashed
	}
	if hit && d.fault == FailAfter && err == nil {
		return fmt.Errorf("%s %s: %w", op, name, ErrInjected)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", op, name, err)
	}
	return nil
}

func (d *Disk) locked(op, name string, f func(name string) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = filepath.Clean(name)
	return d.do(op, name, func() error { return f(name) })
}

// MkdirAll implements compliance.FS.
func (d *Disk) MkdirAll(dir string) error {
	return d.locked("mkdir", dir, func(dir string) error {
		for ; !d.dirs[dir]; dir = filepath.Dir(dir) {
			d.dirs[dir] = true
		}
		return nil
	})
}

// Create implements compliance.FS.
func (d *Disk) Create(name string) (compliance.File, error) {
	var out *file
	err := d.locked("create", name, func(name string) error {
		if d.names[name] != nil {
			return fs.ErrExist
		}
		if !d.dirs[filepath.Dir(name)] {
			return fs.ErrNotExist
		}
		i := &inode{}
		d.names[name] = i
		out = &file{disk: d, name: name, inode: i}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Open implements compliance.FS.
func (d *Disk) Open(name string) (io.ReadCloser, error) {
	var out *file
	err := d.locked("open", name, func(name string) error {
		i := d.names[name]
		if i == nil {
			return fs.ErrNotExist
		}
		out = &file{disk: d, name: name, inode: i}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Link implements compliance.FS.
func (d *Disk) Link(old, name string) error {
	return d.locked("link", name, func(name string) error {
		i := d.names[filepath.Clean(old)]
		switch {
		case d.noLinks:
			return errors.ErrUnsupported
		case i == nil:
			return fs.ErrNotExist
		case d.names[name] != nil:
			return fs.ErrExist
		}
		d.names[name] = i
		return nil
	})
}

// Rename implements compliance.FS.
func (d *Disk) Rename(old, name string) error {
	return d.locked("rename", name, func(name string) error {
		old = filepath.Clean(old)
		i := d.names[old]
		if i == nil {
			return fs.ErrNotExist
		}
		delete(d.names, old)
		d.names[name] = i
		return nil
	})
}

// Remove implements compliance.FS.
func (d *Disk) Remove(name string) error {
	return d.locked("remove", name, func(name string) error {
		if d.names[name] == nil {
			return fs.ErrNotExist
		}
		delete(d.names, name)
		return nil
	})
}

// SyncFile implements compliance.FS.
func (d *Disk) SyncFile(name string) error {
	return d.locked("sync", name, func(name string) error {
		i := d.names[name]
		if i == nil {
			return fs.ErrNotExist
		}
		i.synced = slices.Clone(i.data)
		return nil
	})
}

// SyncDir implements compliance.FS.
func (d *Disk) SyncDir(dir string) error {
	return d.locked("sync directory", dir, func(dir string) error {
		if !d.dirs[dir] {
			return fs.ErrNotExist
		}
		for n := range d.synced {
			if filepath.Dir(n) == dir && d.names[n] == nil {
				delete(d.synced, n)
			}
		}
		for n, i := range d.names {
			if filepath.Dir(n) == dir {
				d.synced[n] = i
			}
		}
		return nil
	})
}

// Names implements compliance.FS.
func (d *Disk) Names(dir string) ([]string, error) {
	var out []string
	err := d.locked("list", dir, func(dir string) error {
		for n := range d.names {
			if filepath.Dir(n) == dir {
				out = append(out, filepath.Base(n))
			}
		}
		slices.Sort(out)
		return nil
	})
	return out, err
}

type file struct {
	disk  *Disk
	name  string
	inode *inode
	pos   int
}

func (f *file) Write(p []byte) (n int, err error) {
	f.disk.mu.Lock()
	slow := f.disk.onWrite
	f.disk.mu.Unlock()
	if slow != nil {
		slow()
	}
	err = f.disk.locked("write", f.name, func(string) error {
		f.inode.data = append(f.inode.data, p...)
		n = len(p)
		return nil
	})
	return n, err
}

func (f *file) Read(p []byte) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.crashed {
		return 0, ErrCrashed
	}
	if f.pos >= len(f.inode.data) {
		return 0, io.EOF
	}
	n := copy(p, f.inode.data[f.pos:])
	f.pos += n
	return n, nil
}

func (f *file) Sync() error {
	return f.disk.locked("sync", f.name, func(string) error {
		f.inode.synced = slices.Clone(f.inode.data)
		return nil
	})
}

func (f *file) Close() error {
	return f.disk.locked("close", f.name, func(string) error { return nil })
}
