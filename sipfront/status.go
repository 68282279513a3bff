package sipfront

import (
	"parley/projections/chat"
	"parley/sipfront/flow"
	"parley/sipfront/xccos"
)

// sipStatus is the SIP side of a refusal: the answer to a post (docs/protocol.md, Envelope). The XCCOS side is
// xccos.Resp. These two are the only places that know what a class of error looks like outside.
func sipStatus(code chat.Code) (int, string) {
	switch code {
	case chat.CodeInvalid:
		return 400, "Bad Request"
	case chat.CodeForbidden:
		return 403, "Forbidden"
	case chat.CodeNotJoined:
		return 403, "Not Joined"
	case chat.CodeNotFound:
		return 404, "Not Found"
	case chat.CodeConflict:
		return 409, "Conflict"
	case chat.CodeDisabled:
		return 410, "Room Disabled"
	case chat.CodeTooLarge:
		return 413, "Message Too Large"
	case chat.CodeNotArchived:
		return 480, "Archive Behind" // not 503: a client would try again at once, and the archive may take its time
	case chat.CodeUnsupported:
		return 501, "Not Implemented"
	case chat.CodeUnavailable:
		return 503, "Service Unavailable"
	}
	return 500, "Server Internal Error"
}

// decodeCode maps an error of the XCCOS codec to a refusal's code.
func decodeCode(e *xccos.Error) chat.Code {
	if e.Code == 413 {
		return chat.CodeTooLarge
	}
	return chat.CodeInvalid
}

// answer is the final answer to a post, for the goroutine that sends such answers.
type answer struct {
	c   *client
	raw []byte
}

// answerPosts sends final answers, off the goroutine that committed the post, and together where several are there.
func (f *Front) answerPosts() {
	defer f.wg.Done()
	for {
		batch := f.answers.take()
		if batch == nil {
			return
		}
		for i := range batch {
			a := &batch[i]
			if a.raw == nil {
				continue // gone with an earlier one
			}
			raw := a.raw
			for j := i + 1; j < len(batch); j++ { // answers of one flow travel in one write
				if batch[j].c == a.c && batch[j].raw != nil {
					raw = append(raw, batch[j].raw...)
					batch[j].raw = nil
				}
				if len(raw) > 8<<10 || j-i > 64 {
					break
				}
			}
			a.c.conn.Send(raw)
		}
	}
}

// finalAnswer builds the answer to a post from the copied part of its request.
func (f *Front) finalAnswer(echo []byte, err error) []byte {
	b := make([]byte, 0, len(echo)+96)
	if err == nil {
		b = flow.AppendStatus(b, 200, "OK")
		return flow.AppendBody(append(b, echo...), "", nil)
	}
	r := chat.AsRefusal(err)
	status, reason := sipStatus(r.Code)
	f.metrics.rejected.WithLabelValues("post_" + string(r.Code)).Inc()
	b = flow.AppendStatus(b, status, reason)
	b = append(b, echo...)
	if status == 503 {
		b = append(b, retryAfter()...)
		b = append(b, f.diagnostics(20000, "Chat service busy")...)
	} else {
		b = append(b, f.diagnostics(20001, r.Text)...)
	}
	return flow.AppendBody(b, "", nil)
}
