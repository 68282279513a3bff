package xccos

import "testing"

// BenchmarkDecode reads a typical message of each kind: the target is 10 microseconds and 40 allocations.
func BenchmarkDecode(b *testing.B) {
	e := vectors(b, "e")
	for _, name := range []string{"V17", "V07", "V14", "V24a"} {
		body := []byte(e[name])
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := Decode(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkEncode renders the body of a fan-out, and a join reply of 75 users, into a buffer that is used again.
func BenchmarkEncode(b *testing.B) {
	post := &Post{ChanURI: harbor, Author: "sip:alice@example.com", TS: "2014-05-06T07:09:30.4810000Z", Text: "Berth 4 is free"}
	var roster Roster
	var users []Occupant
	for i := range 75 {
		users = append(users, Occupant{URI: "sip:user" + Mask(i).String() + "@example.com", Mask: MaskMember})
	}
	roster.Add(ChanIB{URI: harbor, Name: "Harbor Ops"}, users)
	env, cmd := &Envelope{EnvID: "70010005"}, &Item{ID: CmdJoin, Seq: "1"}
	for name, run := range map[string]func(dst []byte) []byte{
		"post": func(dst []byte) []byte { return AppendPost(dst, 1, post) },
		"join": func(dst []byte) []byte { return AppendReply(dst, 1, env, cmd, 200, Success, &roster.Data) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				buf = run(buf[:0])
			}
			b.SetBytes(int64(len(buf)))
		})
	}
}

// TestAllocations holds the decoder to its target; the clock is left to the benchmark.
func TestAllocations(t *testing.T) {
	for _, dir := range []string{"e", "x"} {
		for name, body := range vectors(t, dir) {
			if isServer(body) {
				continue
			}
			raw := []byte(body)
			if n := testing.AllocsPerRun(100, func() {
				if _, err := Decode(raw); err != nil {
					t.Fatal(err)
				}
			}); n > 40 {
				t.Errorf("%s: %v allocations, at most 40", name, n)
			}
		}
	}
}
