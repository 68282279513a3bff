package admin_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"parley/webfront/admin"
)

// TestRenewedAuthority: a node that has renewed its authority believes the new one when it calls another node next.
func TestRenewedAuthority(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "feeds") {
			fmt.Fprint(w, "[]")
		} else {
			fmt.Fprint(w, "{}")
		}
	}))
	defer srv.Close()
	pool := x509.NewCertPool()
	config := func(string) *tls.Config { return &tls.Config{RootCAs: pool, ServerName: "example.com"} }
	nodes, feeds := admin.NewNodes(config), admin.PeerFeeds(config)
	m := admin.Member{ID: "n2", HTTPS: srv.Listener.Addr().String()}
	ask := func() (status, list error) {
		_, status = nodes.Status(t.Context(), m, 0)
		_, list = feeds(t.Context(), m)
		return status, list
	}
	if status, list := ask(); status == nil || list == nil {
		t.Errorf("a stranger is believed: %v, %v", status, list)
	}
	pool = x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	if status, list := ask(); status != nil || list != nil {
		t.Errorf("with the new authority: %v, %v", status, list)
	}
}
