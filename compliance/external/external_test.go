package external_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/compliance"
	"parley/compliance/adaptertest"
	"parley/compliance/external"
	"parley/log/event"
)

// TestMain is also the program: it archives into a file, as one would that was written by somebody else.
func TestMain(m *testing.M) {
	if mode := os.Getenv("PARLEY_TEST_ARCHIVER"); mode != "" {
		if err := archiver(mode, os.Getenv("PARLEY_TEST_ARCHIVE")); err != nil {
			fmt.Fprintln(os.Stderr, "archiver:", err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type cut struct {
	Cut struct {
		Feed, Name  string
		First, Last uint64
	}
	End *struct {
		Events, Bytes uint64
		SHA256        string
	}
	Offset uint64
}

func archiver(mode, dir string) error {
	in := bufio.NewReader(os.Stdin)
	var head, end cut
	line, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return err
	}
	switch mode {
	case "hang":
		select {}
	case "deaf":
		return errors.New("I do not want to")
	case "hasty": // a receipt without having read
		fmt.Printf(`{"receipt":{"first":%d,"last":%d,"events":1,"name":"x","bytes":1,"sha256":"%064d"}}`+"\n", head.Cut.First, head.Cut.Last, 0)
		return nil
	}
	var content []byte
	events := uint64(0)
	for end.End == nil {
		if line, err = in.ReadBytes('\n'); err != nil {
			return fmt.Errorf("the cut broke off: %w", err)
		}
		if err := json.Unmarshal(line, &end); err != nil {
			return err
		}
		if end.End == nil {
			content = append(content, line...)
			events++
		}
	}
	sum := sha256.Sum256(content)
	if end.End.Events != events || end.End.SHA256 != hex.EncodeToString(sum[:]) || end.End.Bytes != uint64(len(content)) {
		return fmt.Errorf("end says %+v", end.End)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return fmt.Errorf("after the end: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, head.Cut.Name), content, 0o600); err != nil {
		return err
	}
	switch mode {
	case "silent":
		return nil
	case "chatty":
		fmt.Println("hello")
	case "other":
		head.Cut.Last++
	case "sums":
		sum[0]++
		fmt.Printf(`{"receipt":{"first":%d,"last":%d,"events":%d,"name":"x","bytes":1,"sha256":"zz"}}`+"\n", head.Cut.First, head.Cut.Last, events)
		return nil
	case "none":
		fmt.Printf(`{"receipt":{"first":%d,"last":%d,"events":%d}}`+"\n", head.Cut.First, head.Cut.Last, events)
		return nil
	}
	fmt.Printf(`{"receipt":{"first":%d,"last":%d,"events":%d,"name":%q,"bytes":%d,"sha256":"%x"}}`+"\n", head.Cut.First, head.Cut.Last, events, head.Cut.Name, len(content), sum)
	if mode == "dies" {
		return errors.New("after all, no")
	}
	return nil
}

func run(t *testing.T, mode string, ctx context.Context, change func(error) error) (compliance.Receipt, map[string]string, error) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("PARLEY_TEST_ARCHIVER", mode)
	t.Setenv("PARLEY_TEST_ARCHIVE", dir)
	w, m := adaptertest.Scene()
	c, events := adaptertest.Cut(t, w, "feed", m.Directory+1, m.Restarted)
	r, err := external.New([]string{os.Args[0]}).Deliver(ctx, c, func(yield func(event.Envelope, error) bool) {
		n := 0
		for e, err := range events {
			if n++; n == 5 && change != nil {
				yield(event.Envelope{}, change(err))
				return
			}
			if !yield(e, err) {
				return
			}
		}
	})
	files := map[string]string{}
	names, derr := os.ReadDir(dir)
	if derr != nil {
		t.Fatal(derr)
	}
	for _, n := range names {
		b, rerr := os.ReadFile(filepath.Join(dir, n.Name()))
		if rerr != nil {
			t.Fatal(rerr)
		}
		files[n.Name()] = string(b)
	}
	return r, files, err
}

func TestDelivered(t *testing.T) {
	r, files, err := run(t, "good", t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	content := files[r.Name]
	if sha256.Sum256([]byte(content)) != r.SHA256 || uint64(len(content)) != r.Bytes || !strings.Contains(content, `"kind":"posted"`) || !strings.Contains(content, `"implied":true`) {
		t.Errorf("%+v:\n%s", r, content)
	}
	if r, _, err := run(t, "none", t.Context(), nil); err != nil || !r.Empty() {
		t.Errorf("a range that held nothing for it: %+v, %v", r, err)
	}
}

// Nothing but a receipt for exactly this cut, from a program that ended well, counts.
func TestRefused(t *testing.T) {
	for mode, want := range map[string]string{"deaf": "I do not want to", "hasty": "its receipt is for", "silent": "no receipt", "chatty": "no receipt", "other": "its receipt is for",
		"sums": "sha256", "dies": "after all, no"} {
		t.Run(mode, func(t *testing.T) {
			if r, _, err := run(t, mode, t.Context(), nil); err == nil || !strings.Contains(err.Error(), want) || r != (compliance.Receipt{}) {
				t.Errorf("%+v, %v; want an error with %q", r, err, want)
			}
		})
	}
	c, events := func() (compliance.Cut, func(func(event.Envelope, error) bool)) {
		w, m := adaptertest.Scene()
		c, r := adaptertest.Cut(t, w, "feed", m.Directory+1, m.Restarted)
		return c, r
	}()
	if _, err := external.New([]string{filepath.Join(t.TempDir(), "nothing")}).Deliver(t.Context(), c, events); err == nil {
		t.Error("a program that is not there delivered")
	}
}

// A run that breaks off is not a cut that ends: the program must not take what it got for one.
func TestBrokenOff(t *testing.T) {
	broken := errors.New("the log broke off")
	r, files, err := run(t, "good", t.Context(), func(error) error { return broken })
	if !errors.Is(err, broken) || len(files) > 0 || r != (compliance.Receipt{}) {
		t.Errorf("%+v, %v, %v", r, files, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, files, err = run(t, "good", ctx, func(err error) error { cancel(); return ctx.Err() })
	if !errors.Is(err, context.Canceled) || len(files) > 0 {
		t.Errorf("%v, %v", files, err)
	}
	cancelled, stop := context.WithCancel(t.Context())
	stop()
	if _, _, err := run(t, "hang", cancelled, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a program that hangs: %v", err)
	}
}

func TestOptions(t *testing.T) {
	env := compliance.Env{Program: func(name string) ([]string, error) {
		if name != "known" {
			return nil, errors.New("no such program")
		}
		return []string{"/bin/true"}, nil
	}}
	for value, ok := range map[string]bool{"known": true, "other": false, "": false} {
		_, err := external.Kind.New(env, compliance.NewOptions([]event.FeedOption{{Name: "program", Value: value}}))
		if (err == nil) != ok {
			t.Errorf("program %q: %v", value, err)
		}
	}
}
