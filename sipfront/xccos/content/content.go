// Package content reads and writes what clients put into the text of a message: stories and links.
//
// The text of a message is plain text with two exceptions that the published schema of the product's content database
// names (table of chats) without giving their syntax: a story starts with a mark, and a link is an element like one of
// HTML, though the text is none. The syntax here is ours:
//
//	[STORY]title
//	body
//
//	<a href="URI">what is shown</a>
//
// The scheme of a link says what it is: ma-filelink a file of the pool's store, whose size= gives its bytes, ma-chan
// another room, anything else a place on the web. A URI of these schemes, of http or of https that stands bare in the
// text is a link too. The package is pure and bounded.
package content

import (
	"html"
	"strconv"
	"strings"

	"parley/log/event"
)

const storyMark = "[STORY]"

// Split takes a message apart. Of a message that is no story the title is empty and the body all of the text.
func Split(text string) (title, body string) {
	rest, ok := strings.CutPrefix(text, storyMark)
	if !ok {
		return "", text
	}
	title, body, _ = strings.Cut(rest, "\n")
	if title = oneLine(title); title == "" {
		return "", text
	}
	return title, body
}

// Join is the inverse of Split. Line ends in a title become blanks.
func Join(title, body string) string {
	switch title = oneLine(title); {
	case title == "":
		return body
	case body == "":
		return storyMark + title
	}
	return storyMark + title + "\n" + body
}

var blanks = strings.NewReplacer("\n", " ", "\r", " ")

func oneLine(s string) string { return strings.TrimSpace(blanks.Replace(s)) }

// MaxLinks is how many links of a message are found; the rest is text.
const MaxLinks = 100

// Links returns the links of a text in their order.
func Links(text string) []event.Link {
	var all []event.Link
	for len(all) < MaxLinks {
		i := strings.IndexAny(text, "<:")
		if i < 0 {
			break
		}
		l, end := bare(text, i)
		if text[i] == '<' {
			l, end = element(text, i)
		}
		if end > 0 {
			all = append(all, l)
		}
		text = text[max(end, i+1):]
	}
	return all
}

// maxElement bounds an element, in bytes, so that a text of open brackets costs time linear in it.
const maxElement = 4096

// element reads the element that starts at i and returns where its content ends, 0 if it is no link.
func element(s string, i int) (event.Link, int) {
	s = s[:min(len(s), i+maxElement)]
	if len(s) < i+3 || !strings.EqualFold(s[i:i+3], "<a ") {
		return event.Link{}, 0
	}
	attrs, rest, ok := strings.Cut(s[i+3:], ">")
	shown, _, closed := strings.Cut(rest, "</")
	l := event.Link{URI: attribute(attrs, "href"), Name: html.UnescapeString(shown)}
	if l.Kind = kind(l.URI); !ok || !closed || l.Kind == "" {
		return event.Link{}, 0
	}
	if l.Kind == event.LinkFile {
		l.Size, _ = strconv.ParseUint(attribute(attrs, "size"), 10, 63)
	}
	return l, i + 3 + len(attrs) + 1 + len(shown)
}

// attribute returns the value of a quoted attribute.
func attribute(attrs, name string) string {
	for attrs != "" {
		key, rest, ok := strings.Cut(attrs, "=")
		if !ok || rest == "" || rest[0] != '"' && rest[0] != '\'' {
			return ""
		}
		value, next, ok := strings.Cut(rest[1:], rest[:1])
		if !ok {
			return ""
		}
		if strings.EqualFold(strings.TrimSpace(key), name) {
			return html.UnescapeString(value)
		}
		attrs = next
	}
	return ""
}

// bare reads the URI whose scheme ends at i and returns its end, 0 if there is none.
func bare(s string, i int) (event.Link, int) {
	from := i
	for from > 0 && (isLetter(s[from-1]) || s[from-1] == '-') {
		from--
	}
	l := event.Link{Kind: kind(s[from : i+1])}
	start := i + len("://")
	if l.Kind == "" || !strings.HasPrefix(s[i:], "://") {
		return event.Link{}, 0
	}
	end := len(s)
	if n := strings.IndexFunc(s[start:], func(r rune) bool { return r <= ' ' || strings.ContainsRune(`<>"`, r) }); n >= 0 {
		end = start + n
	}
	if end = start + len(strings.TrimRight(s[start:end], ".,;:!?)'")); end == start {
		return event.Link{}, 0
	}
	l.URI = s[from:end]
	l.Name = l.URI
	return l, end
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// kind returns what the scheme of a URI leads to, "" if to nothing that a client should open.
func kind(uri string) event.LinkKind {
	scheme, _, ok := strings.Cut(uri, ":")
	if !ok {
		return ""
	}
	switch strings.ToLower(scheme) {
	case "ma-filelink":
		return event.LinkFile
	case "ma-chan":
		return event.LinkRoom
	case "http", "https":
		return event.LinkURL
	}
	return ""
}

// Element returns a link as it stands in a text.
func Element(l event.Link) string {
	var b strings.Builder
	b.WriteString(`<a href="` + html.EscapeString(l.URI) + `"`)
	if l.Size > 0 {
		b.WriteString(` size="` + strconv.FormatUint(l.Size, 10) + `"`)
	}
	b.WriteString(">" + html.EscapeString(l.Name) + "</a>")
	return b.String()
}
