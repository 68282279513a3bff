package memory

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"

	"parley/log/event"
)

// Node is a node in one word, never 0, so that a join always leaves something behind.
func Node(n event.NodeID) uint64 {
	h := fnv.New64a()
	h.Write([]byte(n))
	return h.Sum64() | 1
}

// Pack keeps a GUID in lower case in two words; what is none becomes 0, 0.
func Pack(id string) (a, b uint64) {
	if len(id) != 36 {
		return 0, 0
	}
	raw, err := hex.DecodeString(id[0:8] + id[9:13] + id[14:18] + id[19:23] + id[24:36])
	if err != nil {
		return 0, 0
	}
	if a, b = binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:]); Unpack(a, b) != id {
		return 0, 0
	}
	return a, b
}

// Unpack returns the GUID that Pack made two words of.
func Unpack(a, b uint64) string {
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", a>>32, a>>16&0xffff, a&0xffff, b>>48, b&0xffffffffffff)
}
