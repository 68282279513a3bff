package policy

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"parley/log/event"
)

// Ranges of the settings.
const (
	MaxChatHistory  = 500    // messages, as the product
	MinMessageSize  = 128    // bytes
	MaxMessageSize  = 64_000 // bytes: with its RTF form it fits into one SIP message, unless it needs many escapes: then the front refuses it
	MaxStorySize    = 64_000 // bytes
	MaxSearchLimit  = 10_000
	MaxURL          = 2048 // bytes
	MaxText         = 1024 // bytes of a description, a name of an adapter or a directory
	MaxScript       = 256 << 10
	minute          = int64(60e9)
	MinRunInterval  = minute
	MaxRunInterval  = 30 * 24 * 60 * minute
	maxUint32       = 1<<32 - 1
	maxParticipants = 1_000_000
)

// DefaultConfiguration is the product's, with our limits of message, story and search.
func DefaultConfiguration() event.ConfigurationInfo {
	return event.ConfigurationInfo{DefaultChatHistory: 30, MaxFileSizeKB: 20_000, ParticipantUpdateLimit: 75,
		MessageSizeLimit: 8_000, StorySizeLimit: 64_000, SearchLimit: 999}
}

// DefaultCompliance is the product's: no adapter, nothing is archived.
func DefaultCompliance() event.ComplianceInfo { return event.ComplianceInfo{RunInterval: 15 * minute} }

// CheckConfiguration refuses settings out of range.
func CheckConfiguration(i *event.ConfigurationInfo) error {
	for _, f := range []struct {
		name          string
		v, least, top uint64
	}{
		{"DefaultChatHistory", i.DefaultChatHistory, 1, MaxChatHistory},
		{"MaxFileSizeKB", i.MaxFileSizeKB, 0, maxUint32},
		{"ParticipantUpdateLimit", i.ParticipantUpdateLimit, 0, maxParticipants},
		{"MessageSizeLimit", i.MessageSizeLimit, MinMessageSize, MaxMessageSize},
		{"StorySizeLimit", i.StorySizeLimit, MinMessageSize, MaxStorySize},
		{"SearchLimit", i.SearchLimit, 1, MaxSearchLimit},
	} {
		if f.v < f.least || f.v > f.top {
			return fmt.Errorf("%s is %d, want %d to %d", f.name, f.v, f.least, f.top)
		}
	}
	if i.RoomManagementURL == "" {
		return nil
	}
	return CheckURL("RoomManagementUrl", i.RoomManagementURL)
}

// CheckCompliance refuses settings out of range.
func CheckCompliance(i *event.ComplianceInfo) error {
	if i.RunInterval < MinRunInterval || i.RunInterval > MaxRunInterval {
		return fmt.Errorf("RunInterval is %d s, want %d s (1 minute) to %d s (30 days)", i.RunInterval/1e9, MinRunInterval/int64(1e9), MaxRunInterval/int64(1e9))
	}
	for _, f := range [][2]string{{"AdapterName", i.AdapterName}, {"AdapterType", i.AdapterType}, {"AdapterOutputDirectory", i.OutputDirectory}} {
		if err := checkLine(f[0], f[1], MaxText); err != nil {
			return err
		}
	}
	if len(i.CustomConfiguration) > MaxScript || !utf8.ValidString(i.CustomConfiguration) {
		return fmt.Errorf("CustomConfiguration has %d bytes, want at most %d of UTF-8", len(i.CustomConfiguration), MaxScript)
	}
	return nil
}

func checkLine(name, v string, limit int) error {
	if len(v) > limit || !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return fmt.Errorf("%s is not one line of at most %d bytes", name, limit)
	}
	return nil
}

// CheckURL refuses what is not the address of a web page.
func CheckURL(name, url string) error {
	if err := checkLine(name, url, MaxURL); err != nil {
		return err
	}
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return fmt.Errorf("%s %q does not begin with http:// or https://", name, url)
	}
	host, _, _ := strings.Cut(rest, "/")
	if host == "" || strings.ContainsAny(url, " \"<>\\") {
		return fmt.Errorf("%s %q is not the address of a page", name, url)
	}
	return nil
}
