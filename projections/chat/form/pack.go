package form

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// PackID keeps a GUID in two words; what is none becomes 0, 0.
func PackID(id string) (a, b uint64) {
	if !ID(id) {
		return 0, 0
	}
	raw, err := hex.DecodeString(id[0:8] + id[9:13] + id[14:18] + id[19:23] + id[24:36])
	if err != nil {
		return 0, 0
	}
	return binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])
}

// UnpackID returns the GUID of two words.
func UnpackID(a, b uint64) string {
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", a>>32, a>>16&0xffff, a&0xffff, b>>48, b&0xffffffffffff)
}
