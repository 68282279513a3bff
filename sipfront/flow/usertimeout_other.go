//go:build unix && !linux

package flow

import "time"

func setUserTimeout(uintptr, time.Duration) {}
