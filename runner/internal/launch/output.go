package launch

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxLog bounds a log file of an app. What was before is kept once, so an app holds at most four times this of its
	// disk with its output.
	maxLog = 64 << 20
	// slack is the most that is written at once.
	slack = 2 * window
)

// output copies what an app says into its log files.
type output struct {
	limit  Limit
	files  []*logFile
	ours   []*source
	copies sync.WaitGroup
}

func openOutput(stdout, stderr string, limit Limit) (*output, error) {
	o := &output{limit: limit}
	for _, path := range []string{stdout, stderr} {
		f, err := openLogFile(path, maxLog, slack)
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
		from := &source{file: ours}
		theirs, o.ours = append(theirs, end), append(o.ours, from)
		// A log that cannot be written, or not as fast, must not stop an app that can run: it is read all the same.
		o.copies.Go(func() { from.copyTo(newStream(file, o.limit, time.Now())) })
	}
	return theirs[0], theirs[1], nil
}

// drainTime is for what others of an app's processes say after the first has ended, as a filter of its output does.
const drainTime = 200 * time.Millisecond

// drain takes what the app has said before it ended. Others of its processes may hold the pipes for ever.
func (o *output) drain() {
	for _, from := range o.ours {
		from.endAt(time.Now().Add(drainTime))
	}
	o.copies.Wait()
}

func (o *output) close() {
	for _, from := range o.ours {
		_ = from.file.Close()
	}
	o.copies.Wait()
	for _, f := range o.files {
		_ = f.Close()
	}
}

// source is our end of a pipe from the app.
type source struct {
	file *os.File
	mu   sync.Mutex
	// end is when to read no more, zero while the app runs; deadline is what the file has.
	end, deadline time.Time
}

// copyTo takes everything to a stream until the pipe ends, or the time for that has come.
func (s *source) copyTo(to *stream) {
	for now := time.Now(); ; {
		at, wanted := to.wake(now)
		s.wakeAt(at, wanted, now)
		n, err := s.file.Read(to.room())
		now = time.Now()
		switch {
		case n > 0:
			to.took(n, now)
		case !errors.Is(err, os.ErrDeadlineExceeded):
			to.finish(now)
			return
		case s.hasEnded(now):
			s.copyRest(to)
			to.finish(now)
			return
		default:
			to.idle(now)
		}
	}
}

// copyRest takes what is in the pipe and no more, which does not take for ever. A machine may be so busy that nothing
// was read in all of drainTime, and an app's last words are those that its owner needs.
func (s *source) copyRest(to *stream) {
	left := s.waiting()
	if s.file.SetReadDeadline(time.Time{}) != nil {
		return
	}
	for left > 0 {
		n, err := s.file.Read(to.room())
		if err != nil {
			return
		}
		to.took(n, time.Now())
		left -= n
	}
}

// waiting is how many bytes are in the pipe.
func (s *source) waiting() int {
	count := 0
	if raw, err := s.file.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { count, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	}
	return count
}

// endAt says when to read no more.
func (s *source) endAt(end time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end = end
	s.set(end)
}

func (s *source) hasEnded(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.end.IsZero() && !now.Before(s.end)
}

// wakeAt has the next read return by then, when that is wanted, and by the end. It may return before, so that a stream
// of small writes does not set a timer for each.
func (s *source) wakeAt(at time.Time, wanted bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.end.IsZero() && (!wanted || s.end.Before(at)) {
		at, wanted = s.end, true
	}
	switch armed := s.deadline.After(now); {
	case armed && (!wanted || !s.deadline.After(at)):
	case wanted:
		s.set(at)
	case !s.deadline.IsZero():
		s.set(time.Time{})
	}
}

func (s *source) set(deadline time.Time) {
	s.deadline = deadline
	_ = s.file.SetReadDeadline(deadline)
}
