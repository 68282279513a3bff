package chat

import "fmt"

// faults collects what is wrong with the rows of one command: none takes effect, and all bad ones are told.
type faults struct {
	first *Refusal
	rows  []RowFault
}

func (f *faults) add(row int, r *Refusal) {
	if f.first == nil {
		f.first = r
	}
	f.rows = append(f.rows, RowFault{Line: uint32(row + 1), Text: r.Text})
}

// refusal returns the first refusal with all rows, nil if there was none.
func (f *faults) refusal(what string) error {
	switch {
	case f.first == nil:
		return nil
	case len(f.rows) > 1:
		f.first.Text = fmt.Sprintf("%s: %d rows are refused, the first: %s", what, len(f.rows), f.first.Text)
	}
	f.first.Rows = f.rows
	return f.first
}
