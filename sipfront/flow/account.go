package flow

import (
	"net"
	"net/netip"
	"sync"
)

// account counts flows: all of them, and apart those that the application does not know yet, because anybody can open
// one of these. Who is known counts only against the limit of all.
type account struct {
	limits *Limits

	mu      sync.Mutex
	all     int
	unknown int
	perHost map[netip.Addr]int // of the unknown ones, off loopback
}

func newAccount(l *Limits) *account { return &account{limits: l, perHost: map[netip.Addr]int{}} }

// open counts a flow in, as one that is not known, or says why not.
func (a *account) open(remote net.Addr) (refused string) {
	host, loopback := hostOf(remote)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.all >= a.limits.Conns:
		return "too_many"
	case a.unknown >= a.limits.Unknown:
		return "too_many_unknown"
	case !loopback && a.perHost[host] >= a.limits.UnknownPerHost:
		return "too_many_of_host"
	}
	a.all++
	a.unknown++
	if !loopback {
		a.perHost[host]++
	}
	return ""
}

// known takes a flow off the account of the unknown ones. It is called once for each flow, at its end at the latest.
func (a *account) known(remote net.Addr) {
	host, loopback := hostOf(remote)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unknown--
	if loopback {
		return
	}
	if a.perHost[host]--; a.perHost[host] <= 0 {
		delete(a.perHost, host)
	}
}

// end counts a flow out that is known, or was made so.
func (a *account) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all--
}

func hostOf(a net.Addr) (host netip.Addr, loopback bool) {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}, false
	}
	host = ap.Addr().Unmap()
	return host, host.IsLoopback() // all of 127.0.0.0/8 and ::1
}

func isLoopback(a net.Addr) bool {
	_, l := hostOf(a)
	return l
}
