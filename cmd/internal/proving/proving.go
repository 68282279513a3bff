// Package proving fetches the proof of a feed's files from a node and writes the directory that parley-verify checks.
package proving

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"parley/cmd/internal/client"
	"parley/compliance/proof"
	"parley/webfront/admin"
)

// Options say what is to be proven, and where the proof goes.
type Options struct {
	Feed     string
	From, To uint64 // offsets; 0: from the first, to the last that was delivered. The range grows to whole files
	Out      string // new directory
	Files    string // directory with the feed's files; empty: where the node says it has them
	Link     bool   // give the files a second name instead of copying them
	Under    string // file with a checkpoint, perhaps with signatures of witnesses, that the proof is made under; empty: a new one
	Since    string // file with an earlier checkpoint; empty: none
}

// Written is what was written, as `feed prove` prints it.
type Written struct {
	Feed  string `json:"feed"`
	Dir   string `json:"dir"`
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	Files int    `json:"files"`
	Size  int64  `json:"tree_size"`
}

// Write writes the directory. If it fails, or the process dies, the directory is incomplete and parley-verify says so.
func Write(ctx context.Context, c *client.Client, f Options) (out Written, err error) {
	q := url.Values{}
	for name, n := range map[string]uint64{"from": f.From, "to": f.To} {
		if n != 0 {
			q.Set(name, strconv.FormatUint(n, 10))
		}
	}
	if f.Since != "" {
		b, err := os.ReadFile(f.Since)
		if err != nil {
			return out, err
		}
		size, err := proof.SizeOf(b)
		if err != nil {
			return out, fmt.Errorf("%s: %w", f.Since, err)
		}
		q.Set("since", strconv.FormatInt(size, 10))
	}
	var under []byte
	if f.Under != "" {
		if under, err = os.ReadFile(f.Under); err != nil {
			return out, err
		}
		size, err := proof.SizeOf(under)
		if err != nil {
			return out, fmt.Errorf("%s: %w", f.Under, err)
		}
		q.Set("size", strconv.FormatInt(size, 10))
	}
	if entries, err := os.ReadDir(f.Out); err == nil && len(entries) > 0 {
		return out, fmt.Errorf("%s is not empty; name a new directory", f.Out)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return out, err
	}
	var answer admin.FeedProof
	if err := c.Do(ctx, client.Request{Method: http.MethodGet, Path: []string{"feeds", f.Feed, "proof"}, Query: q, Slow: true}, &answer); err != nil {
		return out, err
	}
	if f.Files == "" && answer.Directory == "" {
		return out, noFiles(f.Feed, answer.Adapter)
	}
	p := new(proof.Proof)
	if err := json.Unmarshal(answer.Proof, p); err != nil {
		return out, fmt.Errorf("read the answer: %w", err)
	}
	encoded, err := p.Encode()
	if err != nil {
		return out, err
	}
	if err := os.MkdirAll(f.Out, 0o750); err != nil {
		return out, err
	}
	files := map[string][]byte{proof.FileProof: encoded, proof.FileCheckpoint: []byte(answer.Checkpoint)}
	if under != nil {
		files[proof.FileCheckpoint] = under
	}
	if answer.Keys != nil {
		k := new(proof.Keys)
		if err := json.Unmarshal(answer.Keys, k); err != nil {
			return out, fmt.Errorf("read the answer: %w", err)
		}
		if files[proof.FileKeys], err = k.Encode(); err != nil {
			return out, err
		}
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(f.Out, name), b, 0o640); err != nil {
			return out, err
		}
	}
	if err := records(ctx, c, p, filepath.Join(f.Out, proof.FileEntries)); err != nil {
		return out, err
	}
	names, err := proof.Files(os.DirFS(f.Out))
	if err != nil {
		return out, err
	}
	from := f.Files
	if from == "" {
		from = answer.Directory
	}
	for i := 0; i < len(names); i++ { // a list adds the files that it names
		name := names[i]
		if !filepath.IsLocal(name) {
			return out, fmt.Errorf("a receipt names %q, which is no file's name", name)
		}
		if err := place(filepath.Join(from, name), filepath.Join(f.Out, name), f.Link); err != nil {
			return out, fmt.Errorf("%w; if the files are elsewhere, name the directory with --files", err)
		}
		if !proof.IsList(name) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(f.Out, name))
		if err != nil {
			return out, err
		}
		files, err := proof.ParseList(b)
		if err != nil {
			return out, fmt.Errorf("%s: %w", name, err)
		}
		for _, x := range files {
			names = append(names, x.Name)
		}
	}
	return Written{Feed: f.Feed, Dir: f.Out, First: uint64(p.First), Last: uint64(p.Last), Files: len(names), Size: p.Size}, nil
}

// noFiles says what cannot be proven of a feed that keeps no files where the pool is, and what can be done.
func noFiles(feed, adapter string) error {
	switch adapter {
	case "smtp":
		return fmt.Errorf("feed %[1]s sends mail, so there are no files here to prove: the log proves what was sent, and that nothing is missing, but nothing can prove what the mail archive kept of it. "+
			"Write the messages again with `parley feed replay %[1]s --out DIR`, prove those with --files DIR, and compare the archive's copies with them by Message-ID", feed)
	case "external":
		return fmt.Errorf("feed %s goes to a program, so there are no files here to prove: the log has the names, sizes and hashes that the program told, but not what they are of. "+
			"Fetch from its archive what the receipts name, under these names, into a directory, and give it with --files DIR", feed)
	}
	return fmt.Errorf("feed %s has no directory that this node knows of; name the one with its files with --files DIR", feed)
}

// records writes the entries of a proof.
func records(ctx context.Context, c *client.Client, p *proof.Proof, name string) (err error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := bufio.NewWriterSize(file, 1<<20)
	q := url.Values{"from": {strconv.FormatUint(uint64(p.First), 10)}, "to": {strconv.FormatUint(uint64(p.End), 10)}}
	if err := c.Stream(ctx, client.Request{Method: http.MethodGet, Path: []string{"log", "records"}, Query: q}, func(line []byte) error {
		var r admin.LogRecord
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		return proof.WriteRecord(w, r.At, r.Event)
	}); err != nil {
		return err
	}
	return w.Flush()
}

// place copies a file, or gives it a second name.
func place(from, to string, link bool) (err error) {
	if link {
		return os.Link(from, to)
	}
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // read only
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}
