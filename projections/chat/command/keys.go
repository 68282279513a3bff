package command

import (
	"parley/log/event"
	"parley/log/wire"
)

// RotateSigningKey puts another key in the place of the one that signs checkpoints. A node that holds both makes it: it is
// refused without their signatures.
type RotateSigningKey struct{ Rotation event.SigningKeyRotated }

func (*RotateSigningKey) number() uint16 { return 84 }

// Code visits the fields.
func (m *RotateSigningKey) Code(c *wire.Coder) {
	wire.Str(c, 1, &m.Rotation.Old)
	wire.Str(c, 2, &m.Rotation.New)
	wire.Uint(c, 3, &m.Rotation.RevokedFrom)
	wire.Str(c, 4, &m.Rotation.Reason)
	wire.Str(c, 5, &m.Rotation.Signatures)
}
