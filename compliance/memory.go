package compliance

import (
	"bytes"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
)

// Memory is an FS that keeps everything in memory: a replay writes a cut there and passes the files on. One goroutine uses
// it.
type Memory struct{ files map[string]*bytes.Buffer }

// NewMemory returns an empty one.
func NewMemory() *Memory { return &Memory{files: map[string]*bytes.Buffer{}} }

// Files returns the base names of the files and their content.
func (m *Memory) Files() map[string][]byte {
	out := make(map[string][]byte, len(m.files))
	for n, b := range m.files {
		out[filepath.Base(n)] = b.Bytes()
	}
	return out
}

// MkdirAll implements FS.
func (m *Memory) MkdirAll(string) error { return nil }

// Create implements FS.
func (m *Memory) Create(name string) (File, error) {
	if m.files[name] != nil {
		return nil, fs.ErrExist
	}
	b := new(bytes.Buffer)
	m.files[name] = b
	return memoryFile{b}, nil
}

// Open implements FS.
func (m *Memory) Open(name string) (io.ReadCloser, error) {
	b := m.files[name]
	if b == nil {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(b.Bytes())), nil
}

// Link implements FS.
func (m *Memory) Link(old, name string) error {
	b := m.files[old]
	switch {
	case b == nil:
		return fs.ErrNotExist
	case m.files[name] != nil:
		return fs.ErrExist
	}
	m.files[name] = b
	return nil
}

// Rename implements FS.
func (m *Memory) Rename(old, name string) error {
	b := m.files[old]
	if b == nil {
		return fs.ErrNotExist
	}
	delete(m.files, old)
	m.files[name] = b
	return nil
}

// Remove implements FS.
func (m *Memory) Remove(name string) error {
	if m.files[name] == nil {
		return fs.ErrNotExist
	}
	delete(m.files, name)
	return nil
}

// SyncFile implements FS.
func (m *Memory) SyncFile(string) error { return nil }

// SyncDir implements FS.
func (m *Memory) SyncDir(string) error { return nil }

// Names implements FS.
func (m *Memory) Names(string) ([]string, error) {
	var out []string
	for _, n := range slices.Sorted(maps.Keys(m.files)) {
		out = append(out, filepath.Base(n))
	}
	return out, nil
}

type memoryFile struct{ *bytes.Buffer }

func (memoryFile) Sync() error  { return nil }
func (memoryFile) Close() error { return nil }
