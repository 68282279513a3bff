package state

// Waiting returns how many wait for the state at an offset.
func (r *Rooms) Waiting() int { return int(r.wanted.n.Load()) }
