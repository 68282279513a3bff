package main

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

	"github.com/spf13/cobra"

	"parley/cmd/internal/client"
	"parley/compliance/proof"
	"parley/webfront/admin"
)

func (a *app) logCheckpointCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "checkpoint", Short: "Print the signed size and root of the log", Args: cobra.NoArgs,
		Long: "Print the signed size and root of the log. Keep it: `parley feed prove --since FILE` proves later that the log still begins with what was signed."}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return call(a, cmd.Context(), "log checkpoint", client.Request{Method: http.MethodGet, Path: []string{"checkpoint"}}, func(c admin.LogCheckpoint) {
			fmt.Fprint(a.stdout, c.Checkpoint)
		})
	}
	return cmd
}

// proveFlags say what is to be proven.
type proveFlags struct {
	feed, out, files, since string
	link                    bool
	from, to                uint64
}

// proved is what `feed prove` prints.
type proved struct {
	Feed  string `json:"feed"`
	Dir   string `json:"dir"`
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	Files int    `json:"files"`
	Size  int64  `json:"tree_size"`
}

func (a *app) feedProveCmd() *cobra.Command {
	var f proveFlags
	cmd := &cobra.Command{Use: "prove", Short: "Write a proof that a feed's files are complete and unaltered, with the files", Args: cobra.NoArgs,
		Long: `Write a proof that a feed's files are complete and unaltered, with the files, into a new directory. An auditor checks it
without a server: parley-verify --key pool.vkey DIR. The range grows to whole files. What was said is in the files only.`}
	cmd.Flags().StringVar(&f.feed, "feed", "", "`FEED`")
	cmd.Flags().StringVar(&f.out, "out", "", "new `DIR`")
	cmd.Flags().StringVar(&f.files, "files", "", "`DIR` with the feed's files; default: where the node that answers has them")
	cmd.Flags().BoolVar(&f.link, "link", false, "give the files a second name instead of copying them; whoever alters one then alters the archive")
	cmd.Flags().StringVar(&f.since, "since", "", "`FILE` with an earlier checkpoint, to prove that the log continues it")
	cmd.Flags().Uint64Var(&f.from, "from", 0, "first event `OFFSET`")
	cmd.Flags().Uint64Var(&f.to, "to", 0, "last event `OFFSET`; default: the last that was delivered")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.feed == "" || f.out == "" {
			return usagef("feed prove: name --feed FEED and --out DIR")
		}
		if f.to != 0 && f.from > f.to {
			return usagef("feed prove: --from %d is after --to %d", f.from, f.to)
		}
		p, err := a.prove(cmd.Context(), f)
		if err != nil {
			return fmt.Errorf("feed prove: %w", explain(err))
		}
		if a.json {
			return a.emit(p)
		}
		a.say("events %d to %d, %d files, proven in %s under a checkpoint of %d events", p.First, p.Last, p.Files, p.Dir, p.Size)
		return nil
	}
	return cmd
}

// prove writes the directory. If it fails, or the process dies, the directory is incomplete and parley-verify says so.
func (a *app) prove(ctx context.Context, f proveFlags) (out proved, err error) {
	q := url.Values{}
	for name, n := range map[string]uint64{"from": f.from, "to": f.to} {
		if n != 0 {
			q.Set(name, strconv.FormatUint(n, 10))
		}
	}
	if f.since != "" {
		b, err := os.ReadFile(f.since)
		if err != nil {
			return out, err
		}
		size, err := proof.SizeOf(b)
		if err != nil {
			return out, fmt.Errorf("%s: %w", f.since, err)
		}
		q.Set("since", strconv.FormatInt(size, 10))
	}
	if entries, err := os.ReadDir(f.out); err == nil && len(entries) > 0 {
		return out, fmt.Errorf("%s is not empty; name a new directory", f.out)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return out, err
	}
	c, err := a.client()
	if err != nil {
		return out, err
	}
	var answer admin.FeedProof
	if err := c.Do(ctx, client.Request{Method: http.MethodGet, Path: []string{"feeds", f.feed, "proof"}, Query: q}, &answer); err != nil {
		return out, err
	}
	p := new(proof.Proof)
	if err := json.Unmarshal(answer.Proof, p); err != nil {
		return out, fmt.Errorf("read the answer: %w", err)
	}
	encoded, err := p.Encode()
	if err != nil {
		return out, err
	}
	if err := os.MkdirAll(f.out, 0o750); err != nil {
		return out, err
	}
	for name, b := range map[string][]byte{proof.FileProof: encoded, proof.FileCheckpoint: []byte(answer.Checkpoint)} {
		if err := os.WriteFile(filepath.Join(f.out, name), b, 0o640); err != nil {
			return out, err
		}
	}
	if err := records(ctx, c, p, filepath.Join(f.out, proof.FileEntries)); err != nil {
		return out, err
	}
	names, err := proof.Files(os.DirFS(f.out))
	if err != nil {
		return out, err
	}
	from := f.files
	if from == "" {
		from = answer.Directory
	}
	for i := 0; i < len(names); i++ { // a list adds the files that it names
		name := names[i]
		if err := place(filepath.Join(from, name), filepath.Join(f.out, name), f.link); err != nil {
			return out, fmt.Errorf("%w; if the files are elsewhere, name the directory with --files", err)
		}
		if !proof.IsList(name) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(f.out, name))
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
	return proved{Feed: f.feed, Dir: f.out, First: uint64(p.First), Last: uint64(p.Last), Files: len(names), Size: p.Size}, nil
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
