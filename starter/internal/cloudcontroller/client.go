package cloudcontroller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/durable-dea/dea/api"
)

const (
	tries      = 3
	firstPause = 200 * time.Millisecond
	// dialTimeout and answerTimeout bound silence, not work: an upload may take as long as it moves.
	dialTimeout   = 5 * time.Second
	answerTimeout = time.Minute
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 4 << 20
)

// Client speaks to one controller. It is safe for concurrent use.
type Client struct {
	base *url.URL // without name and password
	user *url.Userinfo
	http *http.Client
}

// New reads the controller's URL, with basic auth in it. Nothing is asked yet.
func New(address string) (*Client, error) {
	if address == "" {
		return nil, errors.New("cc_url, the cloud controller's URL, is not in the configuration; devserver writes one that has it")
	}
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		// The address is not repeated: a password may stand in it.
		return nil, errors.New("cc_url of the configuration is not an http or https URL")
	}
	user := u.User
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: answerTimeout,
		IdleConnTimeout:       answerTimeout,
		ExpectContinueTimeout: time.Second,
		ForceAttemptHTTP2:     true,
	}
	return &Client{base: u, user: user, http: &http.Client{Transport: transport}}, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// String is the controller's address without name and password.
func (c *Client) String() string { return c.base.String() }

// UploadPackage puts an app's package there; the app is made if need be. progress wraps what is read of the package
// in each try, and may be nil. The same package twice is one.
func (c *Client) UploadPackage(
	ctx context.Context, app string, zip io.ReaderAt, size int64, progress func(io.Reader) io.Reader,
) error {
	var frame bytes.Buffer
	form := multipart.NewWriter(&frame)
	if _, err := form.CreateFormFile("application", "application.zip"); err != nil {
		return fmt.Errorf("begin the form: %w", err)
	}
	head := frame.Len()
	if err := form.Close(); err != nil {
		return fmt.Errorf("end the form: %w", err)
	}
	return c.do(ctx, request{
		op: "upload the package", method: http.MethodPut, path: []string{"v2", "apps", app, "bits"},
		contentType: form.FormDataContentType(), length: int64(frame.Len()) + size,
		body: func() io.Reader {
			var file io.Reader = io.NewSectionReader(zip, 0, size)
			if progress != nil {
				file = progress(file)
			}
			return io.MultiReader(bytes.NewReader(frame.Bytes()[:head]), file, bytes.NewReader(frame.Bytes()[head:]))
		},
	})
}

// Buildpack is one of the operator's.
type Buildpack struct {
	api.AdminBuildpack
	// Name is what people call it; may be empty.
	Name string `json:"name"`
}

// Buildpacks lists the operator's buildpacks in the order of detection.
func (c *Client) Buildpacks(ctx context.Context) ([]Buildpack, error) {
	var list []Buildpack
	err := c.do(ctx, request{
		op: "list the buildpacks", method: http.MethodGet, path: []string{"v2", "buildpacks"}, into: &list,
	})
	return list, err
}

// DeleteApp removes all that the controller keeps of an app. Fails with ErrNotFound when that is nothing.
func (c *Client) DeleteApp(ctx context.Context, app string) error {
	return c.do(ctx, request{op: "delete the app's files", method: http.MethodDelete, path: []string{"v2", "apps", app}})
}

// request is one question; body makes the content anew for each try.
type request struct {
	op, method  string
	path        []string
	contentType string
	length      int64
	body        func() io.Reader
	into        any
}

func (c *Client) do(ctx context.Context, r request) error {
	for try, pause := 1, firstPause; ; try, pause = try+1, pause*2 {
		again, err := c.try(ctx, r)
		if err == nil || !again || try == tries {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s: %w", r.op, ctx.Err())
		}
	}
}

func (c *Client) try(ctx context.Context, r request) (again bool, err error) {
	var body io.Reader
	if r.body != nil {
		body = r.body()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, c.base.JoinPath(r.path...).String(), body)
	if err != nil {
		return false, fmt.Errorf("%s: %w", r.op, err)
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
		req.ContentLength = r.length
		// A refusal comes before the content is sent, not as a connection that breaks in the middle of it.
		req.Header.Set("Expect", "100-continue")
	}
	if c.user != nil {
		password, _ := c.user.Password()
		req.SetBasicAuth(c.user.Username(), password)
	}
	response, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return false, fmt.Errorf("%s: %w", r.op, ctx.Err())
		}
		words := "the cloud controller at " + c.base.Host + " does not answer; check that it is up and cc_url in the configuration"
		return true, &Error{ErrUnreachable, r.op, words, err}
	}
	defer func() { _ = response.Body.Close() }() // nothing depends on it once it is read
	if again, err := statusError(r.op, response.StatusCode); err != nil {
		_, _ = io.CopyN(io.Discard, response.Body, maxAnswer) // so that the connection can be used again
		return again, err
	}
	if r.into == nil {
		return false, nil
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(r.into); err != nil {
		if ctx.Err() != nil {
			return false, fmt.Errorf("%s: %w", r.op, ctx.Err())
		}
		return false, &Error{ErrUnreachable, r.op, "what answers there is no cloud controller; check cc_url in the configuration", err}
	}
	return false, nil
}
