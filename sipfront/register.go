package sipfront

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"parley/log/event"
	"parley/sipfront/flow"
)

// register answers REGISTER. The answer is what the open client needs, header by header (seen of pidgin-sipe):
// without Expires it hangs; Supported must stand on a line of its own and Allow-Events must have no blanks, or there
// is no group chat.
func (c *client) register(m *flow.Message, req *sip.Request) {
	st := c.front.backend.State()
	user := principalOf(m.Get(flow.To))
	expires, all, ok := wantedExpires(m, req, c.front.cfg.RegisterExpires)
	if user == "" || !ok {
		c.refuse(m, 400, "Malformed Registration", "malformed")
		return
	}
	if c.front.draining.Load() && expires > 0 {
		c.busy(m, "draining")
		return
	}
	if principalOf(m.Get(flow.From)) != user { // third-party registration (RFC 3261 section 10.3): nobody may do that here
		c.refuse(m, 403, "Third-Party Registration", "wrong_from")
		return
	}
	if c.admit(m, st) == "" {
		return
	}
	if expires == 0 {
		c.signOff()
		c.front.endAll(c, event.PartBye)
		c.respond(m, 200, "OK", "Expires: 0\r\n")
		return
	}
	if all { // "*" is for removal only (RFC 3261 section 10.2.2)
		c.refuse(m, 400, "Wildcard Contact", "malformed")
		return
	}
	if !c.front.active(st) {
		c.busy(m, "not_active")
		return
	}
	instance := instanceOf(req)
	c.signOn(user, time.Now().Add(time.Duration(expires)*time.Second))
	c.sipe = isSipe(m)
	c.endpoint = ""
	if instance != "" {
		c.endpoint = event.Endpoint(strings.ToLower(instance))
	}
	exp := strconv.FormatUint(expires, 10)
	contact := ""
	if h := req.Contact(); h != nil {
		contact = "Contact: <" + h.Address.String() + ">;expires=" + exp
		if instance != "" {
			contact += `;+sip.instance="<` + instance + `>"`
		}
		contact += `;gruu="` + c.gruu(m, user) + "\"\r\n"
	}
	c.respond(m, 200, "OK", contact,
		"Expires: "+exp+"\r\n",
		"Allow-Events: "+eventProvisioning+","+eventContacts+","+eventSelf+"\r\n",
		"Supported: msrtc-event-categories\r\n",
		"Supported: adhoclist\r\n",
		"ms-keep-alive: UAS; tcp=no; hop-hop=yes; end-end=no; timeout="+strconv.Itoa(int(c.front.cfg.KeepAlive.Seconds()))+"\r\n",
		"Server: parley\r\n",
		"Date: "+time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05")+" GMT\r\n")
}

// gruu returns the URI under which the client is reached on this device (the product's form of RFC 5627).
func (c *client) gruu(m *flow.Message, user event.Principal) string {
	device := base64.RawURLEncoding.EncodeToString([]byte(c.endpointOf(m)))
	return string(user) + ";opaque=user:epid:" + device + ";gruu"
}

// wantedExpires returns for how many seconds a registration is wanted, no more than the longest, and whether the
// Contact is "*".
func wantedExpires(m *flow.Message, req *sip.Request, longest time.Duration) (seconds uint64, all, ok bool) {
	seconds = uint64(longest / time.Second)
	if h := m.Get(flow.Expires); h != nil {
		n, ok := flow.Number(h, 1<<32-1)
		if !ok {
			return 0, false, false
		}
		seconds = min(n, seconds)
	}
	contacts := req.GetHeaders("Contact")
	for _, h := range contacts {
		contact, isContact := h.(*sip.ContactHeader)
		if !isContact {
			return 0, false, false
		}
		if contact.Address.Wildcard {
			all = true
		}
		if v, has := contact.Params.Get("expires"); has {
			n, ok := flow.Number([]byte(v), 1<<32-1)
			if !ok {
				return 0, false, false
			}
			seconds = min(n, uint64(longest/time.Second))
		}
	}
	return seconds, all, !all || len(contacts) == 1
}

// instanceOf returns the device id of the Contact, without brackets (RFC 5626 section 4.1).
func instanceOf(req *sip.Request) string {
	h := req.Contact()
	if h == nil {
		return ""
	}
	v, _ := h.Params.Get("+sip.instance")
	v = strings.Trim(v, `"`)
	v = strings.TrimSuffix(strings.TrimPrefix(v, "<"), ">")
	if strings.ContainsAny(v, "\"<>;, \r\n") || len(v) > 128 {
		return ""
	}
	return v
}
