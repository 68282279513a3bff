// Package presence makes and reads the presence documents that chat clients need: provisioning, which tells them that
// there is persistent chat and where, and the settings that they publish and read back, such as the rooms a user
// follows. Presence itself is not this server's business. The package is pure.
package presence

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"iter"
	"strconv"
	"strings"

	"parley/log/event"
	"parley/projections/chat"
)

// RoomSetting is the one category that is kept: the rooms a user follows (docs/protocol.md, Around it: SIP).
const RoomSetting = "roomSetting"

const (
	maxPublications = 64
	maxXMLDepth     = 32
	maxXMLTokens    = 40000
)

// The types of the documents.
const (
	TypeProvisioning = "application/vnd-microsoft-roaming-provisioning-v2+xml"
	TypeContacts     = "application/vnd-microsoft-roaming-contacts+xml"
	TypeSelf         = "application/vnd-microsoft-roaming-self+xml"
	TypeFault        = "application/msrtc-fault+xml"
)

// Contacts is the contact list of everybody: empty.
const Contacts = `<contactList deltaNum="1"><group id="1" name="~" externalURI=""/></contactList>`

// Provisioning is the document that starts persistent chat in a client (docs/protocol.md, Around it: SIP).
// EnablePersistentChat must be lower case (seen of pidgin-sipe). ServerConfiguration is left out: what else is
// read from it would send clients looking for services that are not here.
func Provisioning(enabled bool, poolURI, roomManagementURL string) []byte {
	var b bytes.Buffer
	property := func(name, value string) {
		b.WriteString(`<property name="` + name + `">`)
		escape(&b, value)
		b.WriteString(`</property>`)
	}
	b.WriteString(`<provisionGroupList xmlns="http://schemas.microsoft.com/2006/09/sip/provisiongrouplist-notification">` +
		`<provisionGroup name="persistentChatConfiguration"><propertyEntryList>`)
	if enabled {
		property("EnablePersistentChat", "true")
		property("DefaultPersistentChatPoolUri", poolURI)
		property("PersistentChatPoolUris", poolURI)
		if roomManagementURL != "" {
			property("PersistentChatWebManagerUriInt", roomManagementURL)
			property("PersistentChatWebManagerUriExt", roomManagementURL)
		}
	} else {
		property("EnablePersistentChat", "false")
	}
	b.WriteString(`</propertyEntryList></provisionGroup></provisionGroupList>`)
	return b.Bytes()
}

// RoamingSelf is the read-back of what the user published (docs/protocol.md, Around it: SIP): the rooms he follows.
func RoamingSelf(user event.Principal, settings iter.Seq[chat.PublishedSetting]) []byte {
	var b bytes.Buffer
	b.WriteString(`<roamingData xmlns="http://schemas.microsoft.com/2006/09/sip/roaming-self">` +
		`<categories xmlns="http://schemas.microsoft.com/2006/09/sip/categories" uri="`)
	escape(&b, string(user))
	b.WriteString(`">`)
	for s := range settings {
		b.WriteString(`<category name="`)
		escape(&b, s.Category)
		b.WriteString(`" instance="` + strconv.FormatUint(s.Instance, 10) + `" publishTime="` +
			s.PublishedAt.UTC().Format("2006-01-02T15:04:05.000") + `" container="` + strconv.FormatUint(s.Container, 10) +
			`" version="` + strconv.FormatUint(s.Version, 10) + `" expireType="`)
		escape(&b, s.ExpireType)
		b.WriteString(`">` + s.Content + `</category>`) // checked to be well-formed when it was published
	}
	b.WriteString(`</categories><containers xmlns="http://schemas.microsoft.com/2006/09/sip/container-management"/>` +
		`<subscribers xmlns="http://schemas.microsoft.com/2006/09/sip/presence-subscribers"/></roamingData>`)
	return b.Bytes()
}

// Rooms leaves out what is no presence document: preferences of older clients, which ask for them in their own language.
func Rooms(settings iter.Seq[chat.PublishedSetting]) iter.Seq[chat.PublishedSetting] {
	return func(yield func(chat.PublishedSetting) bool) {
		for s := range settings {
			if s.Category == RoomSetting && !yield(s) {
				return
			}
		}
	}
}

// Publication is one element of a publish request. Index counts from 1.
type Publication struct {
	Index   int
	Setting event.Setting
	Remove  bool // expires="0"
}

// ErrMalformed says that a publication cannot be read.
var ErrMalformed = errors.New("publication is malformed or too large")

// ParsePublish reads a publish request. The content of a publication is kept as it was written, so it is checked here to
// be well-formed and free of what could mean something elsewhere: declarations and processing instructions.
func ParsePublish(body []byte) ([]Publication, error) {
	d := xml.NewDecoder(bytes.NewReader(body))
	var all []Publication
	depth, inside, start, roots := 0, 0, 0, 0
	for tokens := 0; ; tokens++ {
		before := int(d.InputOffset())
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || tokens > maxXMLTokens {
			return nil, ErrMalformed
		}
		switch t := t.(type) {
		case xml.Directive:
			return nil, ErrMalformed
		case xml.ProcInst:
			if depth > 0 || t.Target != "xml" {
				return nil, ErrMalformed
			}
		case xml.CharData:
			if depth == 0 && len(bytes.TrimSpace(t)) > 0 {
				return nil, ErrMalformed
			}
		case xml.StartElement:
			if depth == 0 {
				roots++
			}
			if depth++; depth > maxXMLDepth || roots > 1 {
				return nil, ErrMalformed
			}
			if inside > 0 || t.Name.Local != "publication" {
				continue
			}
			p := Publication{Index: len(all) + 1}
			if !p.read(t.Attr) || len(all) == maxPublications {
				return nil, ErrMalformed
			}
			all = append(all, p)
			inside, start = depth, int(d.InputOffset())
		case xml.EndElement:
			if depth == inside {
				inside = 0
				all[len(all)-1].Setting.Content = string(body[start:max(before, start)])
			}
			depth--
		}
	}
	if roots != 1 {
		return nil, ErrMalformed
	}
	return all, nil
}

func (p *Publication) read(attrs []xml.Attr) bool {
	ok := true
	number := func(v string, n *uint64) {
		var err error
		if *n, err = strconv.ParseUint(v, 10, 64); err != nil {
			ok = false
		}
	}
	for _, a := range attrs {
		if a.Name.Space != "" {
			continue
		}
		switch a.Name.Local {
		case "categoryName":
			p.Setting.Category = a.Value
		case "instance":
			number(a.Value, &p.Setting.Instance)
		case "container":
			number(a.Value, &p.Setting.Container)
		case "version":
			number(a.Value, &p.Setting.Version)
		case "expireType":
			p.Setting.ExpireType = a.Value
		case "expires":
			p.Remove = strings.TrimSpace(a.Value) == "0"
		}
	}
	return ok && p.Setting.Category != "" && len(p.Setting.Category) <= 128 && len(p.Setting.ExpireType) <= 64
}

// Faults tells which publications were made on an old version, and what the version is now.
func Faults(settings iter.Seq[chat.PublishedSetting], outdated []Publication) []byte {
	versions := map[uint64]uint64{}
	for s := range settings {
		if s.Category == RoomSetting {
			versions[s.Instance] = s.Version
		}
	}
	var b bytes.Buffer
	b.WriteString(`<Fault xmlns="http://schemas.microsoft.com/2006/09/sip/service-fault"><Faultcode>Client.BadCall.WrongDelta</Faultcode><details>`)
	for _, p := range outdated {
		b.WriteString(`<operation index="` + strconv.Itoa(p.Index) + `" curVersion="` + strconv.FormatUint(versions[p.Setting.Instance], 10) + `"/>`)
	}
	b.WriteString(`</details></Fault>`)
	return b.Bytes()
}

func escape(b *bytes.Buffer, s string) { _ = xml.EscapeText(b, []byte(s)) } // a buffer does not fail
