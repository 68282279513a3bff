package verbs

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Check returns what an option sends for a text, or says what is wrong with the text.
func (o *Option) Check(text string) (any, error) {
	switch {
	case o.Kind == Number:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n < o.Min || o.Max != 0 && n > o.Max {
			if o.Max == 0 {
				return nil, fmt.Errorf("%q is not a number", text)
			}
			return nil, fmt.Errorf("%q is not a number from %d to %d", text, o.Min, o.Max)
		}
		return n, nil
	case o.Kind == Time:
		return ParseTime(text)
	case o.Values != nil && !slices.Contains(o.Values, strings.ToLower(text)):
		return nil, fmt.Errorf("%q is not one of %s", text, strings.Join(o.Values, ", "))
	}
	return text, nil
}

// Forms of a time without its zone, which is UTC, as in what we print.
var timeForms = []string{"2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05"}

// ParseTime returns a time as RFC 3339.
func ParseTime(text string) (string, error) {
	text = strings.TrimSpace(text)
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t.Format(time.RFC3339Nano), nil
	}
	for _, form := range timeForms {
		if t, err := time.Parse(form, text); err == nil {
			return t.Format(time.RFC3339Nano), nil
		}
	}
	return "", fmt.Errorf("%q is no time; write 2024-02-29T23:59:59Z, or 2024-02-29 with or without 23:59 (UTC)", text)
}

// dnPart is how a part of a distinguished name begins.
var dnPart = regexp.MustCompile(`^\s*(?:[A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)*)\s*=`)

// Split splits lists at commas and semicolons. A distinguished name has commas of its own: a part like OU=x belongs to
// the part like CN=y before it, so two names are parted by a semicolon or given one by one. A backslash takes the meaning
// of the next character away, and stays.
func Split(texts []string) (out []string) {
	for _, text := range texts {
		start, open := 0, false // open: out ends with a distinguished name that may go on
		for i := 0; i <= len(text); i++ {
			if i+1 < len(text) && text[i] == '\\' {
				i++
				continue
			}
			if i < len(text) && text[i] != ',' && text[i] != ';' {
				continue
			}
			part := strings.TrimSpace(text[start:min(i, len(text))])
			isStep := dnPart.MatchString(part)
			switch {
			case part == "":
			case isStep && open:
				out[len(out)-1] += "," + part
			default:
				out = append(out, part)
			}
			open = isStep && i < len(text) && text[i] == ','
			start = i + 1
		}
	}
	return out
}
