package progress

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/durable-dea/dea/internal/cleantext"
	"github.com/durable-dea/dea/starter/internal/size"
	"github.com/durable-dea/dea/starter/internal/terminal"
)

// plainEvery is how often a long transfer is heard of where there is no bar.
const plainEvery = 5 * time.Second

// Reporter writes what is being done. It is safe for concurrent use, but for lines beside a running transfer.
type Reporter struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	painter  terminal.Painter
	now      func() time.Time
}

// New makes a Reporter for a stream; bars are drawn only where that is a terminal.
func New(out io.Writer) *Reporter {
	return &Reporter{out: out, terminal: terminal.Is(out), now: time.Now}
}

// Line writes a line, or several, of ours. A part of it may be what an app or a server has said.
func (r *Reporter) Line(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = fmt.Fprintln(r.out, cleantext.Lines(text)) // nobody could be told that nobody can be told
}

// Output writes one line of a program that is not ours, as package terminal has it.
func (r *Reporter) Output(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.terminal {
		text = r.painter.Line(text)
	}
	_, _ = fmt.Fprintln(r.out, text)
}

// Linef writes one line, formatted.
func (r *Reporter) Linef(format string, args ...any) { r.Line(fmt.Sprintf(format, args...)) }

// Transfer shows the progress of moving total bytes.
type Transfer struct {
	reporter *Reporter
	name     string
	total    int64
	begun    time.Time

	bars *mpb.Progress
	bar  *mpb.Bar
}

// Transfer begins to show a transfer; the caller ends it with Done.
func (r *Reporter) Transfer(name string, total int64) *Transfer {
	t := &Transfer{reporter: r, name: name, total: total, begun: r.now()}
	if !r.terminal {
		r.Linef("%s (%s)", name, size.Bytes(total))
		return t
	}
	t.bars = mpb.New(mpb.WithOutput(r.out), mpb.WithWidth(48))
	t.bar = t.bars.New(total, mpb.BarStyle(),
		mpb.PrependDecorators(decor.Name(name+" ")),
		mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f"), decor.Name("  "), decor.AverageETA(decor.ET_STYLE_MMSS)))
	return t
}

// Reader counts what is read through it. A second call begins the count anew: the transfer is tried again.
func (t *Transfer) Reader(from io.Reader) io.Reader {
	if t.bar != nil {
		t.bar.SetCurrent(0)
		return t.bar.ProxyReader(from)
	}
	return &plainReader{from: from, transfer: t, told: t.reporter.now()}
}

// Done ends the transfer; failed says that it did not reach its end.
func (t *Transfer) Done(failed bool) {
	if t.bar != nil {
		if failed {
			t.bar.Abort(false)
		} else {
			t.bar.SetCurrent(t.total)
			t.bar.SetTotal(t.total, true)
		}
		t.bars.Wait()
	}
	if !failed {
		t.reporter.Linef("%s: done in %.1fs", t.name, t.reporter.now().Sub(t.begun).Seconds())
	}
}

type plainReader struct {
	from     io.Reader
	transfer *Transfer
	done     int64
	told     time.Time
}

func (p *plainReader) Read(b []byte) (int, error) {
	n, err := p.from.Read(b)
	p.done += int64(n)
	t := p.transfer
	if now := t.reporter.now(); now.Sub(p.told) >= plainEvery && p.done < t.total {
		p.told = now
		t.reporter.Linef("%s: %d%% of %s", t.name, 100*p.done/t.total, size.Bytes(t.total))
	}
	return n, err
}
