package fetch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
)

// maxAnswer is the most of an answer's body that is kept, in bytes.
const maxAnswer = 1 << 20

// Upload is one file to be sent, as the only part of a multipart form.
type Upload struct {
	// URL is where it goes. Basic auth may stand in it. Required.
	URL string
	// Field and FileName are the form's. Required.
	Field    string
	FileName string
	// Content is read once, from its beginning; Size is its length in bytes.
	Content io.Reader
	Size    int64
	// Progress, if set, is called as bytes go, with the bytes so far. It must be quick.
	Progress func(done int64)
}

// Answer is a server's answer.
type Answer struct {
	Status int
	// Body is the first megabyte of it.
	Body []byte
}

// Post uploads a file. Any status is an Answer, not an error. The errors are ErrUnreachable, ErrStalled, ErrBadURL
// and those of ctx.
func (c *Client) Post(ctx context.Context, u Upload) (Answer, error) {
	if err := check(u.URL); err != nil {
		return Answer{}, err
	}
	head, tail, contentType, err := frame(u.Field, u.FileName)
	if err != nil {
		return Answer{}, err
	}
	watched, moved, stop := c.watch(ctx)
	defer stop()
	sent := int64(0)
	content := &reader{from: io.LimitReader(u.Content, u.Size), moved: moved, count: func(n int) {
		sent += int64(n)
		if u.Progress != nil {
			u.Progress(sent)
		}
	}}
	body := io.MultiReader(bytes.NewReader(head), content, bytes.NewReader(tail))
	request, err := http.NewRequestWithContext(watched, http.MethodPost, u.URL, body)
	if err != nil {
		return Answer{}, ErrBadURL
	}
	// With a length the server can refuse at once, and needs no chunked decoding, which old ones lack.
	request.ContentLength = int64(len(head)) + u.Size + int64(len(tail))
	request.Header.Set("Content-Type", contentType)
	return c.answer(ctx, watched, request)
}

// Send makes a small request with the same rules as a transfer, and gives the answer whatever its status.
func (c *Client) Send(ctx context.Context, method, rawURL, contentType string, body []byte) (Answer, error) {
	if err := check(rawURL); err != nil {
		return Answer{}, err
	}
	watched, _, stop := c.watch(ctx)
	defer stop()
	request, err := http.NewRequestWithContext(watched, method, rawURL, bytes.NewReader(body))
	if err != nil {
		return Answer{}, ErrBadURL
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	return c.answer(ctx, watched, request)
}

func (c *Client) answer(ctx, watched context.Context, request *http.Request) (Answer, error) {
	host := request.URL.Host
	response, err := c.http.Do(request)
	if err != nil {
		return Answer{}, explain(ctx, watched, host, err, ErrUnreachable)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return Answer{}, explain(ctx, watched, host, err, ErrTruncated)
	}
	return Answer{Status: response.StatusCode, Body: body}, nil
}

var quotes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", "", "\n", "")

// frame is what stands before and after the content in a form of one file.
func frame(field, fileName string) (head, tail []byte, contentType string, err error) {
	var buffer bytes.Buffer
	form := multipart.NewWriter(&buffer)
	header := make(textproto.MIMEHeader)
	header.Set("Content-Disposition",
		fmt.Sprintf(`form-data; name="%s"; filename="%s"`, quotes.Replace(field), quotes.Replace(fileName)))
	header.Set("Content-Type", "application/octet-stream")
	if _, err := form.CreatePart(header); err != nil {
		return nil, nil, "", fmt.Errorf("make the form: %w", err)
	}
	head = bytes.Clone(buffer.Bytes())
	buffer.Reset()
	if err := form.Close(); err != nil {
		return nil, nil, "", fmt.Errorf("make the form: %w", err)
	}
	return head, bytes.Clone(buffer.Bytes()), form.FormDataContentType(), nil
}
