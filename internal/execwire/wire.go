package execwire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Kind says what a frame is.
type Kind byte

// The kinds.
const (
	// Request is a Command, from the worker.
	Request Kind = 'r'
	// Stdin is input, StdinEnd its end.
	Stdin    Kind = 'i'
	StdinEnd Kind = 'e'
	// Resize is a Size.
	Resize Kind = 'w'
	// Signal is the name of a signal without SIG, as SSH has them.
	Signal Kind = 's'
	// Consumed is a number: so many more bytes of input were passed on.
	Consumed Kind = 'c'
	// Stdout and Stderr are output.
	Stdout Kind = 'o'
	Stderr Kind = 'E'
	// Exit is an Ended, from the runner.
	Exit Kind = 'x'
)

const (
	// MaxFrame bounds a frame's bytes beside its head.
	MaxFrame = 256 << 10
	// MaxLine bounds the bytes of a Command's Line, which as JSON may take six times as many.
	MaxLine = MaxFrame / 8
	// MaxChunk bounds what is sent of input or output at once.
	MaxChunk = 32 << 10
	// Window is how many bytes of input may be under way: so a command that does not read keeps no signal waiting.
	Window = 256 << 10
)

// Command is what to run.
type Command struct {
	// Line is for the shell; empty for a shell that reads its commands.
	Line string `json:"line,omitempty"`
	// Terminal is nil without one.
	Terminal *Terminal `json:"terminal,omitempty"`
}

// Terminal is the one that the command is to have.
type Terminal struct {
	// Name is the environment's TERM.
	Name string `json:"name,omitempty"`
	Size
}

// Size of a terminal, in characters.
type Size struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// Ended is how it ended.
type Ended struct {
	// Status is the command's exit status; 128+n when signal n ended it.
	Status int `json:"status"`
	// Words say why there is no status of the command's, for the user; empty when there is one.
	Words string `json:"words,omitempty"`
}

// ErrTooLarge is the error of a frame over MaxFrame.
var ErrTooLarge = errors.New("a frame is too large")

const headBytes = 5

// Writer writes frames. It is safe for concurrent use.
type Writer struct {
	mu sync.Mutex
	to io.Writer
}

// NewWriter writes to a connection.
func NewWriter(to io.Writer) *Writer { return &Writer{to: to} }

// Write writes one frame, with a single write to the connection.
func (w *Writer) Write(kind Kind, payload []byte) error {
	if len(payload) > MaxFrame {
		return ErrTooLarge
	}
	frame := make([]byte, headBytes, headBytes+len(payload))
	frame[0] = byte(kind)
	binary.BigEndian.PutUint32(frame[1:], uint32(len(payload))) //nolint:gosec // bounded above
	frame = append(frame, payload...)
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.to.Write(frame)
	return err
}

// WriteJSON writes a value as one frame.
func (w *Writer) WriteJSON(kind Kind, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return w.Write(kind, text)
}

// WriteConsumed writes a number.
func (w *Writer) WriteConsumed(n int) error {
	return w.Write(Consumed, binary.BigEndian.AppendUint32(nil, uint32(n))) //nolint:gosec // less than MaxChunk
}

// Pump writes all that comes from a reader as frames of a kind, until its end or an error.
func (w *Writer) Pump(kind Kind, from io.Reader) error {
	buffer := make([]byte, MaxChunk)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if failed := w.Write(kind, buffer[:n]); failed != nil {
				return failed
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Read reads one frame. At a clean end it fails with io.EOF, in the middle of a frame with io.ErrUnexpectedEOF.
func Read(from io.Reader) (Kind, []byte, error) {
	var head [headBytes]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > MaxFrame {
		return 0, nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, size)
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(from, payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return Kind(head[0]), payload, nil
}

// ReadConsumed is the number of a frame; false when it is none.
func ReadConsumed(payload []byte) (int, bool) {
	if len(payload) != 4 {
		return 0, false
	}
	n := binary.BigEndian.Uint32(payload)
	return int(n), n <= Window
}
