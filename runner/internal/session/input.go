package session

import (
	"os"
	"sync"

	"github.com/durable-dea/dea/internal/execwire"
)

// endOfTransmission is the byte that a terminal takes for the end of its input.
const endOfTransmission = 4

// input is what the worker has sent and the command has not read. It is bounded by what the worker may send.
type input struct {
	mu    sync.Mutex
	more  *sync.Cond
	held  []byte
	ended bool
}

func newInput() *input {
	in := &input{}
	in.more = sync.NewCond(&in.mu)
	return in
}

// add is false for more than may be under way.
func (in *input) add(p []byte) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.held)+len(p) > execwire.Window+execwire.MaxChunk {
		return false
	}
	if !in.ended {
		in.held = append(in.held, p...)
		in.more.Broadcast()
	}
	return true
}

func (in *input) end() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.ended = true
	in.more.Broadcast()
}

// take waits for the next piece; empty at the end.
func (in *input) take() []byte {
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.held) == 0 && !in.ended {
		in.more.Wait()
	}
	n := min(len(in.held), execwire.MaxChunk)
	piece := append([]byte(nil), in.held[:n]...)
	in.held = append(in.held[:0], in.held[n:]...)
	return piece
}

// copyTo gives the command its input to the end, and says how much it took.
func (in *input) copyTo(stdin *os.File, terminal bool, to *execwire.Writer) {
	for {
		piece := in.take()
		if len(piece) == 0 {
			break
		}
		// A command that reads no more is no fault: what comes is dropped.
		_, _ = stdin.Write(piece)
		if to.WriteConsumed(len(piece)) != nil {
			break
		}
	}
	if terminal {
		_, _ = stdin.Write([]byte{endOfTransmission})
		return // it is read from as well
	}
	_ = stdin.Close()
}
