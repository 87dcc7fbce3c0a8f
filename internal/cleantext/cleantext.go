// Package cleantext makes texts that others wrote fit to be shown in a sentence: they must not steer a terminal, begin a
// line of their own, or turn the direction of what follows.
package cleantext

import (
	"strings"
	"unicode"
)

// Line is the text as one line of printable UTF-8: white space becomes a blank, and every other control or format character
// (escape sequences, bidirectional overrides) U+FFFD.
func Line(text string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return unicode.ReplacementChar
		default:
			return r
		}
	}, strings.ToValidUTF8(text, "\uFFFD"))
	return strings.TrimSpace(clean)
}
