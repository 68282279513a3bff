// Command parley-verify proves, without a server and offline, that files of a compliance feed are exactly what the pool
// archived: none of the events from the first to the last is missing or altered, none was added, and their order is
// that of the pool's log, under a checkpoint that the pool signed.
//
//	parley-verify --key pool.vkey DIR
//
// DIR is what `parley feed prove` wrote; docs/proof.md is its format. It prints one line per finding and ends with 1, or
// says what is proven and ends with 0; 2 means that it was called wrongly. Nothing is written.
//
//	parley-verify cosign --witness witness.key --key pool.vkey --state DIR REQUEST
//
// is a witness: it signs a checkpoint that continues the last one it signed, and writes into DIR which that was.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"parley/compliance/proof"
	"parley/compliance/proof/witness"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is main with its surroundings.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case "cosign":
			return cosign(args[1:], stdin, stdout, stderr)
		case "witness-key":
			return witnessKey(args[1:], stdout, stderr)
		}
	}
	var keys, witnesses []note.Verifier
	flags := flag.NewFlagSet("parley-verify", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: parley-verify --key FILE [--witness-key FILE ...] [--since FILE] [--quiet] DIR")
		fmt.Fprintln(stderr, "       parley-verify cosign ...       sign checkpoints as a witness\n       parley-verify witness-key ...  make the key of a witness")
		flags.PrintDefaults()
	}
	flags.Func("key", "`FILE` with the pool's public key (pool.vkey); more keys: witnesses that must have signed too", func(name string) error {
		v, err := readKey(name)
		keys = append(keys, v)
		return err
	})
	flags.Func("witness-key", "`FILE` with the public key of a witness that must have signed too; may be repeated", func(name string) error {
		v, err := readWitness(name)
		witnesses = append(witnesses, v)
		return err
	})
	since := flags.String("since", "", "`FILE` with an earlier checkpoint that you kept: the proof must show that the log continues it")
	quiet := flags.Bool("quiet", false, "print findings only")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if len(keys) == 0 || flags.NArg() != 1 {
		flags.Usage()
		return 2
	}
	var earlier []byte
	if *since != "" {
		var err error
		if earlier, err = os.ReadFile(*since); err != nil {
			fmt.Fprintf(stderr, "parley-verify: read the earlier checkpoint: %v\n", err)
			return 2
		}
	}
	dir := flags.Arg(0)
	if info, err := os.Stat(dir); err != nil {
		fmt.Fprintf(stderr, "parley-verify: %v\n", err)
		return 2
	} else if !info.IsDir() {
		fmt.Fprintf(stderr, "parley-verify: %s is not a directory; name what parley feed prove wrote\n", dir)
		return 2
	}
	r, err := proof.Verify(os.DirFS(dir), earlier, append(keys, witnesses...)...)
	if err != nil {
		fmt.Fprintf(stdout, "%s could not be read: %v\n", dir, err)
		return 1
	}
	for _, f := range r.Findings {
		fmt.Fprintln(stdout, f)
	}
	if len(r.Findings) > 0 {
		return 1
	}
	if !*quiet {
		summary(stdout, r, earlier != nil)
		for _, w := range append(keys[1:], witnesses...) {
			fmt.Fprintf(stdout, "signed by %s too\n", w.Name())
		}
	}
	return 0
}

// readWitness reads the key of a witness: of a cosignature, or a plain note key.
func readWitness(name string) (note.Verifier, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if v, err := witness.ParseVerifier(strings.TrimSpace(string(b))); err == nil {
		return v, nil
	}
	return readKey(name)
}

func readKey(name string) (note.Verifier, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("%s is not a public note key: %w", name, err)
	}
	return v, nil
}

// why quotes a reason, if there is one.
func why(reason string) string {
	if reason == "" {
		return ""
	}
	return fmt.Sprintf(": %q", reason)
}

// summary says what is proven, for the auditor's file.
func summary(w io.Writer, r *proof.Report, continues bool) {
	posts := 0
	for _, m := range r.Rooms {
		posts += m.Posts
	}
	fmt.Fprintf(w, "proven: feed %s, events %d to %d, %s to %s: nothing missing, nothing added, order exact\n", r.Feed, r.First, r.Last, r.From, r.To)
	fmt.Fprintf(w, "files: %d with %d bytes, as delivered\n", r.Files, r.Bytes)
	fmt.Fprintf(w, "rooms: %d with %d messages\n", len(r.Rooms), posts)
	for _, m := range r.Rooms {
		fmt.Fprintf(w, "  %s %q: %d events, %d messages\n", m.ID, m.Name, m.Events, m.Posts)
	}
	if len(r.Removals) == 0 {
		fmt.Fprintln(w, "bodies lawfully erased: none that these events tell of")
	}
	for _, x := range r.Removals {
		what := fmt.Sprintf("all up to %s", x.Until)
		if len(x.Messages) > 0 {
			var ids []string
			for _, m := range x.Messages {
				ids = append(ids, fmt.Sprintf("%d (event %d)", m.MessageID, m.Offset))
			}
			what = strings.Join(ids, ", ")
		}
		if p := x.Purged; p != nil {
			what = p.Text()
		}
		fmt.Fprintf(w, "bodies lawfully erased: room %s, messages %s, by %s at %s (event %d)\n", x.Room, what, x.By, x.At, x.Offset)
	}
	fmt.Fprintf(w, "checkpoint: %s, %d events, root %s\n", r.Checkpoint.Origin, r.Checkpoint.Size, r.Checkpoint.Root)
	for _, x := range r.Rotations {
		fmt.Fprintf(w, "key replaced: %s by %s, by %s at %s (event %d)%s\n", x.Old, x.New, x.By, x.At, x.Offset, why(x.Reason))
		if x.RevokedFrom > 0 {
			fmt.Fprintf(w, "key revoked: %s from event %d on. Whoever has it can replace it too: have the pool tell you its key, and check with that\n", x.Old, x.RevokedFrom)
		}
	}
	if r.Followed {
		fmt.Fprintf(w, "signed with %s, which follows the key that was given\n", r.Rotations[len(r.Rotations)-1].New)
	}
	if continues {
		fmt.Fprintln(w, "the checkpoint continues the earlier one")
	}
}
