package terminal

import (
	"bytes"
	"io"

	"github.com/durable-dea/dea/internal/cleantext"
)

// maxHeld is where a longer line is handed on in pieces.
const maxHeld = 64 << 10

// Writer makes the text of one program fit for a terminal, line by line; Close hands on a last line that has no end.
type Writer struct {
	// Out takes the lines; required.
	Out io.Writer

	painter Painter
	held    []byte
}

// Write hands on the lines that are whole.
func (w *Writer) Write(p []byte) (int, error) {
	w.held = append(w.held, p...)
	for {
		i := bytes.IndexByte(w.held, '\n')
		end := "\n"
		if i < 0 {
			if len(w.held) < maxHeld {
				return len(p), nil
			}
			i, end = cleantext.Cut(w.held[:maxHeld]), ""
		}
		if _, err := io.WriteString(w.Out, w.painter.Line(string(w.held[:i]))+end); err != nil {
			return 0, err
		}
		w.held = w.held[i+len(end):]
	}
}

// Close writes what is left, without an end of its own. It does not close Out.
func (w *Writer) Close() error {
	rest := w.held
	w.held = nil
	if len(rest) == 0 {
		return nil
	}
	_, err := io.WriteString(w.Out, w.painter.Line(string(rest)))
	return err
}
