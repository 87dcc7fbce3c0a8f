package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/durable-dea/dea/internal/cleantext"
	"github.com/durable-dea/dea/internal/pause"
)

const (
	dialTimeout   = 5 * time.Second
	answerTimeout = 15 * time.Second
	// maxLine is where a longer line is broken.
	maxLine = 64 << 10
	// brokenTries is how often a connection that broke is made again before any new byte came.
	brokenTries = 5
	brokenPause = 100 * time.Millisecond
)

// LastBytes is how much of a file's end is read for its last lines.
const LastBytes = 256 << 10

var (
	// ErrNotThere: the file, or its directory, is not there: not yet, or no longer.
	ErrNotThere = errors.New("the file is not there")
	// ErrNotYet is an ErrNotThere that may well end: the directory is being made.
	ErrNotYet = fmt.Errorf("%w yet", ErrNotThere)
	// ErrDirectory: there is a directory where a file must be.
	ErrDirectory = errors.New("it is a directory")
	// ErrRefused: the node does not accept the URL; the installation's keys or clocks may differ.
	ErrRefused = errors.New("the node refused the request; check that this machine's encryption key is the installation's and its clock is right")
	// ErrNotReadable: the node shows what is at that path to nobody: a link that leads outside, or no file.
	ErrNotReadable = errors.New("the node does not show it: it is no plain file, or a link that leads outside of the directory")
	// ErrUnreachable: the node's directory server does not answer.
	ErrUnreachable = errors.New("the node's directory server does not answer")
)

// Client reads files of nodes. It is safe for concurrent use.
type Client struct{ http *http.Client }

// New makes a Client.
func New() *Client {
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		ResponseHeaderTimeout: answerTimeout,
	}}}
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Position is how far a file was followed.
type Position struct {
	// File tells the file apart from others that have had its name, in the node's words; empty for the one that has it.
	File string
	// Offset is in bytes from the file's beginning.
	Offset int64
}

// Follow hands each line of a file to line as it is written, from a position on, until the file's directory is
// gone (nil) or ctx ends; through truncation, and to a file that takes the place of this one. address gives a URL with tail, and
// is asked anew for each connection, since a signature does not last as long as a log. A connection that breaks is made again
// where it broke. Any other error comes with the position at which a later Follow misses no line and repeats none, but for what
// was written to a file that was truncated or replaced meanwhile.
func (c *Client) Follow(ctx context.Context, address func() string, from Position, line func(string)) (next Position, err error) {
	f := follower{Client: c, at: from, lines: splitter{emit: line}}
	for try := 0; ; {
		more, err := f.stream(ctx, address())
		if more {
			try = 0
		}
		if err == nil || ctx.Err() != nil {
			f.lines.flush()
			return f.at, ctx.Err()
		}
		if f.lost && errors.Is(err, ErrNotThere) {
			f.lines.flush()
			return f.at, nil
		}
		if errors.Is(err, errNext) || errors.Is(err, errUnknown) {
			_ = pause.For(ctx, brokenPause) // an app may put one file after the other there
			continue
		}
		try++
		if try > brokenTries || errors.Is(err, ErrRefused) || errors.Is(err, ErrNotThere) || errors.Is(err, ErrNotReadable) {
			f.stepBack()
			return f.at, err
		}
		if !pause.For(ctx, time.Duration(try)*brokenPause) {
			f.lines.flush()
			return f.at, ctx.Err()
		}
	}
}

// errNext: another file has the name now, or the file was truncated.
var errNext = errors.New("there is another file to follow")

// errUnknown: the answer is over, and a proxy has dropped what tells why. Asked again the node goes on, with the same file or
// another, or there is nothing any more.
var errUnknown = errors.New("it is not known whether there is more to follow")

// follower follows a file by one answer after the other.
type follower struct {
	*Client
	at    Position
	lines splitter
	// lost is set after errUnknown.
	lost bool
}

// stepBack gives up what there is of a line, to be read again, or hands it on where it began in the file before.
func (f *follower) stepBack() {
	if rest := int64(len(f.lines.rest)); rest <= f.at.Offset {
		f.at.Offset -= rest
		return
	}
	f.lines.flush()
}

// stream copies one answer, which is of one file, and tells whether it had anything.
func (f *follower) stream(ctx context.Context, address string) (more bool, err error) {
	for name, value := range map[string]string{"tail_offset": strconv.FormatInt(f.at.Offset, 10), "tail_file": f.at.File} {
		if address, err = with(address, name, value); err != nil {
			return false, err
		}
	}
	response, err := f.get(ctx, address, nil)
	if err != nil {
		return false, err
	}
	defer closeBody(response)
	if begin, err := strconv.ParseInt(response.Header.Get("X-Tail-Offset"), 10, 64); err == nil {
		if begin != f.at.Offset {
			f.lines.flush() // the end of its line is gone
		}
		f.at = Position{File: response.Header.Get("X-Tail-File"), Offset: begin}
	}
	n, err := io.Copy(&f.lines, response.Body)
	f.at.Offset += n
	wasLost := f.lost
	f.lost = false
	switch next := response.Trailer.Get("X-Tail-Next"); {
	case err != nil:
		return n > 0, ErrUnreachable
	case next == "1":
		f.at = Position{}
		return n > 0, errNext
	case next == "" && f.at.File != "" && (n > 0 || !wasLost):
		f.lost = true
		return n > 0, errUnknown
	default:
		return n > 0, nil
	}
}

// Answer gives the answer of a URL, which the caller closes. It fails as Last does.
func (c *Client) Answer(ctx context.Context, address string) (io.ReadCloser, error) {
	response, err := c.get(ctx, address, nil)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// End is the end of a file.
type End struct {
	// Lines are its last whole lines.
	Lines []string
	// Partial is what follows them: a line that is still being written.
	Partial string
	// Offset is where Partial begins, in bytes from the file's beginning: where to follow from.
	Offset int64
}

// All are the lines and, where there is one, the partial one.
func (e End) All() []string {
	if e.Partial == "" {
		return e.Lines
	}
	return append(e.Lines[:len(e.Lines):len(e.Lines)], e.Partial)
}

// Last gives the last n lines of a file, n at least 1; fewer where it is shorter or its lines are very long.
func (c *Client) Last(ctx context.Context, address string, n int) (End, error) {
	address, err := with(address, "format", "json")
	if err != nil {
		return End{}, err
	}
	response, err := c.get(ctx, address, http.Header{"Range": {fmt.Sprintf("bytes=-%d", LastBytes)}})
	if err != nil {
		return End{}, err
	}
	defer closeBody(response)
	if isListing(response) {
		return End{}, ErrDirectory
	}
	begin := rangeBegin(response)
	var kept []string
	// What begins in the middle of the file begins in the middle of a line.
	lines := splitter{skip: begin > 0, emit: func(line string) {
		if kept = append(kept, line); len(kept) == 2*n { // moved seldom, so that each line costs the same
			kept = append(kept[:0], kept[n:]...)
		}
	}}
	read, err := io.Copy(&lines, response.Body)
	if err != nil {
		return End{}, ErrUnreachable
	}
	return End{Lines: kept[max(0, len(kept)-n):], Partial: string(lines.rest), Offset: begin + read - int64(len(lines.rest))}, nil
}

// rangeBegin is where in the file an answer begins.
func rangeBegin(response *http.Response) int64 {
	if response.StatusCode != http.StatusPartialContent {
		return 0
	}
	text, _, _ := strings.Cut(strings.TrimPrefix(response.Header.Get("Content-Range"), "bytes "), "-")
	begin, err := strconv.ParseInt(text, 10, 64)
	if err != nil || begin < 0 {
		return 0
	}
	return begin
}

// get gives an answer that has content, which the caller closes.
func (c *Client) get(ctx context.Context, address string, header http.Header) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("the node's file URL cannot be read")
	}
	maps.Copy(request.Header, header)
	response, err := c.http.Do(request)
	switch {
	case ctx.Err() != nil:
		closeBody(response)
		return nil, ctx.Err()
	case err != nil:
		return nil, ErrUnreachable // the cause would repeat the URL
	case response.StatusCode == http.StatusOK || response.StatusCode == http.StatusPartialContent:
		return response, nil
	}
	closeBody(response)
	switch response.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable: // an empty file has no end
		response.Body = http.NoBody
		return response, nil
	case http.StatusNotFound:
		return nil, ErrNotThere
	case http.StatusServiceUnavailable:
		if response.Header.Get("Retry-After") != "" {
			return nil, fmt.Errorf("%w: it has as many readers as it can serve", ErrUnreachable)
		}
		return nil, ErrNotYet
	case http.StatusForbidden:
		return nil, ErrNotReadable
	case http.StatusUnauthorized, http.StatusBadRequest:
		return nil, ErrRefused
	default:
		return nil, fmt.Errorf("%w: it answered %d", ErrUnreachable, response.StatusCode)
	}
}

func closeBody(response *http.Response) {
	if response != nil {
		_ = response.Body.Close()
	}
}

// with sets a parameter of a URL that its signature does not cover.
func with(address, name, value string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("the node's file URL cannot be read")
	}
	query := u.Query()
	query.Set(name, value)
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// splitter cuts what is written to it into lines.
type splitter struct {
	emit func(string)
	rest []byte
	// skip drops all up to the end of the first line.
	skip bool
}

// Write never fails.
func (s *splitter) Write(p []byte) (int, error) {
	fresh := p
	if s.skip {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			return len(p), nil
		}
		fresh, s.skip = p[i+1:], false
	}
	s.rest = append(s.rest, fresh...)
	for {
		i := bytes.IndexByte(s.rest, '\n')
		switch {
		case i >= 0:
			s.emit(strings.TrimSuffix(string(s.rest[:i]), "\r"))
			s.rest = s.rest[i+1:]
		case len(s.rest) >= maxLine:
			n := cleantext.Cut(s.rest[:maxLine])
			s.emit(string(s.rest[:n]))
			s.rest = s.rest[n:]
		default:
			return len(p), nil
		}
	}
}

// flush hands on a last line that has no end.
func (s *splitter) flush() {
	if len(s.rest) > 0 {
		s.emit(string(s.rest))
		s.rest = nil
	}
}
