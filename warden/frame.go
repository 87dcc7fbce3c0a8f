package warden

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/warden/wardenpb"
)

// DefaultMaxMessage is the longest message in bytes that is read by default. The longest that travels in earnest is
// the answer of a job with all the output that it may have (10 MiB by default).
const DefaultMaxMessage = 64 << 20

// maxLengthDigits bounds the length's own line: more digits than any limit has.
const maxLengthDigits = 19

// readStep is how much memory is taken on the word of a length that was not yet followed by bytes. A longer message
// gets as much again as has come, each time that all of it is full.
const readStep = 64 << 10

// FrameError says that the bytes of a connection are not the protocol's. What follows cannot be read: where the next
// message begins is not known.
type FrameError struct {
	// Reason is for a person.
	Reason string
	// Err is the read error beneath, if there is one.
	Err error
}

// badFrame begins a FrameError's words, which a server answers before it closes the connection.
const badFrame = "bad frame: "

func (e *FrameError) Error() string {
	if e.Err != nil {
		return badFrame + e.Reason + ": " + e.Err.Error()
	}
	return badFrame + e.Reason
}

// Unwrap gives the read error.
func (e *FrameError) Unwrap() error { return e.Err }

// Reader reads messages off a connection.
type Reader struct {
	r       *bufio.Reader
	max     int
	reserve func(n int) error
}

// NewReader makes a Reader that refuses messages longer than max bytes; 0 means DefaultMaxMessage.
func NewReader(r io.Reader, maxMessage int) *Reader {
	if maxMessage <= 0 {
		maxMessage = DefaultMaxMessage
	}
	return &Reader{r: bufio.NewReader(r), max: maxMessage}
}

// Reserve has f asked each time that a message needs n more bytes than the 64 KiB that every one may have, so that
// whoever reads many connections can bound them together. With an error of f's the message is refused, by a
// *FrameError that wraps it.
func (r *Reader) Reserve(f func(n int) error) { r.reserve = f }

// Buffered says whether bytes have been read off the connection that no message has used yet.
func (r *Reader) Buffered() bool { return r.r.Buffered() > 0 }

// Frame reads the next frame's payload. At the end of the stream, between two frames, the error is io.EOF; anything
// else that is not a whole frame is a *FrameError.
func (r *Reader) Frame() ([]byte, error) {
	length, err := r.length()
	if err != nil {
		return nil, err
	}
	payload, err := r.payload(length)
	if err != nil {
		return nil, err
	}
	var end [2]byte
	if _, err := io.ReadFull(r.r, end[:]); err != nil {
		return nil, &FrameError{Reason: "it ends before its last CRLF", Err: noEOF(err)}
	}
	if end != [2]byte{'\r', '\n'} {
		return nil, &FrameError{Reason: fmt.Sprintf("no CRLF after %d bytes of payload", length)}
	}
	return payload, nil
}

// Message reads the next message's envelope. A *FrameError ends the stream; after a *MessageError reading can go on.
func (r *Reader) Message() (*wardenpb.Message, error) {
	payload, err := r.Frame()
	if err != nil {
		return nil, err
	}
	return decodeEnvelope(payload)
}

func (r *Reader) length() (int, error) {
	digits := make([]byte, 0, maxLengthDigits)
	for {
		c, err := r.r.ReadByte()
		if err != nil {
			if errors.Is(err, io.EOF) && len(digits) == 0 {
				return 0, io.EOF
			}
			return 0, &FrameError{Reason: "it ends within its length", Err: noEOF(err)}
		}
		if c == '\r' {
			break
		}
		if c < '0' || c > '9' {
			return 0, &FrameError{Reason: "its length is not a decimal number"}
		}
		if len(digits) == maxLengthDigits {
			return 0, &FrameError{Reason: fmt.Sprintf("its length has more than %d digits", maxLengthDigits)}
		}
		digits = append(digits, c)
	}
	if c, err := r.r.ReadByte(); err != nil || c != '\n' {
		return 0, &FrameError{Reason: "its length does not end in CRLF", Err: noEOF(err)}
	}
	if len(digits) == 0 {
		return 0, &FrameError{Reason: "its length is not a decimal number"}
	}
	length, err := strconv.Atoi(string(digits))
	if err != nil || length > r.max {
		return 0, &FrameError{Reason: fmt.Sprintf("%s bytes are more than the %d that are allowed", digits, r.max)}
	}
	return length, nil
}

func (r *Reader) payload(length int) ([]byte, error) {
	payload := make([]byte, min(length, readStep))
	for have := 0; ; {
		if _, err := io.ReadFull(r.r, payload[have:]); err != nil {
			return nil, &FrameError{Reason: fmt.Sprintf("it ends before its %d bytes", length), Err: noEOF(err)}
		}
		have = len(payload)
		if have == length {
			return payload, nil
		}
		more := min(have, length-have)
		if r.reserve != nil {
			if err := r.reserve(more); err != nil {
				return nil, &FrameError{Reason: fmt.Sprintf("there is no room for its %d bytes", length), Err: err}
			}
		}
		grown := make([]byte, have+more)
		copy(grown, payload)
		payload = grown
	}
}

// noEOF keeps io.EOF for the clean end of a stream.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Write sends m as a message of type t, in one write.
func Write(w io.Writer, t wardenpb.Message_Type, m proto.Message) error {
	frame, err := appendFrame(nil, t, m)
	if err != nil {
		return err
	}
	_, err = w.Write(frame)
	return err
}

func appendFrame(b []byte, t wardenpb.Message_Type, m proto.Message) ([]byte, error) {
	inner, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", t, err)
	}
	envelope := &wardenpb.Message{Type: &t, Payload: inner}
	b = strconv.AppendInt(b, int64(proto.Size(envelope)), 10)
	b = append(b, "\r\n"...)
	b, err = proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, envelope)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", t, err)
	}
	return append(b, "\r\n"...), nil
}
