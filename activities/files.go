package activities

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// openNonblock keeps an open from waiting for the other end of a fifo.
const openNonblock = unix.O_NONBLOCK

// copyTail copies the last most bytes of a file of that size. The file may grow meanwhile; what comes then is left.
func copyTail(to io.Writer, from *os.File, size, most int64) error {
	offset := max(size-most, 0)
	_, err := io.Copy(to, io.NewSectionReader(from, offset, size-offset))
	return err
}
