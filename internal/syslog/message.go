package syslog

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Severity is one of the two that the lines of an app have, with the facility "user".
type Severity int

// The severities.
const (
	// Info is for what came on stdout.
	Info Severity = 14
	// Err is for what came on stderr, and for what a drain itself has to say.
	Err Severity = 11
)

const (
	// MaxText is how much of a line, in bytes, is in one message over TCP and TLS; the rest is in further ones. It is what Cloud
	// Foundry's nodes make of long lines.
	MaxText = 60 << 10
	// MaxDatagram is the longest message over UDP, in bytes, at which it is cut: what RFC 5424 has receivers take at least
	// of what is "recommended".
	MaxDatagram = 2048
)

// stamp is the form of times, always as long.
const stamp = "2006-01-02T15:04:05.000000-07:00"

// Message is what differs from message to message of one Origin.
type Message struct {
	// Time is when the line came; zero where that is not known.
	Time     time.Time
	Severity Severity
	// Text is a line, of any bytes.
	Text string
}

// Writer writes the messages of one origin. It may be used by several goroutines at once.
type Writer struct {
	// frame and datagram are everything between a message's time and its text, and begin and end with a blank.
	frame, datagram string
}

// AppendFrames appends a message, or several where the text is longer than MaxText, each after its length.
func (w *Writer) AppendFrames(b []byte, m Message) []byte {
	var space [1 << 10]byte
	text := clean(m.Text)
	for {
		part := text[:cut(text, MaxText)]
		head := append(appendHead(space[:0], m), w.frame...)
		b = strconv.AppendInt(b, int64(len(head)+len(part)+1), 10)
		b = append(b, ' ')
		b = append(append(append(b, head...), part...), '\n')
		if text = text[len(part):]; len(text) == 0 {
			return b
		}
	}
}

// AppendDatagram appends a message of at most MaxDatagram bytes.
func (w *Writer) AppendDatagram(b []byte, m Message) []byte {
	start := len(b)
	b = append(appendHead(b, m), w.datagram...)
	text := clean(m.Text)
	return append(b, text[:cut(text, MaxDatagram-(len(b)-start))]...)
}

// appendHead appends what comes before a message's HOSTNAME.
func appendHead(b []byte, m Message) []byte {
	b = append(b, '<')
	b = strconv.AppendInt(b, int64(m.Severity), 10)
	b = append(b, ">1 "...)
	at := m.Time.UTC()
	if m.Time.IsZero() || at.Year() < 1 || at.Year() > 9999 {
		return append(b, nothing...)
	}
	return at.AppendFormat(b, stamp)
}

const byteOrderMark = "\ufeff"

var breaks = strings.NewReplacer("\x00", "", "\n", " ")

// clean is a line without what must not be in a message.
func clean(line string) string {
	line = strings.TrimRight(line, "\r\n\x00")
	if strings.ContainsAny(line, "\x00\n") {
		line = breaks.Replace(line)
	}
	if strings.HasPrefix(line, byteOrderMark) && !utf8.ValidString(line) {
		for strings.HasPrefix(line, byteOrderMark) {
			line = line[len(byteOrderMark):]
		}
	}
	return line
}

// cut is how much of a text fits into so many bytes without a character being torn, unless it is no text: it is more than 0
// where most is.
func cut(text string, most int) int {
	if len(text) <= most {
		return len(text)
	}
	for n := most; n > most-utf8.UTFMax && n > 0; n-- {
		if utf8.RuneStart(text[n]) {
			return n
		}
	}
	return most
}
