package command

import (
	"fmt"

	"parley/log/event"
)

// Faults collects what is wrong with the rows of one command: none takes effect, and all bad ones are told.
type Faults struct {
	first *Refusal
	rows  []RowFault
}

// Add notes that a row, counted from 0, is refused.
func (f *Faults) Add(row int, r *Refusal) {
	if f.first == nil {
		f.first = r
	}
	f.rows = append(f.rows, RowFault{Line: uint32(row + 1), Text: r.Text})
}

// Refusal returns the first refusal with all rows, nil if there was none.
func (f *Faults) Refusal(what string) error {
	switch {
	case f.first == nil:
		return nil
	case len(f.rows) > 1:
		f.first.Text = fmt.Sprintf("%s: %d rows are refused, the first: %s", what, len(f.rows), f.first.Text)
	}
	f.first.Rows = f.rows
	return f.first
}

// Changed refuses a change of something that was changed after the caller had seen it (rule R13).
func Changed(what string, seen, now event.Offset) error {
	if seen != 0 && seen != now {
		return Refuse(CodeConflict, "change %s: it was changed meanwhile", what).Breaks("R13", "")
	}
	return nil
}
