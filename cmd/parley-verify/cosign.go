package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"parley/compliance/proof/witness"
)

// cosign is the witness: it signs the checkpoint of a request if that continues what it signed last.
func cosign(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("parley-verify cosign", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: parley-verify cosign --witness FILE --key FILE --state DIR [--first] [--line] REQUEST|-")
		flags.PrintDefaults()
	}
	private := flags.String("witness", "", "`FILE` with this witness's private key, as parley-verify witness-key made it")
	public := flags.String("key", "", "`FILE` with the pool's public key (pool.vkey)")
	state := flags.String("state", "", "`DIR` that remembers what was signed last: keep it as you keep the key")
	first := flags.Bool("first", false, "nothing was signed of this pool before: begin with this checkpoint")
	line := flags.Bool("line", false, "print this witness's line alone, as C2SP tlog-witness has it, not the whole checkpoint")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if *private == "" || *public == "" || *state == "" || flags.NArg() != 1 {
		flags.Usage()
		return 2
	}
	secret, err := os.ReadFile(*private)
	if err != nil {
		return failed(stderr, 2, "cosign", err)
	}
	pool, err := readKey(*public)
	if err != nil {
		return failed(stderr, 2, "cosign", err)
	}
	w, err := witness.Open(*state, string(secret), time.Now)
	if err != nil {
		return failed(stderr, 2, "cosign", err)
	}
	if name := flags.Arg(0); name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return failed(stderr, 2, "cosign", err)
		}
		defer f.Close() //nolint:errcheck // read only
		stdin = f
	}
	request, err := io.ReadAll(io.LimitReader(stdin, witness.MaxRequest+1))
	if err != nil {
		return failed(stderr, 2, "cosign", err)
	}
	out, own, err := w.Cosign(request, pool, *first)
	switch {
	case errors.Is(err, witness.ErrOld):
		size, _ := w.LastSize(pool)
		return failed(stderr, 1, "cosign", fmt.Errorf("%w. Ask with the checkpoint of %d events that this witness signed", err, size))
	case errors.Is(err, witness.ErrFirst):
		return failed(stderr, 1, "cosign", fmt.Errorf("%w; if that is so, say --first. If it is not, its memory is gone: do not sign", err))
	case err != nil:
		return failed(stderr, 1, "cosign", err)
	}
	if *line {
		out = own
	}
	if _, err := stdout.Write(out); err != nil {
		return failed(stderr, 1, "cosign", err)
	}
	return 0
}

// witnessKey makes the key of a witness.
func witnessKey(args []string, stdout, stderr io.Writer) int {
	if len(args) != 2 {
		fmt.Fprintln(stderr, "usage: parley-verify witness-key NAME FILE\nwrites FILE, to be kept, and FILE.vkey, to be told; NAME is like witness.example.org")
		return 2
	}
	private, public, err := witness.NewKey(args[0])
	if err != nil {
		return failed(stderr, 2, "witness-key", err)
	}
	for name, f := range map[string]struct {
		text string
		mode os.FileMode
	}{args[1]: {private, 0o600}, args[1] + ".vkey": {public.Public(), 0o644}} {
		if err := writeNew(name, f.text+"\n", f.mode); err != nil {
			return failed(stderr, 1, "witness-key", err)
		}
	}
	fmt.Fprintln(stdout, public.Public())
	return 0
}

// writeNew writes a file that is not there yet.
func writeNew(name, text string, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Close())
}

func failed(stderr io.Writer, code int, what string, err error) int {
	fmt.Fprintf(stderr, "parley-verify %s: %v\n", what, err)
	return code
}
