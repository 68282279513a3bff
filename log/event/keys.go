package event

import (
	"strconv"

	"parley/log/wire"
)

// SigningKeyRotated puts another key in the place of the one that signs checkpoints of the log. From this event on the old
// one signs nothing more. Both have signed the statement, so whoever trusts the old one can go on with the new one, and
// the new one is really held.
type SigningKeyRotated struct {
	Old, New    string // public keys as C2SP note keys; they have one name, which is the origin of checkpoints
	RevokedFrom Offset // checkpoints by the old key of that many events and more are not to be believed; 0: it is not revoked
	Reason      string
	Signatures  string // the lines of a C2SP signed note under Statement: the old key's, then the new one's
}

// Kind implements Event.
func (*SigningKeyRotated) Kind() Kind { return KindSigningKeyRotated }

func (e *SigningKeyRotated) code(c *wire.Coder) {
	wire.Str(c, 1, &e.Old)
	wire.Str(c, 2, &e.New)
	wire.Uint(c, 3, &e.RevokedFrom)
	wire.Str(c, 4, &e.Reason)
	wire.Str(c, 5, &e.Signatures)
}

// Statement returns the text that the two keys sign, line ends included. It says nothing of Reason.
func (e *SigningKeyRotated) Statement() string {
	return "parley-key-rotation/1\n" + e.Old + "\n" + e.New + "\n" + strconv.FormatUint(uint64(e.RevokedFrom), 10) + "\n"
}
