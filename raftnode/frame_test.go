package raftnode

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func appendFrame(b []byte, f frame) []byte { return append(f.appendHeader(b), f.payload...) }

// FuzzReadFrame feeds anything to the reader of the forwarding protocol. Frames are within the limits, and written again
// they are the bytes that were read.
func FuzzReadFrame(f *testing.F) {
	signOfLife := appendFrame(nil, frame{})
	request := appendFrame(nil, frame{id: 1, payload: []byte("a request")})
	refusal := appendFrame(nil, frame{id: 1, status: statusNotLeader})
	f.Add(bytes.Join([][]byte{signOfLife, request, signOfLife, refusal}, nil))
	f.Add(request[:len(request)-1])
	f.Add([]byte{0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0})      // shorter than its header
	f.Add([]byte{0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})  // a sign of life that says something
	f.Add([]byte{1, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 1, 0})     // a byte more than the limit
	f.Add([]byte{255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 1}) // as long as can be said
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		for {
			before := len(b) - in.Len()
			f, err := readFrame(in)
			if err != nil {
				if in.Len() == 0 && before == len(b) && !errors.Is(err, io.EOF) {
					t.Fatalf("the end between two frames is %v", err)
				}
				return
			}
			if len(f.payload) > maxFramePayload || (f.id == 0 && len(f.payload) > 0) {
				t.Fatalf("frame %d with %d bytes", f.id, len(f.payload))
			}
			if got := appendFrame(nil, f); !bytes.Equal(got, b[before:len(b)-in.Len()]) {
				t.Fatalf("%x was read, and is written as %x", b[before:len(b)-in.Len()], got)
			}
		}
	})
}
