// Package password reads the passwords that an administrator gives.
package password

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Read reads the first line of a file, of standard input (-), or what somebody types twice; typed says that there is somebody.
func Read(file string, stdin io.Reader, typed bool, stderr io.Writer) (string, error) {
	if file != "-" {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		line, _, _ := bytes.Cut(b, []byte("\n"))
		return strings.TrimSuffix(string(line), "\r"), nil
	}
	if !typed {
		b, err := io.ReadAll(io.LimitReader(stdin, 1<<16))
		if err != nil {
			return "", err
		}
		line, _, _ := bytes.Cut(b, []byte("\n"))
		return strings.TrimSuffix(string(line), "\r"), nil
	}
	fd := int(stdin.(*os.File).Fd())
	ask := func(prompt string) ([]byte, error) {
		fmt.Fprint(stderr, prompt)
		defer fmt.Fprintln(stderr)
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
