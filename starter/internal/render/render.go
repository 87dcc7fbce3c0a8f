package render

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/durable-dea/dea/internal/cleantext"
)

// Format is how an answer is written. It is usable as a flag.
type Format string

// The formats.
const (
	Text Format = "text"
	JSON Format = "json"
)

// String is the format's name.
func (f *Format) String() string { return string(*f) }

// Set reads a flag's value.
func (f *Format) Set(text string) error {
	switch Format(text) {
	case Text, JSON:
		*f = Format(text)
		return nil
	default:
		return fmt.Errorf("%q is no format; there are text and json", text)
	}
}

// Type names the kind of value in a command's help.
func (f *Format) Type() string { return "text|json" }

// Renderer writes answers.
type Renderer struct {
	// Out takes them.
	Out io.Writer
	// Format is how.
	Format Format
	// Now tells the time, for ages.
	Now func() time.Time
	// Router is where the router answers, so that routes are shown as URLs; nil where that is not known.
	Router *url.URL
}

// answer writes value as JSON, or what text writes.
func (r Renderer) answer(value any, text func(io.Writer)) error {
	if r.Format == JSON {
		return r.Object(value)
	}
	var b strings.Builder
	text(&b)
	if _, err := io.WriteString(r.Out, b.String()); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// table writes rows in aligned columns, without the blanks that would end a line.
func table(out io.Writer, header []string, rows [][]string) {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = oneLine(cell)
		}
		_, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) // a strings.Builder takes all
	}
	_ = w.Flush()
	for line := range strings.Lines(b.String()) {
		_, _ = fmt.Fprintln(out, strings.TrimRight(line, " \n"))
	}
}

// oneLine keeps what others wrote from breaking a table or steering a terminal.
func oneLine(cell string) string {
	return cmp.Or(cleantext.Line(cell), "-")
}

// age writes how long ago something was, in its two largest units.
func age(now, then time.Time) string {
	d := now.Sub(then)
	switch {
	case then.IsZero():
		return ""
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}
