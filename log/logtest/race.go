//go:build race

package logtest

// raceEnabled says that the race detector is on, which makes everything several times slower: then samples must do.
const raceEnabled = true
