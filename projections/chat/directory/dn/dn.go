// Package dn reads and writes distinguished names (RFC 4514), as far as directories of people use them.
package dn

import (
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

// RDN is one step of a distinguished name.
type RDN struct{ Type, Value string } // the type in lower case

// Parse takes a distinguished name apart (RFC 4514), the innermost step first. Blanks around separators are ignored.
// Steps of several values ("A=1+B=2") and values in hexadecimal BER ("#0403...") are refused.
func Parse(dn string) ([]RDN, error) {
	var out []RDN
	for rest, more := dn, true; more; {
		typ, after, ok := strings.Cut(rest, "=")
		typ = strings.ToLower(strings.TrimSpace(typ))
		if !ok || typ == "" || strings.ContainsAny(typ, ",+\"\\<>; ") {
			return nil, fmt.Errorf("distinguished name %q: a step is not TYPE=VALUE", dn)
		}
		value, n, err := scanValue(after)
		if err != nil {
			return nil, fmt.Errorf("distinguished name %q: %w", dn, err)
		}
		if value == "" {
			return nil, fmt.Errorf("distinguished name %q: %s has no value", dn, typ)
		}
		out = append(out, RDN{typ, value})
		if more = n < len(after); more {
			rest = after[n+1:]
		}
	}
	return out, nil
}

// scanValue reads a value up to an unescaped comma and returns it with the length of its text.
func scanValue(s string) (value string, n int, err error) {
	s0 := len(s)
	s = strings.TrimLeft(s, " ")
	skipped := s0 - len(s)
	if strings.HasPrefix(s, "#") {
		return "", 0, fmt.Errorf("values in hexadecimal BER are not supported")
	}
	var b strings.Builder
	trim := 0 // how much of b must stay: escaped blanks at the end do
	i := 0
scan:
	for ; i < len(s); i++ {
		switch c := s[i]; c {
		case ',':
			break scan
		case '+':
			return "", 0, fmt.Errorf("steps of several values are not supported")
		case '"', '<', '>', ';':
			return "", 0, fmt.Errorf("%q must be escaped", c)
		case '\\':
			if i++; i >= len(s) {
				return "", 0, fmt.Errorf("an escape at the end")
			}
			if strings.IndexByte(" \"#+,;<=>\\", s[i]) >= 0 {
				b.WriteByte(s[i])
			} else if raw, err := hex.DecodeString(s[i:min(i+2, len(s))]); err == nil && len(raw) == 1 {
				b.Write(raw)
				i++
			} else {
				return "", 0, fmt.Errorf("a wrong escape")
			}
			trim = b.Len()
		default:
			b.WriteByte(c)
			if c != ' ' {
				trim = b.Len()
			}
		}
	}
	if value = b.String()[:trim]; !utf8.ValidString(value) {
		return "", 0, fmt.Errorf("not UTF-8")
	}
	return value, skipped + i, nil
}

// Split returns the steps below the domain, the innermost first, and the domain that the DC steps at the end spell.
func Split(dn string) (steps []RDN, domain string, err error) {
	if dn == "" {
		return nil, "", nil
	}
	steps, err = Parse(dn)
	if err != nil {
		return nil, "", err
	}
	n := len(steps)
	for n > 0 && steps[n-1].Type == "dc" {
		n--
	}
	var labels []string
	for _, s := range steps[n:] {
		labels = append(labels, strings.ToLower(s.Value))
	}
	for _, s := range steps[:n] {
		if s.Type == "dc" {
			return nil, "", fmt.Errorf("distinguished name %q: DC before %s", dn, steps[n-1].Type)
		}
	}
	return steps[:n], strings.Join(labels, "."), nil
}

// Step writes one step.
func Step(typ, value string) string {
	var b strings.Builder
	b.WriteString(typ)
	b.WriteByte('=')
	for i := 0; i < len(value); i++ {
		c := value[i]
		edge := c == ' ' && (i == 0 || i == len(value)-1) || c == '#' && i == 0
		if edge || strings.IndexByte(`\,+"<>;=`, c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}
