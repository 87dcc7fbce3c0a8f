package applog

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// The streams of an instance.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// MaxLine is the length in bytes beyond which a line comes in parts.
const MaxLine = 64 << 10

// UnknownSkip is Record.Skipped where something is missing and nobody knows how much.
const UnknownSkip = -1

// Record is a line, or a part of one that is longer than MaxLine.
type Record struct {
	// Time is when it was read from the app, by the node's clock, and never later than when it was read here.
	Time time.Time
	// Stream is Stdout or Stderr.
	Stream string
	// Text is as the app wrote it, of any bytes, without the line's end ("\n" or "\r\n").
	Text string
	// Partial is set where the line goes on in the stream's next record.
	Partial bool
	// Skipped is how many bytes of the stream are missing before this record; UnknownSkip where that is not known.
	Skipped int64
	// Next is the position behind this record; it is not part of its JSON.
	Next Position
}

// Position is where in an instance's logs a reader goes on. Its zero value is the beginning of what there is. Its JSON can
// be kept, and used by another process.
type Position struct {
	Stdout Mark `json:"stdout"`
	Stderr Mark `json:"stderr"`
}

// Mark is a place in one stream.
type Mark struct {
	// File is the inode of the file, 0 for the beginning.
	File uint64 `json:"file"`
	// Base is how many bytes of the stream came before that file, -1 where that is not known.
	Base int64 `json:"base"`
	// Offset is in the file, in bytes.
	Offset int64 `json:"offset"`
}

const unknownBase = -1

// valid tells whether a mark may have come from a Reader: others may have been at what was kept.
func (m Mark) valid() bool {
	const most = 1 << 61 // sums do not overflow
	return m.Base >= unknownBase && m.Base < most && m.Offset >= 0 && m.Offset < most
}

// line is a Record in JSON.
type line struct {
	Time   time.Time `json:"time"`
	Stream string    `json:"stream"`
	Text   string    `json:"text"`
	// Raw are the bytes of a text that is not UTF-8, in base64; Text has U+FFFD for what is none.
	Raw     []byte `json:"raw,omitempty"`
	Partial bool   `json:"partial,omitempty"`
	Skipped int64  `json:"skipped,omitempty"`
}

// MarshalJSON writes {"time", "stream", "text"}, and where there is something to say "partial", "skipped" and "raw": the
// bytes of a text that is not UTF-8 in base64, whose "text" has U+FFFD for what is none.
func (r Record) MarshalJSON() ([]byte, error) {
	l := line{Time: r.Time, Stream: r.Stream, Text: r.Text, Partial: r.Partial, Skipped: r.Skipped}
	if !utf8.ValidString(r.Text) {
		l.Text, l.Raw = strings.ToValidUTF8(r.Text, "\uFFFD"), []byte(r.Text)
	}
	text, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("write a log's record: %w", err)
	}
	return text, nil
}

// UnmarshalJSON reads what MarshalJSON has written.
func (r *Record) UnmarshalJSON(text []byte) error {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return fmt.Errorf("read a log's record: %w", err)
	}
	if l.Raw != nil {
		l.Text = string(l.Raw)
	}
	*r = Record{Time: l.Time, Stream: l.Stream, Text: l.Text, Partial: l.Partial, Skipped: l.Skipped}
	return nil
}
