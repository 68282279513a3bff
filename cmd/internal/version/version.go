// Package version says what this build is.
package version

import "runtime/debug"

// Number is the version of the server, semver. Nodes write it into the log when they start.
const Number = "0.1.0-dev"

// Build is what `parley version` prints.
type Build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"` // of the source tree, empty for a build outside one
	Modified bool   `json:"modified"`         // the tree had changes that were not committed
	Go       string `json:"go"`
}

// Get reads what the toolchain stamped into the binary.
func Get() Build {
	b := Build{Version: Number}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Go = info.GoVersion
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}
