package tail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/pause"
)

var (
	// ErrChanged: a file became another one while it was read, and the connection broke: what was read is no whole.
	ErrChanged = errors.New("the file was changed while it was read, and the connection broke: read it again")
	// ErrNoSuchBytes: the file does not reach as far as the bytes that were asked for.
	ErrNoSuchBytes = errors.New("the file has no such bytes")
)

// maxListing is more than a listing of as many entries as a node shows can be.
const maxListing = 32 << 20

// Content is what there is at a path: a directory, or a file, which must be closed.
type Content struct {
	// Listing is a directory's; nil of a file.
	Listing *api.FileListing
	// Text tells whether a file's content looks like text.
	Text bool

	client   *Client
	address  func() string
	response *http.Response
	// begin is where in the file the content begins, and length how long it is.
	begin, length int64
}

// Open opens what address, which is asked anew for each connection, is a URL for. byteRange is a part of a file by RFC 9110,
// such as 0-99, 100- or -100; "" for all of it.
func (c *Client) Open(ctx context.Context, address func() string, byteRange string) (*Content, error) {
	header := http.Header{}
	if byteRange != "" {
		header.Set("Range", "bytes="+byteRange)
	}
	url, err := with(address(), "format", "json")
	if err != nil {
		return nil, err
	}
	response, err := c.get(ctx, url, header)
	if err != nil {
		return nil, err
	}
	if isListing(response) {
		defer closeBody(response)
		var listing api.FileListing
		if err := json.NewDecoder(io.LimitReader(response.Body, maxListing)).Decode(&listing); err != nil {
			return nil, fmt.Errorf("%w: its listing cannot be read", ErrUnreachable)
		}
		return &Content{Listing: &listing}, nil
	}
	if response.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return nil, ErrNoSuchBytes
	}
	return &Content{
		Text:   strings.HasPrefix(response.Header.Get("Content-Type"), "text/"),
		client: c, address: address, response: response, begin: rangeBegin(response), length: response.ContentLength,
	}, nil
}

// isListing tells a directory's listing: a node labels no file so.
func isListing(response *http.Response) bool {
	return response.StatusCode == http.StatusOK && strings.HasPrefix(response.Header.Get("Content-Type"), "application/json")
}

// Close ends the connection, if there is one.
func (c *Content) Close() { closeBody(c.response) }

// CopyTo writes a file's content, all of it or an error. A connection that breaks is made again where it broke, as long as
// the file is the same.
func (c *Content) CopyTo(ctx context.Context, to io.Writer) error {
	out := &counted{to: to}
	for try := 0; ; {
		before := out.count
		_, err := io.Copy(out, c.response.Body)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case out.failed != nil:
			return fmt.Errorf("write what was read: %w", out.failed)
		case err == nil:
			return nil
		}
		if out.count > before {
			try = 0
		}
		if err := c.again(ctx, out.count, &try); err != nil {
			return err
		}
	}
}

// again opens the rest of the content, of which so much was read.
func (c *Content) again(ctx context.Context, read int64, try *int) error {
	for ; *try < brokenTries; *try++ {
		if !pause.For(ctx, time.Duration(*try)*brokenPause) {
			return ctx.Err()
		}
		first := c.begin + read
		response, err := c.client.get(ctx, c.address(), http.Header{ //nolint:bodyclose // it becomes c's, which Close closes
			"Range": {fmt.Sprintf("bytes=%d-%d", first, c.begin+c.length-1)}, "If-Range": {c.response.Header.Get("ETag")},
		})
		if errors.Is(err, ErrUnreachable) {
			continue
		}
		if err != nil {
			return err
		}
		c.Close()
		c.response = response
		if response.StatusCode != http.StatusPartialContent || rangeBegin(response) != first {
			return ErrChanged
		}
		*try++
		return nil
	}
	return ErrUnreachable
}

// counted counts what was written, and tells its own failure from the reader's.
type counted struct {
	to     io.Writer
	count  int64
	failed error
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.count += int64(n)
	c.failed = err
	return n, err
}
