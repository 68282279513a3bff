package archive

// Row writes a row, and End the last one, for tests that make archives of their own.
func (w *Writer) Row(kind string, row any) error { return w.put(kind, row) }

// End writes the last row.
func (w *Writer) End() error { return w.end() }
