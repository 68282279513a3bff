// Package show prints answers of the admin API for people: tables, and objects field by field.
package show

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Table prints rows under a head.
func Table(out io.Writer, head string, rows func(row func(cells ...any))) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(head, " ", "\t"))
	rows(func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			if s := fmt.Sprint(c); s == "" {
				fmt.Fprint(w, "-")
			} else {
				fmt.Fprint(w, strings.Join(strings.Fields(s), " "))
			}
		}
		fmt.Fprintln(w)
	})
	return w.Flush()
}

// Fields prints one object, a field per line.
func Fields(out io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	if _, err := d.Token(); err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return err
		}
		var list []string
		text := string(raw)
		if json.Unmarshal(raw, &list) == nil {
			text = strings.Join(list, " ")
		} else {
			_ = json.Unmarshal(raw, &text) // a string; numbers and booleans stay as they are
		}
		fmt.Fprintf(w, "%s\t%s\n", name, strings.Join(strings.Fields(text), " "))
	}
	return w.Flush()
}

// Cell returns a field as a table shows it.
func Cell(o map[string]json.RawMessage, key string) string {
	key, items := strings.CutSuffix(key, "[]")
	var list []json.RawMessage
	if json.Unmarshal(o[key], &list) != nil {
		return Plain(o[key])
	}
	if !items {
		return strconv.Itoa(len(list))
	}
	var out []string
	for _, v := range list {
		out = append(out, Plain(v))
	}
	return strings.Join(out, " ")
}

// Plain returns a string without its quotes, and anything else as JSON has it.
func Plain(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

var placeholder = regexp.MustCompile(`\{(\w+)\}`)

// Fill puts fields of an answer into a text.
func Fill(text string, raw json.RawMessage) string {
	var o map[string]json.RawMessage
	if json.Unmarshal(raw, &o) != nil {
		return text
	}
	return placeholder.ReplaceAllStringFunc(text, func(p string) string { return Plain(o[p[1:len(p)-1]]) })
}
