package fetch

import (
	"errors"
	"net/http"
	"net/url"
)

// maxRedirects is how often one request is sent elsewhere.
const maxRedirects = 10

// careful is a copy of a client whose redirects give nothing away. Go's own sends the address of the page that
// redirects, with a signature in its query, to the server that is redirected to, as the Referer; and a redirect that it
// cannot read stands in its error. Basic auth is never a matter: Go takes it from each URL anew.
func careful(c *http.Client) *http.Client {
	with := *c
	if with.Transport == nil {
		with.Transport = http.DefaultTransport
	}
	with.Transport = redirectReader{with.Transport}
	with.CheckRedirect = func(request *http.Request, via []*http.Request) error {
		request.Header.Del("Referer")
		if len(via) > maxRedirects || !askable(request.URL) {
			return ErrBadRedirect
		}
		if request.Method != via[0].Method {
			// What was to be sent would not be, and the page's 200 would look as if it had been taken.
			return http.ErrUseLastResponse
		}
		if c.CheckRedirect != nil {
			return c.CheckRedirect(request, via)
		}
		return nil
	}
	return &with
}

// redirectReader fails where the answer's redirect is no URL.
type redirectReader struct{ http.RoundTripper }

func (t redirectReader) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if _, err := request.URL.Parse(response.Header.Get("Location")); err != nil {
		response.Body.Close()
		return nil, ErrBadRedirect // the other has the URL in it
	}
	return response, nil
}

// CloseIdleConnections lets http.Client reach the transport's own.
func (t redirectReader) CloseIdleConnections() {
	if closer, ok := t.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

// errProxy stands for an error that would hold the proxy's URL, and so its password.
var errProxy = errors.New("the environment's proxy is no URL")

// proxy is that of the environment.
func proxy(request *http.Request) (*url.URL, error) {
	u, err := http.ProxyFromEnvironment(request)
	if err != nil {
		return nil, errProxy
	}
	return u, nil
}

func askable(u *url.URL) bool { return u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") }
