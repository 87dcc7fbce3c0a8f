package launch

import (
	"bytes"
	"fmt"
	"io"
	"time"
)

const (
	// window is how much of what is over the limit waits for its turn, at least: so much of what an app has said before
	// its end is always in its log. A line that is longer cannot wait whole, and is cut.
	window = 64 << 10
	// reportEvery is between two reports while lines are dropped.
	reportEvery = 2 * time.Second
	// cutMark stands where a line has lost its end or its beginning.
	cutMark = "[dea: cut]"
)

// Limit bounds what an app may say on each of its two streams: Burst bytes at once, then Rate bytes a second.
type Limit struct {
	// Rate 0 is no limit.
	Rate int64
	// Burst is 64 KiB when it is less.
	Burst int64
}

// DefaultLimit takes the log of a start, and is no reason to log less than an app should.
var DefaultLimit = Limit{Rate: 1 << 20, Burst: 4 << 20}

// stream takes what an app says to its log, within a limit.
//
//	passing --- there is more than may be written ---> holding: what comes waits in buffer; when that is full its
//	   ^                                                  |      first lines are dropped, and counted
//	   +-- a second's worth may be written, or all -------+
//
// So what is short over the limit comes late and whole, what is long over it comes in runs of a second's worth with a
// report before each of how much is missing there, and the last lines before the app's end are in the log in any case:
// finish writes what waits. Lines are dropped whole. One that is longer than the window has cutMark where something of
// it is missing; one that the limit allows is never cut. Under the limit no byte is looked at.
//
// It has no clock, and is for one goroutine: room, then took with what was read there; idle when nothing came until the
// time that wake named; finish at the end.
type stream struct {
	log   io.Writer
	limit Limit
	// tokens are the bytes that may be written, less than 0 after a line's end that had to be; counted says when.
	tokens  float64
	counted time.Time

	buffer []byte
	held   int
	// line is the length of the log's last line, which has no end yet; 0 while it holds.
	line    int
	holding bool
	// torn: the first line that is held has lost its beginning.
	torn bool
	// lines and size are dropped and not reported yet; reported says when the last report was or could have been.
	lines, size int64
	reported    time.Time
}

func newStream(log io.Writer, limit Limit, now time.Time) *stream {
	limit.Burst = max(limit.Burst, window)
	return &stream{log: log, limit: limit, tokens: float64(limit.Burst), counted: now, buffer: make([]byte, 2*window)}
}

// room is where to read to. It is never empty.
func (s *stream) room() []byte {
	if s.held == len(s.buffer) {
		s.drop(s.held - window)
	}
	return s.buffer[s.held:]
}

// took says that so many bytes were read to room.
func (s *stream) took(n int, now time.Time) {
	s.held += n
	if s.limit.Rate <= 0 {
		_, _ = s.log.Write(s.buffer[:s.held])
		s.held = 0
		return
	}
	s.refill(now)
	switch {
	case s.holding && s.tokens >= s.enough():
		s.release(now)
	case s.holding:
		s.reportInTime(now)
	case float64(s.held) <= s.tokens:
		s.write(s.held)
	default:
		s.begin(now)
	}
}

// wake says when idle wants to be called although nothing comes; false when it does not.
func (s *stream) wake(now time.Time) (time.Time, bool) {
	if !s.holding {
		return time.Time{}, false
	}
	missing := min(float64(s.held), s.enough()) - s.tokens
	wait := time.Duration(missing / float64(s.limit.Rate) * float64(time.Second))
	return now.Add(min(max(wait, 10*time.Millisecond), reportEvery)), true
}

// idle is for a time in which nothing came.
func (s *stream) idle(now time.Time) {
	if !s.holding {
		return
	}
	s.refill(now)
	if s.tokens >= min(float64(s.held), s.enough()) {
		s.release(now)
		return
	}
	s.reportInTime(now)
}

// finish writes what waits, whatever the limit: an app that has ended says no more.
func (s *stream) finish(now time.Time) {
	if s.holding {
		s.release(now)
	}
}

func (s *stream) refill(now time.Time) {
	if passed := now.Sub(s.counted); passed > 0 {
		s.tokens = min(s.tokens+passed.Seconds()*float64(s.limit.Rate), float64(s.limit.Burst))
		s.counted = now
	}
}

// enough is for how much a stream that holds waits, so that the log has long runs with few gaps: a second's worth, and
// what is held after a drop at least.
func (s *stream) enough() float64 {
	return float64(min(max(s.limit.Rate, window), s.limit.Burst))
}

// write moves the first bytes that are held to the log.
func (s *stream) write(n int) {
	p := s.buffer[:n]
	_, _ = s.log.Write(p)
	if end := bytes.LastIndexByte(p, '\n'); end >= 0 {
		s.line = n - end - 1
	} else {
		s.line += n
	}
	s.tokens -= float64(n)
	s.shift(n)
}

func (s *stream) shift(n int) {
	copy(s.buffer, s.buffer[n:s.held])
	s.held -= n
}

// begin writes the whole lines that may still be written, and begins to hold. A line of which the log has the
// beginning is written to its end, unless that is too far off.
func (s *stream) begin(now time.Time) {
	allowed := s.buffer[:int(max(s.tokens, 0))]
	if end := bytes.LastIndexByte(allowed, '\n'); end >= 0 {
		s.write(end + 1)
	} else if s.line > 0 && !s.endLine() {
		return
	}
	s.holding, s.reported = true, now
}

// endLine ends the log's last line, or cuts it. It tells whether the line has an end now: that may be yet to come.
func (s *stream) endLine() bool {
	most := max(window-s.line, 0)
	if end := bytes.IndexByte(s.buffer[:min(s.held, most)], '\n'); end >= 0 {
		s.write(end + 1)
		return true
	}
	if s.held < most {
		s.write(s.held)
		return false
	}
	s.say(cutMark + "\n")
	s.line, s.torn = 0, true
	return true
}

// drop takes the first lines that are held, n bytes at least. Of a line that is longer than what would be left it takes
// n bytes.
func (s *stream) drop(n int) {
	end := bytes.IndexByte(s.buffer[n-1:s.held], '\n')
	s.torn = end < 0
	n += max(end, 0)
	s.lines += int64(bytes.Count(s.buffer[:n], []byte{'\n'}))
	s.size += int64(n)
	s.shift(n)
}

// release writes what is held, after the report of what is missing before it, and passes again.
func (s *stream) release(now time.Time) {
	s.report(now)
	if s.torn {
		s.say(cutMark)
	}
	s.holding, s.torn = false, false
	s.write(s.held)
}

func (s *stream) reportInTime(now time.Time) {
	if now.Sub(s.reported) >= reportEvery {
		s.report(now)
	}
}

func (s *stream) report(now time.Time) {
	s.reported = now
	if s.size == 0 {
		return
	}
	s.say(fmt.Sprintf("[dea] dropped %d lines (%d bytes): over the limit of %d bytes a second\n", s.lines, s.size, s.limit.Rate))
	s.lines, s.size = 0, 0
}

// say writes a word of our own.
func (s *stream) say(text string) {
	_, _ = io.WriteString(s.log, text)
	s.tokens -= float64(len(text))
}
