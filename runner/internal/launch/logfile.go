package launch

import (
	"bytes"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// logFile is a file that is moved aside, once, before it grows over its limit, and at the end of a line when there is
// one in the last slack bytes. It is for one goroutine.
type logFile struct {
	path         string
	limit, slack int64
	size         int64
	// full: what comes next goes to a new file.
	full bool
	file *os.File
}

func openLogFile(path string, limit, slack int64) (*logFile, error) {
	l := &logFile{path: path, limit: limit, slack: slack}
	return l, l.open()
}

// open takes the file that is there, or makes one. What an app has put in its place, as a fifo that nobody reads, gives way.
func (l *logFile) open() error {
	err := l.openRegular()
	if err != nil && !isRegular(l.path) && os.Remove(l.path) == nil {
		err = l.openRegular()
	}
	return err
}

func (l *logFile) openRegular() error {
	// A fifo must not keep the launcher waiting, which could then not tell of the app's end.
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, info.Size()
	return nil
}

var errNotRegular = errors.New("no regular file")

// isRegular is true also of what is not there: there is nothing to give way.
func isRegular(path string) bool {
	info, err := os.Lstat(path)
	return err != nil || info.Mode().IsRegular()
}

// Write never fails: what cannot be written is lost. One that is longer than the limit is kept whole.
func (l *logFile) Write(p []byte) (int, error) {
	rest := p
	if size := l.size + int64(len(p)); !l.full && size > l.limit-l.slack {
		fits := p[:min(max(l.limit-l.size, 0), int64(len(p)))]
		end := bytes.LastIndexByte(fits, '\n') + 1
		l.append(p[:end])
		rest = p[end:]
		l.full = end > 0 || size > l.limit
	}
	if l.full && len(rest) > 0 {
		l.moveAside()
	}
	l.append(rest)
	return len(p), nil
}

func (l *logFile) append(p []byte) {
	// An app that can run is worth more than its log.
	if len(p) == 0 || l.file == nil && l.open() != nil {
		return
	}
	n, _ := l.file.Write(p)
	l.size += int64(n)
}

// moveAside leaves no file: the next write makes one.
func (l *logFile) moveAside() {
	l.full = false
	if l.file == nil || l.size == 0 {
		return
	}
	_ = l.file.Close()
	l.file, l.size = nil, 0
	// When it cannot be moved it is emptied: the bound comes first.
	if os.Rename(l.path, l.path+".1") != nil {
		_ = os.Truncate(l.path, 0)
	}
}

// Close closes the file.
func (l *logFile) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}
