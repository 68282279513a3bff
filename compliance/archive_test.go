package compliance_test

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"parley/compliance"
	"parley/compliance/adaptertest"
	"parley/log/event"
)

// TestRealDisk: the operating system's file system does what the simulated one promises.
func TestRealDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	w, m := adaptertest.Scene()
	var first compliance.Receipt
	for _, n := range []event.NodeID{"n1", "n1", "n2"} {
		cut, run := adaptertest.Cut(t, w, "f", 1, m.Restarted)
		r, err := lync(compliance.OS{}, dir, n).Deliver(t.Context(), cut, run)
		if err != nil {
			t.Fatal(err)
		}
		if first.Empty() {
			first = r
		}
		content, err := os.ReadFile(filepath.Join(dir, r.Name))
		if err != nil || r != first || uint64(len(content)) != r.Bytes || sha256.Sum256(content) != r.SHA256 {
			t.Fatalf("by %s: receipt %+v, file of %d bytes, %v", n, r, len(content), err)
		}
		if names, err := (compliance.OS{}).Names(dir); err != nil || len(names) != 1 {
			t.Fatalf("the archive has %v, %v", names, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, first.Name), []byte("tampered"), 0o640); err != nil {
		t.Fatal(err)
	}
	cut, run := adaptertest.Cut(t, w, "f", 1, m.Restarted)
	if _, err := lync(compliance.OS{}, dir, "n1").Deliver(t.Context(), cut, run); !errors.Is(err, compliance.ErrDiffers) {
		t.Fatalf("over a tampered file: %v, want ErrDiffers", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	cut, run = adaptertest.Cut(t, w, "f", 1, m.Restarted)
	if _, err := lync(compliance.OS{}, filepath.Join(file, "sub"), "n1").Deliver(t.Context(), cut, run); err == nil {
		t.Fatal("delivered into a file")
	}
}

// Looking at a directory makes nothing, neither it nor its parents.
func TestLook(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, ok := range map[string]bool{"": true, "new": true, "new/below": true, "file": false, "file/below": false} {
		if err := compliance.Look(filepath.Join(root, dir)); (err == nil) != ok {
			t.Errorf("%q: %v", dir, err)
		}
	}
	if all, err := os.ReadDir(root); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
}
