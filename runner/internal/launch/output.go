package launch

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// maxLog bounds a log file of an app. What was before is kept once, so an app holds at most four times this of its
// disk with its output.
const maxLog = 64 << 20

// output copies what an app says into its log files.
type output struct {
	files  []*logFile
	ours   []*os.File
	copies sync.WaitGroup
}

func openOutput(stdout, stderr string) (*output, error) {
	o := &output{}
	for _, path := range []string{stdout, stderr} {
		f, err := openLogFile(path, maxLog)
		if err != nil {
			o.close()
			return nil, err
		}
		o.files = append(o.files, f)
	}
	return o, nil
}

// pipes makes the app's ends, which are for the caller to close, and begins to copy.
func (o *output) pipes() (stdout, stderr *os.File, err error) {
	var theirs []*os.File
	for _, file := range o.files {
		ours, end, err := os.Pipe()
		if err != nil {
			for _, f := range theirs {
				_ = f.Close()
			}
			return nil, nil, err
		}
		theirs, o.ours = append(theirs, end), append(o.ours, ours)
		o.copies.Go(func() {
			// A log that cannot be written must not stop an app that can run.
			_, _ = io.Copy(struct{ io.Writer }{file}, ours)
		})
	}
	return theirs[0], theirs[1], nil
}

// drainTime is enough to take what is in a pipe, which is 64 KiB.
const drainTime = 200 * time.Millisecond

// drain takes what the app has said before it ended. Others of its processes may hold the pipes for ever.
func (o *output) drain() {
	for _, f := range o.ours {
		_ = f.SetReadDeadline(time.Now().Add(drainTime))
	}
	o.copies.Wait()
}

func (o *output) close() {
	for _, f := range o.ours {
		_ = f.Close()
	}
	o.copies.Wait()
	for _, f := range o.files {
		_ = f.Close()
	}
}

// logFile is a file that is moved aside, once, whenever it has reached its limit. It is for one goroutine.
type logFile struct {
	path  string
	limit int64
	size  int64
	file  *os.File
}

func openLogFile(path string, limit int64) (*logFile, error) {
	l := &logFile{path: path, limit: limit}
	return l, l.open()
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Write never fails: what cannot be written is lost.
func (l *logFile) Write(p []byte) (int, error) {
	if l.file != nil && l.size+int64(len(p)) > l.limit && l.size > 0 {
		_ = l.file.Close()
		l.file = nil
		// When it cannot be moved it is emptied: the bound comes first.
		if os.Rename(l.path, l.path+".1") != nil {
			_ = os.Truncate(l.path, 0)
		}
	}
	if l.file == nil {
		if err := l.open(); err != nil {
			return len(p), nil //nolint:nilerr // an app that can run is worth more than its log
		}
	}
	n, _ := l.file.Write(p)
	l.size += int64(n)
	return len(p), nil
}

// Close closes the file.
func (l *logFile) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}
