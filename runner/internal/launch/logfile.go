package launch

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/durable-dea/dea/internal/logtimes"
)

// logFile is a file that is moved aside, once, before it grows over its limit or its times over theirs, and at the end
// of a line when there is one in the last slack bytes. It is for one goroutine.
type logFile struct {
	path         string
	limit, slack int64
	size         int64
	// total is how much of the stream there was, in this file and before it.
	total int64
	// full: what comes next goes to a new file.
	full bool
	file *os.File
	// inode is the file's.
	inode uint64
	// lost are bytes that could not be written and of which the log does not say so yet; torn is set where its last line has no
	// end.
	lost int64
	torn bool

	times      times
	timesLimit int64
	now        func() time.Time
}

func openLogFile(path string, limit, slack int64) (*logFile, error) {
	l := &logFile{
		path: path, limit: limit, slack: slack,
		times: times{path: logtimes.Name(path)}, timesLimit: maxTimes, now: time.Now,
	}
	return l, l.open()
}

// open takes the file that is there, or makes one.
func (l *logFile) open() error {
	f, info, err := openRegular(l.path, os.O_APPEND)
	if err != nil {
		return err
	}
	l.file, l.size = f, info.Size()
	l.total += l.size
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		l.inode = stat.Ino
	}
	l.times.restart()
	return nil
}

// Write never fails: what cannot be written is lost, and the log says how much once it can. One that is longer than the limit is kept whole.
func (l *logFile) Write(p []byte) (int, error) {
	rest := p
	if size := l.size + int64(len(p)); !l.full && (size > l.limit-l.slack || l.times.size >= l.timesLimit) {
		fits := p[:min(max(l.limit-l.size, 0), int64(len(p)))]
		end := bytes.LastIndexByte(fits, '\n') + 1
		l.append(p[:end])
		rest = p[end:]
		l.full = end > 0 || size > l.limit || l.times.size >= l.timesLimit+timesSlack
	}
	if l.full && len(rest) > 0 {
		l.moveAside()
	}
	l.append(rest)
	return len(p), nil
}

func (l *logFile) append(p []byte) {
	if len(p) == 0 {
		return
	}
	// An app that can run is worth more than its log.
	if l.file == nil && l.open() != nil {
		l.lost += int64(len(p))
		return
	}
	if now := l.now(); l.times.due(now) {
		l.measure()
		l.times.mark(logtimes.Header{File: l.inode, Base: l.total - l.size}, l.size, now)
	}
	n := 0
	if l.sayLost() {
		n = l.put(p)
	}
	l.lost += int64(len(p) - n)
}

// put writes what it can, and tells how much that is.
func (l *logFile) put(p []byte) int {
	n, _ := l.file.Write(p)
	l.size += int64(n)
	l.total += int64(n)
	if n > 0 {
		l.torn = p[n-1] != '\n'
	}
	return n
}

// sayLost says what was lost, in a line of its own, and tells whether nothing of that is left to say.
func (l *logFile) sayLost() bool {
	if l.lost == 0 {
		return true
	}
	text := fmt.Sprintf("[dea] lost %d bytes that could not be written: is the disk full?\n", l.lost)
	if l.torn {
		text = "\n" + text
	}
	if l.put([]byte(text)) < len(text) {
		return false
	}
	l.lost = 0
	return true
}

// measure sees what others have done to the file: where an app has emptied it, its offsets begin anew, and what an app
// has written there is of the stream.
func (l *logFile) measure() {
	info, err := l.file.Stat()
	if err != nil {
		return
	}
	if more := info.Size() - l.size; more < 0 {
		l.times.restart()
	} else {
		l.total += more
	}
	l.size = info.Size()
}

// moveAside leaves no file: the next write makes one.
func (l *logFile) moveAside() {
	l.full = false
	if l.file == nil || l.size == 0 {
		return
	}
	_ = l.file.Close()
	l.file, l.size = nil, 0
	// The times come first, in the place of those of the file that is about to go, whose inode the next may have. When the
	// launcher ends in between, a reader finds them all the same.
	l.times.moveAside()
	// When it cannot be moved it is emptied: the bound comes first.
	if os.Rename(l.path, l.path+".1") != nil {
		_ = os.Truncate(l.path, 0)
	}
}

// Close closes the files, after a last try to say what was lost.
func (l *logFile) Close() error {
	err := l.times.close()
	if l.file == nil {
		return err
	}
	l.sayLost()
	return errors.Join(err, l.file.Close())
}
