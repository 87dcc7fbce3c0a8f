package directory

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	textType = "text/plain; charset=utf-8"
	// sniffBytes is what the kind of a file's content is guessed from.
	sniffBytes = 512
	// maxRanges is how many ranges of a file may be asked for at once: each costs more than the bytes that ask for it.
	maxRanges = 16
	// filePolicy keeps a browser from doing anything with what an app has written but show it.
	filePolicy = "default-src 'none'; sandbox"
)

// errRanges refuses a request for many pieces of a file.
var errRanges = fmt.Errorf("at most %d ranges can be asked for at once", maxRanges)

// serveFile answers with a file's content: whole or in ranges, or that the client has it already. It is labelled as text
// or as bytes and never as what a browser would run.
func serveFile(w http.ResponseWriter, r *http.Request, f *os.File, info fs.FileInfo) error {
	wanted := r.Header.Get("Range")
	// Of ranges that overlap by more than the file has the whole file is sent instead: see http.ServeContent.
	if strings.Count(wanted, ",") >= maxRanges {
		return errRanges
	}
	// RFC 9110 has servers pass over what is asked of another method, or in another unit; http.ServeContent does not.
	if r.Method != http.MethodGet || !strings.HasPrefix(wanted, "bytes=") {
		r.Header.Del("Range")
	}
	head := make([]byte, sniffBytes)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the beginning: %w", err)
	}
	kind := "application/octet-stream"
	if strings.HasPrefix(http.DetectContentType(head[:n]), "text/") {
		kind = textType
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Security-Policy", filePolicy)
	w.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, info.Size(), info.ModTime().UnixNano()))
	http.ServeContent(w, r, "", info.ModTime(), f)
	return nil
}

// sender gives each piece its own time: a whole answer may last for days, and a reader that has stopped reading does not
// hold its file open for ever.
type sender struct {
	http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
}

func newSender(w http.ResponseWriter, patience time.Duration) *sender {
	return &sender{ResponseWriter: w, control: http.NewResponseController(w), patience: patience}
}

// Write sends a piece, or leaves it in the connection's buffer.
func (s *sender) Write(piece []byte) (int, error) {
	s.begin()
	return s.ResponseWriter.Write(piece)
}

// begin gives the reader its time for the next piece. A connection that knows no deadlines waits as long as it likes.
func (s *sender) begin() { _ = s.control.SetWriteDeadline(time.Now().Add(s.patience)) }

// send sends a piece now.
func (s *sender) send(piece []byte) error {
	if _, err := s.Write(piece); err != nil {
		return err
	}
	return s.flush()
}

func (s *sender) flush() error {
	s.begin()
	return s.control.Flush()
}
