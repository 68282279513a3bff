package directory

// nodes is the nodes by number: Copy is an assignment, and a change copies one page and the list of pages. It is asked for
// each group of a user with every right, and changed when somebody changes the directory.
type nodes struct {
	pages []*[pageSize]*node // never changed, nor what they point to
	size  Ref
}

const pageSize = 256

func (l *nodes) get(r Ref) *node { return l.pages[r/pageSize][r%pageSize] }

// set stores a node under a number that is known, or the next one.
func (l *nodes) set(r Ref, n *node) {
	at := int(r / pageSize)
	pages := make([]*[pageSize]*node, max(len(l.pages), at+1))
	copy(pages, l.pages)
	var page [pageSize]*node
	if old := pages[at]; old != nil {
		page = *old
	}
	page[r%pageSize] = n
	pages[at] = &page
	l.pages, l.size = pages, max(l.size, r+1)
}
