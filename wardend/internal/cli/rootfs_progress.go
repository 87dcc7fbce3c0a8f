package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/durable-dea/dea/wardend/internal/rootfs"
)

const (
	// patience is how long nothing is said of what is soon done.
	patience = time.Second
	// sayEvery is how often a line is written that stays.
	sayEvery = 5 * time.Second
)

// making tells how far a rootfs is: in one line of a terminal, else in a line now and then.
type making struct {
	to          io.Writer
	start, said time.Time
	inLine      bool
}

func (m *making) tell(sum rootfs.Summary) {
	now := time.Now()
	if now.Sub(m.start) < patience {
		return
	}
	words := fmt.Sprintf("%d files, %s shared, %s copied", sum.Files, amount(sum.Bytes.Linked+sum.Bytes.Reflinked), amount(sum.Bytes.Copied))
	if f, ok := m.to.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		m.inLine = true
		fmt.Fprintf(m.to, "\r\x1b[K%s", words)
		return
	}
	if now.Sub(m.said) >= sayEvery {
		m.said = now
		fmt.Fprintln(m.to, words)
	}
}

// end leaves the line clean.
func (m *making) end() {
	if m.inLine {
		fmt.Fprint(m.to, "\r\x1b[K")
	}
}
