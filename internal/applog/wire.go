package applog

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// On the wire a log is a text of JSON objects, one a line: records, and between them positions, each behind all records
// that came before it:
//
//	{"time":"2026-11-28T12:00:00.123456789Z","stream":"stdout","text":"a line"}
//	{"position":{"stdout":{"file":71,"base":0,"offset":7},"stderr":{"file":72,"base":0,"offset":0}}}

// Event is one of those objects.
type Event struct {
	// Record is what was said, unless Position is not nil.
	Record Record
	// Position is where to go on from.
	Position *Position
}

// wirePosition is a position as it is on the wire.
type wirePosition struct {
	Position *Position `json:"position"`
}

// Append appends records as they are on the wire.
func Append(to []byte, records []Record) ([]byte, error) {
	for _, record := range records {
		text, err := record.MarshalJSON()
		if err != nil {
			return nil, err
		}
		to = append(append(to, text...), '\n')
	}
	return to, nil
}

// AppendPosition appends a position as it is on the wire.
func AppendPosition(to []byte, at Position) ([]byte, error) {
	text, err := json.Marshal(wirePosition{&at})
	if err != nil {
		return nil, fmt.Errorf("write a log's position: %w", err)
	}
	return append(append(to, text...), '\n'), nil
}

// maxWireLine bounds an object: a byte takes six where it must be escaped, and bytes that are no text come twice.
const maxWireLine = 8*MaxLine + 1024

// ErrTorn says that what was sent ended within an object, or is none.
var ErrTorn = errors.New("the log's text is torn")

// Decoder reads what was sent.
type Decoder struct{ lines *bufio.Scanner }

// NewDecoder reads from what was sent.
func NewDecoder(from io.Reader) *Decoder {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxWireLine)
	lines.Split(wholeLines)
	return &Decoder{lines}
}

// Next gives the next object: io.EOF after the last, ErrTorn for what is none, and else the error of what it reads from.
func (d *Decoder) Next() (Event, error) {
	if !d.lines.Scan() {
		if err := d.lines.Err(); err != nil {
			return Event{}, fmt.Errorf("read a log: %w", err)
		}
		return Event{}, io.EOF
	}
	var event Event
	var err error
	if strings.HasPrefix(d.lines.Text(), `{"position"`) {
		var at wirePosition
		err = json.Unmarshal(d.lines.Bytes(), &at)
		event.Position = at.Position
	} else {
		err = json.Unmarshal(d.lines.Bytes(), &event.Record)
	}
	if err != nil {
		return Event{}, fmt.Errorf("%w: %w", ErrTorn, err)
	}
	return event, nil
}

// wholeLines is bufio.ScanLines that has no last line without an end.
func wholeLines(data []byte, atEOF bool) (int, []byte, error) {
	n, token, err := bufio.ScanLines(data, false)
	if n == 0 && err == nil && atEOF && len(data) > 0 {
		err = ErrTorn
	}
	return n, token, err
}
