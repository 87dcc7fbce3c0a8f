package directory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/durable-dea/dea/internal/applog"
	"github.com/durable-dea/dea/internal/pause"
)

// instanceLogs are an instance's logs, line by line. The path of such a URL is empty.
const instanceLogs Kind = "instance_logs"

const (
	paramLines  = "lines"
	paramSince  = "since"
	paramFrom   = "from"
	paramFollow = "follow"
	paramStream = "stream"

	logsType = "application/x-ndjson"
	// MaxLogLines is the most lines that are answered before what comes new.
	MaxLogLines     = 100_000
	defaultLogLines = 100
	// logBatch is how many records are made at once.
	logBatch = 1000
)

var errBadLogs = errors.New("lines, since, from or stream is not of its form")

// LogsQuery says which lines of an instance's logs are wanted.
type LogsQuery struct {
	// Lines is how many of the last lines, from 0 to MaxLogLines.
	Lines int
	// Since is when they were said at the earliest; zero for any time.
	Since time.Time
	// From is a position in JSON, and goes on from there, whatever Lines and Since are; empty for none.
	From json.RawMessage
	// Follow goes on with what is said, until the instance's directory is no more.
	Follow bool
	// Stream is the one to read, applog.Stdout or applog.Stderr; empty for both.
	Stream string
}

// LogsURL makes a URL for an instance's logs, as SignedURL does. What is asked for is not signed.
func LogsURL(base string, key []byte, instance string, q LogsQuery, at time.Time) string {
	query := url.Values{paramLines: {strconv.Itoa(q.Lines)}}
	if !q.Since.IsZero() {
		query.Set(paramSince, q.Since.UTC().Format(time.RFC3339Nano))
	}
	if len(q.From) > 0 {
		query.Set(paramFrom, string(q.From))
	}
	if q.Follow {
		query.Set(paramFollow, "")
	}
	if q.Stream != "" {
		query.Set(paramStream, q.Stream)
	}
	return SignedURL(base, key, instanceLogs, instance, "", at, false) + "&" + query.Encode()
}

func parseLogsQuery(query url.Values) (LogsQuery, error) {
	q := LogsQuery{Lines: defaultLogLines, Follow: query.Has(paramFollow), Stream: query.Get(paramStream)}
	var err error
	if text := query.Get(paramLines); text != "" {
		if q.Lines, err = strconv.Atoi(text); err != nil || q.Lines < 0 || q.Lines > MaxLogLines {
			return q, errBadLogs
		}
	}
	if text := query.Get(paramSince); text != "" {
		if q.Since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return q, errBadLogs
		}
	}
	if q.Stream != "" && q.Stream != applog.Stdout && q.Stream != applog.Stderr {
		return q, errBadLogs
	}
	q.From = json.RawMessage(query.Get(paramFrom))
	return q, nil
}

// logs answers the requests for instances' logs.
func (s *server) logs(resolve Resolver) http.Handler {
	return s.answering(func(w http.ResponseWriter, r *http.Request) error { return s.readLogs(w, r, resolve) })
}

// readLogs answers a request, as answering has it.
func (s *server) readLogs(w http.ResponseWriter, r *http.Request, resolve Resolver) error {
	if err := verify(s.keys, instanceLogs, r.PathValue("id"), r.URL.Query(), s.now()); err != nil {
		return err
	}
	q, err := parseLogsQuery(r.URL.Query())
	if err != nil {
		return err
	}
	var from applog.Position
	if len(q.From) > 0 && json.Unmarshal(q.From, &from) != nil {
		return errBadLogs
	}
	place, leave, err := s.find(r, Instance, resolve, q.Follow)
	if err != nil {
		return err
	}
	defer leave()
	reader := applog.New(applog.Place(place), from)
	defer reader.Close()
	if q.Stream != "" {
		reader.Only(q.Stream)
	}
	first, err := seekFirst(reader, q)
	if err != nil {
		return reason(err)
	}
	l := logSender{reader: reader, out: newSender(w, s.patience)}
	if r.Method != http.MethodHead && !l.serve(r, q.Follow, first) {
		// A reader must not take the end of the server, or a fault, for the end of the log: the answer breaks off.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// seekFirst goes to the first record that is wanted, and tells how many come before the first position, at most.
func seekFirst(reader *applog.Reader, q LogsQuery) (count int, err error) {
	if len(q.From) > 0 {
		_, err = reader.Read(0) // it opens what there is
		return logBatch, err
	}
	if !q.Since.IsZero() {
		if err := reader.Since(q.Since); err != nil {
			return 0, err
		}
	}
	return reader.SeekRecent(q.Lines)
}

// logSender sends an instance's logs.
type logSender struct {
	reader *applog.Reader
	out    *sender
	buffer []byte
}

// serve sends the first records, of which there are so many, and what is wanted behind them, and tells whether that is all.
func (l *logSender) serve(r *http.Request, follow bool, first int) bool {
	l.out.Header().Set("Content-Type", logsType)
	// A server's timeout for a request says nothing of this one, which lasts as long as it is wanted.
	_ = l.out.control.SetReadDeadline(time.Time{})
	for first > 0 {
		records, err := l.reader.Read(min(first, logBatch))
		if err == nil {
			err = l.send(records)
		}
		if err != nil && !errors.Is(err, io.EOF) { // which may be read once more
			return false
		}
		if len(records) == 0 {
			break
		}
		first -= len(records)
	}
	// One position, behind all of them: so whoever reads knows that these are what was there.
	if l.sendPosition() != nil {
		return false
	}
	if follow {
		return l.follow(r)
	}
	return l.send(l.reader.Rest()) == nil && l.flush() == nil
}

// follow sends until the directory is gone, and tells whether that is why it ends.
func (l *logSender) follow(r *http.Request) bool {
	for wait := minPause; ; wait = min(2*wait, maxPause) {
		for r.Context().Err() == nil && l.reader.Changed() {
			records, err := l.reader.Read(logBatch)
			if err == nil && len(records) > 0 {
				wait = minPause
				if err = l.send(records); err == nil {
					err = l.sendPosition()
				}
			}
			if err != nil {
				return errors.Is(err, io.EOF)
			}
			if len(records) == 0 {
				break
			}
		}
		if !pause.For(r.Context(), wait) {
			return false
		}
	}
}

// send sends records, but for what may wait for the next piece: a record is many times as long as it was in the log, at worst.
func (l *logSender) send(records []applog.Record) error {
	for n := range records {
		text, err := applog.Append(l.buffer, records[n:n+1])
		if err != nil {
			return fmt.Errorf("send a log: %w", err)
		}
		if l.buffer = text; len(text) >= pieceBytes {
			if err := l.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// sendPosition sends where to go on behind all that was sent.
func (l *logSender) sendPosition() error {
	text, err := applog.AppendPosition(l.buffer, l.reader.Position())
	if err != nil {
		return fmt.Errorf("send a log: %w", err)
	}
	l.buffer = text
	return l.flush()
}

// flush sends what waits.
func (l *logSender) flush() error {
	text := l.buffer
	l.buffer = text[:0]
	if cap(text) > maxKept {
		l.buffer = nil
	}
	for len(text) > 0 {
		n := min(len(text), pieceBytes)
		if err := l.out.send(text[:n]); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

// maxKept is how large a buffer may be that a follower keeps while there is nothing to send.
const maxKept = 16 << 10
