package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// readPassword reads the first line of a file, of standard input (-), or what somebody types twice.
func (a *app) readPassword(file string) (string, error) {
	if file != "-" {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		line, _, _ := bytes.Cut(b, []byte("\n"))
		return strings.TrimSuffix(string(line), "\r"), nil
	}
	if !terminal(a.stdin) {
		b, err := io.ReadAll(io.LimitReader(a.stdin, 1<<16))
		if err != nil {
			return "", err
		}
		line, _, _ := bytes.Cut(b, []byte("\n"))
		return strings.TrimSuffix(string(line), "\r"), nil
	}
	fd := int(a.stdin.(*os.File).Fd())
	ask := func(prompt string) ([]byte, error) {
		fmt.Fprint(a.stderr, prompt)
		defer fmt.Fprintln(a.stderr)
		return term.ReadPassword(fd)
	}
	one, err := ask("Password: ")
	if err != nil {
		return "", err
	}
	two, err := ask("Again: ")
	if err != nil {
		return "", err
	}
	if !bytes.Equal(one, two) {
		return "", errors.New("the two are not the same")
	}
	return string(one), nil
}
