package chat

// Forget drops the commands that took effect, and remembers none from here on, for a reader that folds the log and never decides:
// they are most of what a fold of posts costs, and the one part of the state that grows with traffic. The caller owns s. Its
// clones forget too. Its Hash is not that of a node any more, and Decide must not be asked.
func (s *State) Forget() { s.memory.Forget() }
