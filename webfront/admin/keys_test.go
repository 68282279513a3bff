package admin_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"parley/log/event"
	"parley/projections/chat"
	"parley/webfront/admin"
	"parley/webfront/signing"
)

// ring is a key ring in memory.
type ring struct {
	public  []string
	signers []note.Signer
}

func (r *ring) add(t *testing.T) string {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.NewChaCha8([32]byte{byte(len(r.public)) + 1}), "contoso.test/parley")
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	r.public, r.signers = append(r.public, vkey), append(r.signers, s)
	return vkey
}

func (r *ring) Held() ([]string, error) { return r.public, nil }

func (r *ring) Vouch(e event.SigningKeyRotated) (event.SigningKeyRotated, error) {
	var by []note.Signer
	for i, p := range r.public {
		if p == e.Old || p == e.New {
			by = append(by, r.signers[i])
		}
	}
	b, err := note.Sign(&note.Note{Text: e.Statement()}, by...)
	e.Signatures = strings.TrimPrefix(string(b), e.Statement()+"\n")
	return e, err
}

func TestKeys(t *testing.T) {
	r := new(ring)
	first, second := r.add(t), r.add(t)
	others := map[event.NodeID][]string{}
	f := newFixture(t, func(o *admin.Options) {
		o.Keys = r
		o.RemoteKeys = func(_ context.Context, m admin.Member) (signing.NodeKeys, error) {
			if others[m.ID] == nil {
				return signing.NodeKeys{}, errors.New("down")
			}
			return signing.NodeKeys{Node: m.ID, Keys: others[m.ID]}, nil
		}
	})
	f.pool.Nodes = []admin.Member{{ID: "n1", State: admin.StateLeader}, {ID: "n2", HTTPS: "b", State: admin.StateVoter}, {ID: "n3", HTTPS: "c", State: admin.StateVoter}}
	others["n2"], others["n3"] = []string{first}, []string{first}
	states := func() (out []string) {
		for _, k := range want[[]signing.Key](f, 200, "GET", "/keys", "") {
			out = append(out, k.State)
		}
		return out
	}
	if s := strings.Join(states(), " "); s != "signs ready" {
		t.Error(s)
	}
	hash := strings.Split(second, "+")[1]
	f.refused(409, chat.CodeConflict, "POST", "/keys", `{"key":"`+hash+`"}`) // the others have not got it
	f.refused(404, chat.CodeNotFound, "POST", "/keys", `{"key":"00000000"}`)
	f.refused(400, chat.CodeInvalid, "POST", "/keys", `{"key":"`+hash+`","revoked_from":3}`)
	for id := range others {
		others[id] = []string{first, second}
	}
	want[admin.WhatIf](f, 200, "POST", "/keys?what_if=true", `{"key":"`+hash+`"}`)
	keys := want[[]signing.Key](f, 200, "POST", "/keys", `{"key":"`+hash+`","revoke":true,"reason":"stolen"}`)
	e, ok := f.last().Event.(*event.SigningKeyRotated)
	if !ok || e.Old != first || e.New != second || e.RevokedFrom != f.last().Offset || e.Reason != "stolen" {
		t.Fatalf("%+v", f.last())
	}
	if len(keys) != 2 || keys[0].State != signing.Revoked || keys[0].RevokedFrom == 0 || keys[1].State != signing.Signs || len(keys[1].Nodes) != len(others)+1 {
		t.Errorf("%+v", keys)
	}
	head := f.last().Offset
	want[[]signing.Key](f, 200, "POST", "/keys", `{"key":"`+second+`"}`) // it signs already
	if f.last().Offset != head {
		t.Error("a second rotation to the same key")
	}
	third := r.add(t)
	f.refused(409, chat.CodeConflict, "POST", "/keys", `{"key":"`+first+`","force":true}`) // never back
	others = map[event.NodeID][]string{}
	f.refused(409, chat.CodeConflict, "POST", "/keys", `{"key":"`+third+`"}`) // nobody answers
	want[[]signing.Key](f, 200, "POST", "/keys", `{"key":"`+third+`","force":true}`)
	if s := strings.Join(states(), " "); s != "revoked replaced signs" {
		t.Error(s)
	}
}
