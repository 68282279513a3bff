// Package freeport finds ports for the nodes of tests.
package freeport

import (
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
)

// Range is where a package looks, and what it has given away. Packages are tested at the same time, each in a process of its
// own, and a node that was killed must find its port again, while other tests of its process look for theirs: so ranges are
// apart from each other, from those of parley-bench and of the real client's tests, and below those that the kernel gives to
// connections, and no port is given twice before the range has been gone through.
type Range struct {
	from, to int
	mu       sync.Mutex
	next     int // counts from from; beyond the range it begins again
}

// The ranges.
var (
	Program = &Range{from: 26000, to: 32000, next: os.Getpid() * 40} // cmd/parley
	Server  = &Range{from: 32100, to: 32700, next: os.Getpid() * 40} // cmd/internal/server
)

// Ports returns the first of n ports in a row that are free now.
func (r *Range) Ports(t testing.TB, n int) int {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for range (r.to - r.from) / n {
		base := r.from + r.next%(r.to-r.from-n)
		r.next += n
		if free(base, n) {
			return base
		}
	}
	t.Fatal("no free ports")
	return 0
}

func free(base, n int) bool {
	for port := base; port < base+n; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		if l.Close() != nil {
			return false
		}
	}
	return true
}
