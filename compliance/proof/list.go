package proof

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
)

// maxList bounds the list of a cut's files, in bytes.
const maxList = 64 << 20

// Listed is a file of a cut that has several.
type Listed struct {
	Name   string
	SHA256 []byte
}

// IsList reports whether a receipt is that of a list of files, by its name.
func IsList(name string) bool { return strings.HasSuffix(name, ".sha256") }

// ParseList reads a list: a line for each file, SHA-256 in hex, two spaces, the name. sha256sum -c reads it too.
func ParseList(b []byte) ([]Listed, error) {
	var out []Listed
	for line := range bytes.Lines(b) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), "  ")
		h, err := hex.DecodeString(sum)
		if !ok || err != nil || len(h) != 32 || name == "" || strings.Contains(name, "/") {
			return nil, fmt.Errorf("line %d of the list is not a hash and a file's name", len(out)+1)
		}
		out = append(out, Listed{name, h})
	}
	return out, nil
}
