package presence

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"testing"

	"parley/log/event"
	"parley/projections/chat"
)

// The documents of docs/protocol.md, Around it: SIP: provisioning with the flag on and off, followed rooms as they are
// published, and their read-back.
const (
	vectorOn = `<provisionGroupList xmlns="http://schemas.microsoft.com/2006/09/sip/provisiongrouplist-notification"><provisionGroup name="persistentChatConfiguration"><propertyEntryList>` +
		`<property name="EnablePersistentChat">true</property><property name="DefaultPersistentChatPoolUri">sip:pchat-pool1@example.com</property>` +
		`<property name="PersistentChatPoolUris">sip:pchat-pool1@example.com</property><property name="PersistentChatWebManagerUriInt">https://fe1.example.com/PersistentChat/RM</property>` +
		`<property name="PersistentChatWebManagerUriExt">https://fe1.example.com/PersistentChat/RM</property></propertyEntryList></provisionGroup></provisionGroupList>`
	vectorOff = `<provisionGroupList xmlns="http://schemas.microsoft.com/2006/09/sip/provisiongrouplist-notification"><provisionGroup name="persistentChatConfiguration"><propertyEntryList>` +
		`<property name="EnablePersistentChat">false</property></propertyEntryList></provisionGroup></provisionGroupList>`
	propertyList = `<propertyList xmlns="http://schemas.microsoft.com/2010/12/sip/propertyList">
        <property name="url" type="string"><value>ma-chan://example.com/5b1f0c52-6a0d-4f0e-9a43-0d7c2e5b8a11</value></property>
        <property name="name" type="string"><value>Harbor Ops</value></property>
      </propertyList>`
	vectorPublish = `<publish xmlns="http://schemas.microsoft.com/2006/09/sip/rich-presence">
  <publications uri="sip:alice@example.com">
    <publication categoryName="roomSetting" instance="1174285631" container="1" version="0" expireType="static">` + propertyList + `</publication>
    <publication categoryName="roomSetting" instance="2" version="4" expires="0"/>
  </publications>
</publish>`
	vectorSelf = `<roamingData xmlns="http://schemas.microsoft.com/2006/09/sip/roaming-self"><categories xmlns="http://schemas.microsoft.com/2006/09/sip/categories" uri="sip:alice@example.com">` +
		`<category name="roomSetting" instance="1174285631" publishTime="2014-05-06T07:08:09.120" container="1" version="1" expireType="static">` + propertyList + `</category></categories>` +
		`<containers xmlns="http://schemas.microsoft.com/2006/09/sip/container-management"/><subscribers xmlns="http://schemas.microsoft.com/2006/09/sip/presence-subscribers"/></roamingData>`
)

func TestVectors(t *testing.T) {
	if got := string(Provisioning(true, "sip:pchat-pool1@example.com", "https://fe1.example.com/PersistentChat/RM")); got != vectorOn {
		t.Errorf("%s", got)
	}
	if got := string(Provisioning(false, "sip:pchat-pool1@example.com", "x")); got != vectorOff {
		t.Errorf("%s", got)
	}
	all, err := ParsePublish([]byte(vectorPublish))
	if err != nil || len(all) != 2 {
		t.Fatalf("%v %+v", err, all)
	}
	want := event.Setting{Category: RoomSetting, Instance: 1174285631, Container: 1, ExpireType: "static", Content: propertyList}
	if all[0].Setting != want || all[0].Remove || all[0].Index != 1 {
		t.Errorf("%+v", all[0])
	}
	if p := all[1]; !p.Remove || p.Setting.Instance != 2 || p.Setting.Version != 4 || p.Setting.Content != "" || p.Index != 2 {
		t.Errorf("%+v", p)
	}
	want.Version = 1
	kept := []chat.PublishedSetting{{Setting: want, PublishedAt: 1399360089_120_000_000}}
	if got := string(RoamingSelf("sip:alice@example.com", slices.Values(kept))); got != vectorSelf {
		t.Errorf("%s", got)
	}
	got := string(Faults(slices.Values(kept), all[:1]))
	if !strings.Contains(got, `<Faultcode>Client.BadCall.WrongDelta</Faultcode><details><operation index="1" curVersion="1"/></details>`) {
		t.Errorf("%s", got)
	}
}

// TestHostile: what cannot be read is refused, and what is read can be written into the read-back as it is.
func TestHostile(t *testing.T) {
	wrap := func(content string) string {
		return `<publish><publications><publication categoryName="roomSetting" instance="1">` + content + `</publication></publications></publish>`
	}
	for _, bad := range []string{"", " ", "x", "<publish>", "<publish/><publish/>", "x<publish/>", wrap("</publication>"), wrap("<a></b>"), wrap("<!DOCTYPE a>"), wrap("<?a b?>"),
		wrap("&unknown;"), wrap("<"), wrap(strings.Repeat("<a>", 40) + strings.Repeat("</a>", 40)), wrap(strings.Repeat("<a/>", 30000)),
		`<publish><publication instance="1"/></publish>`, `<publish><publication categoryName="x" instance="-1"/></publish>`,
		`<publish><publication categoryName="` + strings.Repeat("x", 200) + `"/></publish>`, "<publish>" + strings.Repeat(`<publication categoryName="x"/>`, maxPublications+1) + "</publish>"} {
		if got, err := ParsePublish([]byte(bad)); err == nil {
			t.Errorf("%.80q: %+v", bad, got)
		}
	}
	for _, good := range []string{"", "text", "<a/>", "<![CDATA[</publication>]]>", "<!-- </publication> -->", "<publication categoryName='x'/>", "&lt;"} {
		all, err := ParsePublish([]byte(wrap(good)))
		if err != nil || len(all) != 1 || all[0].Setting.Content != good {
			t.Errorf("%q: %v %+v", good, err, all)
		}
	}
}

func FuzzParsePublish(f *testing.F) {
	f.Add([]byte(vectorPublish))
	f.Add([]byte(`<?xml version="1.0"?><p><publication categoryName="a"><![CDATA[]]></publication></p>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := ParsePublish(b)
		if err != nil {
			return
		}
		var kept []chat.PublishedSetting
		for _, p := range all {
			kept = append(kept, chat.PublishedSetting{Setting: p.Setting})
		}
		doc := RoamingSelf("sip:a@b", slices.Values(kept))
		var v struct {
			XMLName    xml.Name
			Categories []struct{} `xml:"categories>category"`
		}
		if err := xml.Unmarshal(doc, &v); err != nil || len(v.Categories) != len(all) {
			t.Fatal(fmt.Errorf("%d publications, %d categories: %w in %s", len(all), len(v.Categories), err, doc))
		}
	})
}
