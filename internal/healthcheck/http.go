package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// What an app may send until its answer is taken as read.
const (
	maxHeaderBytes = 64 << 10
	maxBodyBytes   = 64 << 10
	// bodyPatience is how long a body is read that nobody wants: an app that is hung up on while it writes complains in
	// its log, so a short body is let end.
	bodyPatience = 100 * time.Millisecond
)

// HTTP is well when a GET is answered with status 200.
type HTTP struct {
	client *http.Client
	url    string
}

// NewHTTP makes the probe of an instance at address, host:port, whose endpoint is a path, perhaps with a query. An
// endpoint that is none fails each look.
func NewHTTP(address, endpoint string) *HTTP {
	return &HTTP{
		url: "http://" + address + endpoint,
		client: &http.Client{
			// A connection a look, as the router would make one; no proxy lies between a node and its containers.
			Transport: &http.Transport{
				DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeaderBytes,
			},
			// It may lead anywhere, to the node's own network for one.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// errNoHTTP: what came is not quoted, since it is the app's, and may be what it was asked.
var errNoHTTP = errors.New("the answer cannot be read as HTTP")

// Probe asks, and looks at the status of the answer. Its errors name the endpoint without its query, in which there may be
// a password.
func (h *HTTP) Probe(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url, http.NoBody)
	if err != nil {
		return h.fault(err)
	}
	request.Header.Set("User-Agent", "dea-healthcheck")
	response, err := h.client.Do(request)
	if err != nil {
		return h.fault(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("answered with status %d", response.StatusCode)
	}
	enough := time.AfterFunc(bodyPatience, cancel)
	defer enough.Stop()
	_, _ = io.CopyN(io.Discard, response.Body, maxBodyBytes) // The status has said it.
	return nil
}

// fault is an error of net/http's without the query and the answer that it may hold.
func (h *HTTP) fault(err error) error {
	whole, broken := (*url.Error)(nil), (*net.OpError)(nil)
	if errors.As(err, &whole) {
		err = whole.Err
	}
	switch {
	case whole != nil && whole.Op == "parse":
	case errors.As(err, &broken), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	default:
		err = errNoHTTP
	}
	plain, _, _ := strings.Cut(h.url, "?")
	return fmt.Errorf("GET %s: %w", plain, err)
}
