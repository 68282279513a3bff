package event

import (
	"fmt"

	"github.com/klauspost/compress/s2"
)

// Erase returns the bodies block of an entry without the bodies at some positions in the batch: what is stored in the
// place of bodies from now on. erased is how many of them were still there. The head stays, and vouches for what is
// left. A position without a body is an error.
func Erase(head, bodies []byte, positions []int) (out []byte, erased int, err error) {
	e, err := ParseEntry(head, bodies)
	if err != nil {
		return nil, 0, err
	}
	for _, i := range positions {
		if i < 0 || i >= e.Len() || e.bodies == nil || e.bodies[i] == nil {
			return nil, 0, fmt.Errorf("erase event %d of the batch at %d: it has no body", i, e.Base)
		}
		if !e.erased[i] {
			e.erased[i], e.bodies[i] = true, []byte{}
			erased++
		}
	}
	if erased == 0 {
		return bodies, 0, nil
	}
	for i, body := range e.bodies {
		switch {
		case body == nil:
		case e.erased[i]:
			out = appendBody(out, i, bodyErased, nil)
		default:
			out = appendBody(out, i, bodyPresent, body)
		}
	}
	if head[1]&flagBodiesS2 != 0 {
		out = s2.Encode(nil, out)
	}
	return out, erased, nil
}
