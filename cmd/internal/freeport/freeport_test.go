package freeport

import (
	"fmt"
	"net"
	"testing"
)

// A pool whose node is stopped for a moment must not lose its port to the next pool.
func TestNotTwice(t *testing.T) {
	r := &Range{from: 25000, to: 25400}
	seen := map[int]bool{}
	for range 9 {
		base := r.Ports(t, 40)
		for p := base; p < base+40; p++ {
			if seen[p] {
				t.Fatalf("port %d given twice", p)
			}
			seen[p] = true
		}
	}
}

func TestTaken(t *testing.T) {
	r := &Range{from: 25400, to: 25480}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 25403))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if base := r.Ports(t, 10); base != 25410 {
		t.Fatal(base)
	}
}
