package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// DefaultInactivity is how long a transfer may stand still.
const DefaultInactivity = 60 * time.Second

// Options of a Client. The zero value is useful.
type Options struct {
	// HTTP sends the requests, a copy of it that is careful of redirects; nil for one of NewHTTPClient.
	HTTP *http.Client
	// Inactivity ends a transfer that stands still for so long; 0 for DefaultInactivity.
	Inactivity time.Duration
}

// Client makes transfers. It is safe for concurrent use.
type Client struct {
	http       *http.Client
	inactivity time.Duration
}

// New makes a client.
func New(o Options) *Client {
	if o.HTTP == nil {
		o.HTTP = NewHTTPClient()
	}
	c := &Client{http: careful(o.HTTP), inactivity: o.Inactivity}
	if c.inactivity == 0 {
		c.inactivity = DefaultInactivity
	}
	return c
}

// NewHTTPClient is an http.Client for transfers: a limit on each step of making a connection, none on the whole, and
// no decompression behind the back of those who count bytes and compare digests.
func NewHTTPClient() *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Client{Transport: &http.Transport{
		Proxy:               proxy,
		DialContext:         dialer.DialContext,
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     30 * time.Second,
		DisableCompression:  true,
	}}
}

// HTTP is the client that sends the requests, for those that are no transfers.
func (c *Client) HTTP() *http.Client { return c.http }

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// check refuses what is no URL to be asked; its error never repeats it.
func check(rawURL string) error {
	u, err := url.Parse(rawURL)
	if err != nil || !askable(u) {
		return ErrBadURL
	}
	return nil
}

// watch gives a context that is cancelled with ErrStalled when moved was not called for the inactivity time.
func (c *Client) watch(ctx context.Context) (watched context.Context, moved func(), stop func()) {
	watched, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(c.inactivity, func() { cancel(ErrStalled) })
	var mu sync.Mutex
	stopped := false
	moved = func() {
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			timer.Reset(c.inactivity)
		}
	}
	stop = func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
		cancel(context.Canceled)
	}
	return watched, moved, stop
}

// explain says what an error of the network was: the end of the caller's own context as it is, a stall, or a server
// that cannot be reached (before its answer) or broke off (within it).
func explain(ctx, watched context.Context, host string, err error, kind error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(context.Cause(watched), ErrStalled):
		return fmt.Errorf("%s: %w", host, ErrStalled)
	default:
		return fmt.Errorf("%s: %w: %w", host, kind, Clean(err))
	}
}

// reader counts what passes and says that it moved.
type reader struct {
	from  io.Reader
	moved func()
	count func(n int)
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if n > 0 {
		r.moved()
		r.count(n)
	}
	return n, err
}
