package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/durable-dea/dea/internal/cleantext"
)

// Object writes a value as one indented JSON object, whatever the format.
func (r Renderer) Object(value any) error { return r.json(value, "  ") }

// Line writes a value as JSON on one line, whatever the format.
func (r Renderer) Line(value any) error { return r.json(value, "") }

// json writes a value, of which a part may be what apps and servers said.
func (r Renderer) json(value any, indent string) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	err := encoder.Encode(value)
	if err == nil {
		err = writeEscaped(r.Out, text.Bytes())
	}
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// writeEscaped writes JSON with escapes for those controls and format characters that encoding/json leaves as they are, as
// U+009B, a CSI of one character: what reads JSON sees no difference, and a terminal nothing that could steer it.
func writeEscaped(out io.Writer, text []byte) error {
	escaped := text[:0:0]
	done := 0 // as much of the text is in escaped
	for at := 0; at < len(text); {
		r, size := rune(text[at]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text[at:])
		}
		if r != '\n' && cleantext.Steers(r) {
			escaped = append(escaped, text[done:at]...)
			for _, unit := range utf16.AppendRune(nil, r) {
				escaped = fmt.Appendf(escaped, `\u%04x`, unit)
			}
			done = at + size
		}
		at += size
	}
	if done > 0 {
		text = append(escaped, text[done:]...)
	}
	_, err := out.Write(text)
	return err
}
