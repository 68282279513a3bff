package sipfront

import "testing"

// TestOnlyParts: what is let through in overload is what leaves a room, not what speaks of it.
func TestOnlyParts(t *testing.T) {
	const part = `<cmd id="cmd:part" seqid="1"><data><chanib uri="ma-chan://x.test/00000000-0000-4000-8000-000000000101"/></data></cmd>`
	const post = `<grpchat id="grpchat" seqid="1" chanUri="ma-chan://x.test/00000000-0000-4000-8000-000000000101" author="sip:a@x.test" ts="2026-01-02T03:04:05Z"><chat>cmd:part</chat></grpchat>`
	const ask = `<cmd id="cmd:requri" seqid="1"><data/></cmd>`
	for _, c := range []struct {
		items string
		want  bool
	}{{part, true}, {part + part, true}, {post, false}, {part + post, false}, {part + ask, false}, {"<!-- cmd:part -->", false}, {"cmd:part", false}} {
		if got := onlyParts([]byte(`<xccos ver="1" envid="1" xmlns="urn:parlano:xml:ns:xccos">` + c.items + `</xccos>`)); got != c.want {
			t.Errorf("%s: %v", c.items, got)
		}
	}
}
