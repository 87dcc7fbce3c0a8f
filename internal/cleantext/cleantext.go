// Package cleantext makes texts that others wrote fit to be shown in a sentence: they must not steer a terminal, begin a
// line of their own, or turn the direction of what follows.
package cleantext

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line is the text as one line of printable UTF-8: white space becomes a blank, and every other control or format character
// (escape sequences, bidirectional overrides) U+FFFD.
func Line(text string) string {
	return strings.TrimSpace(strings.Map(Rune, strings.ToValidUTF8(text, "\uFFFD")))
}

// Lines is the text as such lines, of which each keeps the blanks that it begins with.
func Lines(text string) string {
	lines := strings.Split(text, "\n")
	for n, line := range lines {
		rest := strings.TrimLeft(line, " ")
		lines[n] = line[:len(line)-len(rest)] + Line(rest)
	}
	return strings.Join(lines, "\n")
}

// Rune is what stands for a character in a line.
func Rune(r rune) rune {
	switch {
	case unicode.IsSpace(r):
		return ' '
	case Steers(r):
		return unicode.ReplacementChar
	default:
		return r
	}
}

// Steers tells the characters that do something where they are shown, instead of being seen: controls, white space among
// them, format characters, and what ends a line or a paragraph.
func Steers(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

// Cut is how much of a text, of which there is more to come, can be taken without tearing its last character. It is all
// of one that has no whole character.
func Cut(text []byte) int {
	for back := 1; back < utf8.UTFMax && back < len(text); back++ {
		if begin := len(text) - back; utf8.RuneStart(text[begin]) {
			if !utf8.FullRune(text[begin:]) {
				return begin
			}
			break
		}
	}
	return len(text)
}
