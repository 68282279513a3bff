package sipfront_test

import (
	"fmt"
	"strings"
	"testing"

	"parley/log/event"
	"parley/sipfront/siptest"
)

func publish(instance, version int, content string, more string) string {
	return fmt.Sprintf(`<publish xmlns="http://schemas.microsoft.com/2006/09/sip/rich-presence"><publications uri="sip:alice@contoso.test">`+
		`<publication categoryName="state" instance="1" container="2" version="0" expireType="endpoint"><state/></publication>`+
		`<publication categoryName="roomSetting" instance="%d" container="1" version="%d" expireType="static"%s>%s</publication></publications></publish>`, instance, version, more, content)
}

const followed = `<propertyList xmlns="http://schemas.microsoft.com/2010/12/sip/propertyList"><property name="name" type="string"><value>A &amp; B</value></property></propertyList>`

// TestFollowedRooms: settings are kept for all devices of a user, a stale version is a conflict, and expires="0" removes.
func TestFollowedRooms(t *testing.T) {
	s := serve(t, nil)
	service := func(c *siptest.Client, body string) *siptest.Message {
		return c.Do(siptest.Request{Method: "SERVICE", Headers: []string{"Content-Type: application/msrtc-category-publish+xml"}, Body: []byte(body)})
	}
	read := func(c *siptest.Client) string {
		m := c.Do(siptest.Request{Method: "SUBSCRIBE", Headers: []string{"Event: vnd-microsoft-roaming-self", "Supported: ms-piggyback-first-notify"}})
		check(t, c)
		return string(m.Body)
	}
	a := s.client("alice", epid("e1"))
	if m := service(a, publish(7, 0, followed, "")); m == nil || m.Status() != 200 || !strings.Contains(string(m.Body), `version="1"`) {
		t.Fatalf("%v %v", m, a.Err())
	}
	b := s.client("alice", epid("e2"))
	got := read(b)
	if !strings.Contains(got, `<category name="roomSetting" instance="7"`) || !strings.Contains(got, `container="1" version="1" expireType="static">`+followed+`</category>`) || strings.Contains(got, "state") {
		t.Errorf("%s", got)
	}
	m := service(b, publish(7, 0, followed, ""))
	if m == nil || m.Status() != 409 || m.Header("Content-Type") != "application/msrtc-fault+xml" || !strings.Contains(string(m.Body), `index="2" curVersion="1"`) {
		t.Errorf("%v", m)
	}
	if m := service(b, publish(7, 1, followed, "")); m == nil || m.Status() != 200 {
		t.Errorf("%v", m)
	}
	if m := service(a, publish(7, 2, "", ` expires="0"`)); m == nil || m.Status() != 200 {
		t.Errorf("%v", m)
	}
	if got := read(a); strings.Contains(got, "roomSetting") {
		t.Errorf("%s", got)
	}
	if m := service(a, publish(7, 2, "", ` expires="0"`)); m == nil || m.Status() != 200 {
		t.Errorf("removing what is gone: %v", m)
	}
	for _, bad := range []string{"<publish>", "no xml", `<!DOCTYPE x [<!ENTITY e "x">]>` + publish(8, 0, "&e;", ""), publish(8, 0, "<?php x?>", ""),
		publish(8, 0, strings.Repeat("<x>", 40)+strings.Repeat("</x>", 40), ""), strings.Replace(publish(8, 0, "", ""), `version="0" expireType="static"`, `version="-1"`, 1)} {
		if m := service(a, bad); m == nil || m.Status() != 400 {
			t.Errorf("%.60q: %v", bad, m)
		}
	}
	if m := service(a, publish(8, 0, "<x>"+strings.Repeat("y", 20000)+"</x>", "")); m == nil || m.Status() != 413 {
		t.Errorf("%v", m)
	}
	if m := a.Do(siptest.Request{Method: "SERVICE", Headers: []string{"Content-Type: application/msrtc-setcontainermembers+xml"}, Body: []byte("<x/>")}); m == nil || m.Status() != 200 {
		t.Errorf("%v", m)
	}
	long := "<x>" + strings.Repeat("y", 16<<10-7) + "</x>"
	for i := range 17 { // 16 of the longest are as much as one user may have
		if m, want := service(a, publish(20+i, 0, long, "")), 200+i/16*213; m == nil || m.Status() != want {
			t.Errorf("setting %d: want %d, got %v", i, want, m.Start)
		}
	}
	if m := service(a, publish(20, 1, "", "")); m == nil || m.Status() != 200 {
		t.Errorf("one made shorter: %v", m)
	}
	s.down.Store(true)
	if m := service(a, publish(9, 0, followed, "")); m == nil || m.Status() != 503 || m.Header("Retry-After") == "" {
		t.Errorf("%v", m)
	}
}

// TestPublishOnce: a publication whose answer was lost is repeated with its Call-ID, on a new connection too: it takes
// effect once and is answered as the first time. The same body under a new Call-ID is a new publication.
func TestPublishOnce(t *testing.T) {
	s := serve(t, nil)
	service := func(call string, seq int, body string) *siptest.Message {
		w := s.wire()
		defer w.conn.Close()
		w.send("%s", change(request("SERVICE", aliceURI, seq, body, "Content-Type: application/msrtc-category-publish+xml"), "Call-ID", "Call-ID: "+call))
		return w.answer()
	}
	for _, step := range []struct {
		name, call string
		seq        int
		body       string
		published  int // events so far
		removed    int
	}{
		{"publish", "p1", 1, publish(7, 0, followed, ""), 1, 0},
		{"again", "p1", 1, publish(7, 0, followed, ""), 1, 0},
		{"again, numbered on", "p1", 2, publish(7, 0, followed, ""), 1, 0},
		{"remove", "r1", 1, publish(7, 1, "", ` expires="0"`), 1, 1},
		{"publish a second time", "p2", 1, publish(7, 0, followed, ""), 2, 1},
		{"the removal comes again, late", "r1", 2, publish(7, 1, "", ` expires="0"`), 2, 1},
	} {
		if m := service(step.call, step.seq, step.body); m == nil || m.Status() != 200 {
			t.Errorf("%s: %v", step.name, m)
		}
		if p, r := len(s.ofKind(event.KindSettingPublished)), len(s.ofKind(event.KindSettingRemoved)); p != step.published || r != step.removed {
			t.Errorf("%s: %d published, %d removed; want %d and %d", step.name, p, r, step.published, step.removed)
		}
	}
}

// TestNotify: clients that do not take the document in the answer get it in a notification.
func TestNotify(t *testing.T) {
	s := serve(t, nil)
	a := s.client("alice")
	for supported, method := range map[string]string{"Supported: ms-benotify": "BENOTIFY", "Supported: timer": "NOTIFY"} {
		m := a.Do(siptest.Request{Method: "SUBSCRIBE", Headers: []string{"Event: vnd-microsoft-provisioning-v2", "Expires: 0", supported}})
		check(t, a)
		if m.Status() != 200 || len(m.Body) != 0 || m.Header("Expires") != "0" {
			t.Errorf("%s", m)
		}
		n := a.ExpectRequest(method)
		check(t, a)
		if n.Header("Event") != "vnd-microsoft-provisioning-v2" || !strings.Contains(string(n.Body), "EnablePersistentChat") || !strings.HasPrefix(n.Header("Subscription-State"), "terminated") || n.Header("Call-ID") != m.Header("Call-ID") {
			t.Errorf("%s", n)
		}
	}
	for _, name := range []string{"presence", "registration", "vnd-microsoft-roaming-contacts"} {
		if m := a.Do(siptest.Request{Method: "SUBSCRIBE", Headers: []string{"Event: " + name, "Expires: 600", "Supported: ms-piggyback-first-notify"}}); m == nil || m.Status() != 200 || m.Header("Expires") != "600" {
			t.Errorf("%s: %v", name, m)
		}
	}
}

// TestProvisioningAddresses: the web pages are told where there are some.
func TestProvisioningAddresses(t *testing.T) {
	s := serve(t, nil)
	s.configure(func(i *event.ConfigurationInfo) { i.RoomManagementURL = "https://chat.contoso.test/rooms?a=1&b=2" })
	a := s.client("alice")
	m := a.Do(siptest.Request{Method: "SUBSCRIBE", Headers: []string{"Event: vnd-microsoft-provisioning-v2", "Supported: ms-piggyback-first-notify"}})
	check(t, a)
	for _, want := range []string{`<property name="EnablePersistentChat">true</property>`, `<property name="DefaultPersistentChatPoolUri">sip:parley@contoso.test</property>`,
		`<property name="PersistentChatPoolUris">sip:parley@contoso.test</property>`, `<property name="PersistentChatWebManagerUriInt">https://chat.contoso.test/rooms?a=1&amp;b=2</property>`} {
		if !strings.Contains(string(m.Body), want) {
			t.Errorf("no %s in %s", want, m.Body)
		}
	}
}
