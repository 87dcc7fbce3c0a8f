package fetch

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// Download is one file to be had.
type Download struct {
	// URL is where it is. Basic auth may stand in it. Required.
	URL string
	// To is where it goes, once whole. Required.
	To string
	// Part is where it grows; empty for To with ".part". What is there from an earlier attempt is resumed, if the
	// server still has the same version of the file. It must be on the same file system as To.
	Part string
	// AnyVersion resumes a part also when the server never said which version it was of. For callers that check a
	// digest.
	AnyVersion bool
	// Limit is the most bytes that the file may have; 0 for no limit.
	Limit int64
	// Hash, if set, is written all of the file, a resumed part included. It is reset first.
	Hash hash.Hash
	// Accept, if set, is asked when the file is whole and before it is moved to To. Its error is Get's, and the part
	// is thrown away.
	Accept func() error
	// Progress, if set, is called as bytes arrive, with the bytes so far and the size of the whole; -1 when the
	// server did not say it. It must be quick.
	Progress func(done, total int64)
}

func (d Download) progress(done, total int64) {
	if d.Progress != nil {
		d.Progress(done, total)
	}
}

// Downloaded is a file that is in its place.
type Downloaded struct {
	// Size is in bytes.
	Size int64
	// Resumed is how many of them were there from an earlier attempt.
	Resumed int64
}

var (
	// errStartOver: the part cannot be resumed.
	errStartOver = errors.New("start the download over")
	// errNothingMissing: the part is whole.
	errNothingMissing = errors.New("nothing is missing")
)

// Get downloads a file. Its errors are *StatusError, the Err… values of this package, those of ctx, those of Accept,
// and those of the file system; after all but ErrTooLarge and Accept's the part stays, to be resumed. Two calls for one
// part wait for each other.
func (c *Client) Get(ctx context.Context, d Download) (Downloaded, error) {
	if err := check(d.URL); err != nil {
		return Downloaded{}, err
	}
	if d.Part == "" {
		d.Part = d.To + ".part"
	}
	p, err := openPart(ctx, d.Part)
	if err != nil {
		return Downloaded{}, err
	}
	defer p.close()

	done, err := c.attempt(ctx, d, p)
	if errors.Is(err, errStartOver) {
		if err := p.truncate(); err != nil {
			return Downloaded{}, err
		}
		done, err = c.attempt(ctx, d, p)
	}
	if err != nil {
		if errors.Is(err, ErrTooLarge) {
			err = errors.Join(err, p.remove())
		}
		return Downloaded{}, err
	}
	if d.Accept != nil {
		if err := d.Accept(); err != nil {
			return done, errors.Join(err, p.remove())
		}
	}
	return done, p.finish(d.To)
}

func (c *Client) attempt(ctx context.Context, d Download, p *part) (Downloaded, error) {
	watched, moved, stop := c.watch(ctx)
	defer stop()
	request, err := rangeRequest(watched, d, p)
	if err != nil {
		return Downloaded{}, err
	}
	host := request.URL.Host
	response, err := c.http.Do(request)
	if err != nil {
		return Downloaded{}, explain(ctx, watched, host, err, ErrUnreachable)
	}
	defer response.Body.Close()
	moved()

	total, err := begin(p, response, host)
	whole := errors.Is(err, errNothingMissing)
	if err != nil && !whole {
		return Downloaded{}, err
	}
	if d.Limit > 0 && total > d.Limit {
		return Downloaded{}, fmt.Errorf("%s: %w: %d bytes, %d are allowed", host, ErrTooLarge, total, d.Limit)
	}
	resumed := p.size
	if err := rehash(d.Hash, p); err != nil {
		return Downloaded{}, err
	}
	d.progress(p.size, total)
	if whole {
		return Downloaded{Size: p.size, Resumed: p.size}, nil
	}
	body := &reader{from: response.Body, moved: moved, count: func(n int) {
		p.size += int64(n)
		d.progress(p.size, total)
	}}
	if err := receive(d, p, body, total); err != nil {
		if errors.Is(err, ErrTooLarge) || errors.Is(err, errDisk) {
			return Downloaded{}, fmt.Errorf("%s: %w", host, err)
		}
		return Downloaded{}, explain(ctx, watched, host, err, ErrTruncated)
	}
	return Downloaded{Size: p.size, Resumed: resumed}, nil
}

// rangeRequest asks for what is missing, or for all of it when the part is empty or of an unknown version.
func rangeRequest(ctx context.Context, d Download, p *part) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL, nil)
	if err != nil {
		return nil, ErrBadURL
	}
	// A body that a proxy compressed has another length and another digest.
	request.Header.Set("Accept-Encoding", "identity")
	if p.size == 0 {
		return request, nil
	}
	validator := p.validator()
	if validator == "" && !d.AnyVersion {
		return request, p.truncate()
	}
	request.Header.Set("Range", fmt.Sprintf("bytes=%d-", p.size))
	if validator != "" {
		request.Header.Set("If-Range", validator)
	}
	return request, nil
}

// begin readies the part for the answer's body and gives the size of the whole file, -1 when it is not known.
func begin(p *part, response *http.Response, host string) (int64, error) {
	switch response.StatusCode {
	case http.StatusOK:
		if err := p.truncate(); err != nil {
			return 0, err
		}
		return response.ContentLength, p.setValidator(validatorOf(response.Header))
	case http.StatusPartialContent:
		if p.size == 0 {
			break // nobody asked for a part
		}
		from, total, ok := contentRange(response.Header.Get("Content-Range"))
		if !ok || from != p.size || total >= 0 && total < p.size || anotherVersion(p, response) {
			return 0, errStartOver
		}
		_, err := p.file.Seek(p.size, io.SeekStart)
		return total, err
	case http.StatusRequestedRangeNotSatisfiable:
		// Nothing is missing when an earlier attempt died between the last byte and the move.
		if value := response.Header.Get("Content-Range"); value == fmt.Sprintf("bytes */%d", p.size) &&
			!anotherVersion(p, response) {
			return p.size, errNothingMissing
		}
		if p.size > 0 {
			return 0, errStartOver
		}
	}
	return 0, &StatusError{Status: response.StatusCode, Host: host}
}

// anotherVersion tells whether the server has another version than that of the part, and has not heard of If-Range.
func anotherVersion(p *part, response *http.Response) bool {
	ours, theirs := p.validator(), validatorOf(response.Header)
	return ours != "" && theirs != "" && ours != theirs
}

// validatorOf is what If-Range may carry: a strong entity tag, else the date of the last change.
func validatorOf(h http.Header) string {
	if tag := h.Get("ETag"); strings.HasPrefix(tag, `"`) {
		return tag
	}
	return h.Get("Last-Modified")
}

// contentRange reads "bytes FROM-TO/TOTAL"; total is -1 for "*".
func contentRange(value string) (from, total int64, ok bool) {
	rest, found := strings.CutPrefix(value, "bytes ")
	if !found {
		return 0, 0, false
	}
	span, whole, found := strings.Cut(rest, "/")
	if !found {
		return 0, 0, false
	}
	first, _, found := strings.Cut(span, "-")
	if !found {
		return 0, 0, false
	}
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, 0, false
	}
	if whole == "*" {
		return from, -1, true
	}
	total, err = strconv.ParseInt(whole, 10, 64)
	return from, total, err == nil
}

func rehash(h hash.Hash, p *part) error {
	if h == nil {
		return nil
	}
	h.Reset()
	if _, err := io.Copy(h, io.NewSectionReader(p.file, 0, p.size)); err != nil {
		return fmt.Errorf("read the earlier part of the download: %w", err)
	}
	return nil
}

// errDisk marks an error of the node's own disk, told apart from those of the network.
var errDisk = errors.New("the download cannot be written")

type diskWriter struct{ file *os.File }

func (w diskWriter) Write(b []byte) (int, error) {
	n, err := w.file.Write(b)
	if err != nil {
		err = fmt.Errorf("%w: %w", errDisk, err)
	}
	return n, err
}

func receive(d Download, p *part, body io.Reader, total int64) error {
	var to io.Writer = diskWriter{p.file}
	if d.Hash != nil {
		to = io.MultiWriter(to, d.Hash)
	}
	most := total
	if most < 0 {
		most = d.Limit
	}
	if most > 0 {
		// One byte more than may come, to see that there is one.
		body = io.LimitReader(body, most-p.size+1)
	}
	if _, err := io.Copy(to, body); err != nil {
		return err
	}
	if total < 0 && d.Limit > 0 && p.size > d.Limit {
		return fmt.Errorf("%w: over %d bytes", ErrTooLarge, d.Limit)
	}
	if total >= 0 && p.size != total {
		return fmt.Errorf("%d of %d bytes came", p.size, total)
	}
	return nil
}
