package sipfront

import "time"

// SweepDialogs does for the dialogs what happens once a second, as if it were now.
func (f *Front) SweepDialogs(now time.Time) { f.sweepDialogs(now) }
