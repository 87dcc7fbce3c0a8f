// Package terminal writes lines of programs that are not ours where a user reads them.
//
// On a terminal, colours and other attributes of text (SGR, "ESC [ … m") and tabs pass, and every other escape sequence is
// dropped with all that belongs to it: what moves the cursor, sets titles, writes into the clipboard or asks the terminal to
// type could mislead or steer whoever reads. Of single characters package cleantext says what stands for them: a blank for a
// carriage return, which could write over what we say before the line, and U+FFFD for other controls, for what turns the
// direction of text, and for bytes that are no UTF-8. NO_COLOR changes nothing: what a user's own tools write is theirs to
// colour. Anywhere else, in a file or a pipe, bytes are as they were written.
package terminal

import (
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/durable-dea/dea/internal/cleantext"
)

const (
	escape = 0x1b
	reset  = "\x1b[0m"
	// maxOpen bounds the attributes that are carried from line to line.
	maxOpen = 256
)

// Is tells whether a stream is a terminal.
func Is(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// Painter makes the lines of one program fit for a terminal. Attributes that a line leaves on hold for the next one and for
// nothing in between: each line ends without. The zero value is ready.
type Painter struct {
	// open turns on what the lines so far left on.
	open string
}

// sgr is a whole sequence that sets attributes; none in use is longer.
var sgr = regexp.MustCompile(`^\x1b\[[0-9;:]{0,64}m`)

// Line gives a line, which has no line feed, as a terminal may have it.
func (p *Painter) Line(text string) string {
	text = strings.TrimSuffix(text, "\r") // of a line's end of two
	if p.open == "" && !strings.ContainsFunc(text, suspect) {
		return text
	}
	var b strings.Builder
	b.WriteString(p.open)
	for text != "" {
		if attributes := sgr.FindString(text); attributes != "" {
			b.WriteString(attributes)
			p.turn(attributes)
			text = text[len(attributes):]
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == escape || r == 0x9b || r == utf8.RuneError && text[0] == 0x9b:
			size = controlLength(text, size)
		case isString(r):
			size += stringLength(text[size:])
		case r == '\t' || !suspect(r):
			b.WriteString(text[:size])
		default:
			b.WriteRune(cleantext.Rune(r))
		}
		text = text[size:]
	}
	if p.open != "" {
		b.WriteString(reset)
	}
	return b.String()
}

// turn follows what a sequence turns on and off.
func (p *Painter) turn(attributes string) {
	parameters := attributes[2 : len(attributes)-1]
	first, rest, more := strings.Cut(parameters, ";")
	switch off := strings.Trim(first, "0") == ""; {
	case off && (!more || strings.Trim(rest, "0;") == ""):
		p.open = ""
	case off, len(p.open)+len(attributes) > maxOpen:
		p.open = attributes
	default:
		p.open += attributes
	}
}

// suspect tells what needs a look: what is more than to be seen, and what is no text at all.
func suspect(r rune) bool { return r == utf8.RuneError || cleantext.Steers(r) }

// isString tells the controls of eight bits that begin a string: DCS, SOS, OSC, PM and APC.
func isString(r rune) bool {
	switch r {
	case 0x90, 0x98, 0x9d, 0x9e, 0x9f:
		return true
	}
	return false
}

// controlLength is the length of the sequence that a text begins with, whose first control takes size bytes.
func controlLength(text string, size int) int {
	rest := text[size:]
	if text[0] != escape { // a CSI of eight bits
		return size + parametersLength(rest)
	}
	if rest == "" {
		return size
	}
	switch rest[0] {
	case '[':
		return size + 1 + parametersLength(rest[1:])
	case ']', 'P', 'X', '^', '_':
		return size + 1 + stringLength(rest[1:])
	}
	// Two bytes, or more where intermediate ones follow.
	n := 0
	for n < len(rest) && rest[n] >= ' ' && rest[n] <= '/' {
		n++
	}
	if n < len(rest) && rest[n] >= '0' && rest[n] <= '~' {
		n++
	}
	return size + n
}

// parametersLength is the length of a CSI's parameters, intermediate bytes and final byte, as far as they are there.
func parametersLength(text string) int {
	n := 0
	for n < len(text) && text[n] >= ' ' && text[n] <= '?' {
		n++
	}
	if n < len(text) && text[n] >= '@' && text[n] <= '~' {
		n++
	}
	return n
}

// stringLength is the length of a control string with its end, or all of the line where it has none there.
func stringLength(text string) int {
	for i := range len(text) {
		switch {
		case text[i] == 0x07:
			return i + 1
		case text[i] == escape && i+1 < len(text) && text[i+1] == '\\':
			return i + 2
		case text[i] == escape: // anything else ends it, and begins anew
			return i
		case strings.HasPrefix(text[i:], "\u009c"):
			return i + 2
		}
	}
	return len(text)
}
