package initproc

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Bounds of a message, in bytes. What an init says is largest with maxJobs jobs; what it is asked holds a script.
const (
	maxReply   = 4 << 20
	maxRequest = 256 << 20
)

// messages reads JSON values, one a line.
type messages struct {
	r    *bufio.Reader
	most int
}

func newMessages(r io.Reader, most int) *messages {
	const common = 4 << 10
	return &messages{r: bufio.NewReaderSize(r, common), most: most}
}

// next reads a value. Memory for a large one is not kept.
func (m *messages) next(v any) error {
	line, err := m.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line = append([]byte(nil), line...)
		for errors.Is(err, bufio.ErrBufferFull) {
			if len(line) > m.most {
				return fmt.Errorf("a message is longer than %d bytes", m.most)
			}
			var more []byte
			more, err = m.r.ReadSlice('\n')
			line = append(line, more...)
		}
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}
