package witness

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"parley/compliance/proof"
)

// Why a checkpoint is not countersigned.
var (
	ErrForked  = errors.New("the checkpoint does not continue the one that was signed before: the pool shows two histories")
	ErrOld     = errors.New("the request does not lead from the checkpoint that was signed last")
	ErrFirst   = errors.New("this witness has signed nothing of that log yet")
	ErrDamaged = errors.New("what this witness remembers is damaged")
	ErrBusy    = errors.New("another process is signing for this witness")
)

// Witness countersigns checkpoints. Each log that it watches has a file in its directory, with the checkpoint that it signed
// last and its own signature under that.
type Witness struct {
	dir  string
	key  *signer
	now  func() time.Time
	sync func(*os.File) error // for tests
}

// Open returns a witness with a private key, as NewKey made it, and a directory that is there.
func Open(dir, private string, now func() time.Time) (*Witness, error) {
	key, err := parsePrivate(private)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(dir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a directory", dir)
	}
	return &Witness{dir: dir, key: key, now: now, sync: (*os.File).Sync}, nil
}

// Verifier returns the public key.
func (w *Witness) Verifier() *Verifier { return &w.key.Verifier }

// file is where the memory of a log is. An origin may have slashes and any length.
func (w *Witness) file(origin string) string {
	sum := sha256.Sum256([]byte(origin))
	return filepath.Join(w.dir, fmt.Sprintf("%x", sum[:16])+".checkpoint")
}

// last returns the checkpoint of a log that was signed last.
func (w *Witness) last(log note.Verifier) (c proof.Checkpoint, err error) {
	name := w.file(log.Name())
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return c, ErrFirst
	}
	if err != nil {
		return c, err
	}
	// Our own signature under it says that nothing in it is other than we wrote it. The log's key may be another one by now.
	n, err := note.Open(b, note.VerifierList(&w.key.Verifier))
	if err == nil {
		c, err = proof.ParseCheckpoint(n.Text)
	}
	if err == nil { // base64 has spare bits at its end, which note ignores
		_, err = base64.StdEncoding.Strict().DecodeString(n.Sigs[0].Base64)
	}
	if err == nil && c.Origin != log.Name() {
		err = fmt.Errorf("it is of %q", c.Origin)
	}
	if err != nil {
		return c, fmt.Errorf("%s: %w: %w. Bring it back from a copy that is no older, or tell who relies on you", name, ErrDamaged, err)
	}
	return c, nil
}

// LastSize returns the size of the checkpoint of a log that was signed last: what the next request has to lead from.
func (w *Witness) LastSize(log note.Verifier) (int64, error) {
	c, err := w.last(log)
	return c.Size, err
}

// Cosign signs the checkpoint of a request, if log has signed it and it continues what this witness signed last. It returns
// the checkpoint with both signatures, and this witness's line alone. first allows a log of which nothing was signed yet:
// then the checkpoint is taken as it is, because there is nothing to compare it with.
//
// The order is: remember, then answer. A crash in between has signed what nobody got; the same request, or one that leads
// from there, is answered then.
func (w *Witness) Cosign(request []byte, log note.Verifier, first bool) (cosigned, line []byte, err error) {
	r, err := ParseRequest(request)
	if err != nil {
		return nil, nil, err
	}
	c, err := proof.OpenCheckpoint(r.Checkpoint, log)
	if err != nil {
		return nil, nil, err
	}
	unlock, err := lock(filepath.Join(w.dir, "lock"))
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	last, err := w.last(log)
	switch {
	case errors.Is(err, ErrFirst) && first:
		if r.Old != 0 || len(r.Proof) > 0 {
			return nil, nil, fmt.Errorf("%w, and the request leads from %d events: ask without an earlier checkpoint", ErrFirst, r.Old)
		}
	case err != nil:
		return nil, nil, err
	default:
		if err := continues(r, &c, &last); err != nil {
			return nil, nil, err
		}
	}
	return w.sign(r, &c)
}

// continues checks that a checkpoint begins with the one that was signed last.
func continues(r *Request, c, last *proof.Checkpoint) error {
	switch {
	case c.Size < last.Size:
		return fmt.Errorf("%w: it is of %d events, and %d were signed", ErrForked, c.Size, last.Size)
	case c.Size == last.Size && c.Root != last.Root:
		return fmt.Errorf("%w: both are of %d events", ErrForked, c.Size)
	case c.Size == last.Size:
		return nil // the same again: whoever lost the answer gets it, with a new time
	case r.Old != last.Size:
		return fmt.Errorf("%w: that is of %d events, the request leads from %d", ErrOld, last.Size, r.Old)
	}
	if last.Size == 0 {
		return nil // every log continues the empty one
	}
	if err := tlog.CheckTree(r.Proof, c.Size, c.Root, last.Size, last.Root); err != nil {
		return fmt.Errorf("%w: %d events after %d: %w", ErrForked, c.Size, last.Size, err)
	}
	return nil
}

func (w *Witness) sign(r *Request, c *proof.Checkpoint) (cosigned, line []byte, err error) {
	key := *w.key
	key.at = w.now()
	own, err := c.Sign(&key)
	if err != nil {
		return nil, nil, err
	}
	_, line, _ = bytes.Cut(own, []byte("\n\n"))
	if err := w.remember(w.file(c.Origin), own); err != nil {
		return nil, nil, fmt.Errorf("remember the checkpoint; nothing is signed: %w", err)
	}
	return append(bytes.Clone(r.Checkpoint), line...), line, nil
}

// remember writes the memory of a log: a new file, synced, then renamed over the old one, and the directory synced. Before
// the rename the old memory holds, after it the new one; the file is never seen torn.
func (w *Witness) remember(name string, b []byte) (err error) {
	tmp := strings.TrimSuffix(name, ".checkpoint") + ".tmp" // of a crash before: written over
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(b); err == nil {
		err = w.sync(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, name); err != nil {
		return err
	}
	d, err := os.Open(w.dir)
	if err != nil {
		return err
	}
	return errors.Join(w.sync(d), d.Close())
}
