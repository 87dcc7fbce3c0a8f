package router

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// maxAttempts is how many endpoints are asked for one request.
	maxAttempts = 3
	// asideFor is how long others are asked before an endpoint that failed.
	asideFor = 30 * time.Second
)

// errNoEndpoints: the last endpoint of the route has gone.
var errNoEndpoints = errors.New("the route has no endpoints")

// clientError is why the client's request ended before all of it came.
type clientError struct{ cause error }

func (e *clientError) Error() string { return "the client sends no more: " + e.cause.Error() }
func (e *clientError) Unwrap() error { return e.cause }

// exchange is a request on its way. It travels with the request's context.
type exchange struct {
	route *route
	// session is the instance that the client's session is at; may be empty.
	session string
	// pinned is the one endpoint that the client asks for, nil for any.
	pinned *endpoint
	// endpoint is the one that was asked last, nil before.
	endpoint *endpoint
	// id tells the request from others in logs.
	id string
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// retrier sends requests to endpoints. Where one took nothing of a request, or the request can do no harm twice, it asks the
// next.
type retrier struct{ log hclog.Logger }

// RoundTrip sends a request that has an exchange.
func (t retrier) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	x := exchangeOf(ctx)
	var sent *body
	if request.Body != nil && request.Body != http.NoBody {
		sent = &body{source: request.Body}
	}
	var tried []*endpoint
	var failed error
	for len(tried) < maxAttempts {
		e := x.next(tried)
		if e == nil {
			break
		}
		x.endpoint = e
		one := attempt{endpoint: e}
		try, ok := one.request(request, sent, len(tried) > 0)
		if !ok {
			break
		}
		response, err := e.transport.RoundTrip(try)
		if err == nil {
			return response, nil
		}
		tried, failed = append(tried, e), err
		if ctx.Err() != nil {
			break
		}
		if sent != nil {
			if cause := sent.failure(); cause != nil {
				return nil, &clientError{cause}
			}
		}
		retry := one.mayRetry(request, err)
		t.log.Warn("an instance failed a request", "address", e.address, "app", e.app, "instance", e.id, "index", e.index,
			"request", x.id, "attempt", len(tried), "retry", retry, "error", err)
		if isEndpointDown(err) {
			e.putAside(time.Now().Add(asideFor))
		}
		if !retry {
			break
		}
	}
	if failed == nil {
		failed = errNoEndpoints
	}
	return nil, failed
}

// next is the endpoint to ask, nil where there is none any more.
func (x *exchange) next(tried []*endpoint) *endpoint {
	if x.pinned != nil {
		if len(tried) > 0 {
			return nil
		}
		return x.pinned
	}
	return x.route.choose(x.session, tried, time.Now())
}

// attempt is a request sent to one endpoint.
type attempt struct {
	endpoint *endpoint
	// conn is the connection that it was sent by, nil where there was none. before is what had been written to it.
	conn   *countingConn
	before int64
	got    bool
}

// request is what to send. False: the body cannot be had again.
func (a *attempt) request(request *http.Request, sent *body, again bool) (*http.Request, bool) {
	ctx := httptrace.WithClientTrace(request.Context(), &httptrace.ClientTrace{GotConn: a.connected})
	try := request.WithContext(ctx)
	if again {
		// What sent the last one may still look at its header.
		try.Header = request.Header.Clone()
	}
	address := *request.URL
	address.Scheme, address.Host = "http", a.endpoint.address
	if a.endpoint.tls {
		address.Scheme = "https"
	}
	try.URL = &address
	try.Header.Set(headerApp, a.endpoint.app)
	try.Header.Set(headerIndex, a.endpoint.index)
	try.Header.Set(headerInstance, instanceOf(a.endpoint))
	if sent != nil {
		reader, ok := sent.again()
		if !ok {
			return nil, false
		}
		try.Body = reader
	}
	return try, true
}

// instanceOf is what an app is told of who it is.
func instanceOf(e *endpoint) string {
	if e.id == "" {
		return e.address
	}
	return e.id
}

func (a *attempt) connected(info httptrace.GotConnInfo) {
	a.got = true
	// Several requests share a connection of HTTP/2, so that its count says nothing of this one.
	if a.conn = counted(info.Conn); a.conn != nil && !a.endpoint.http2 {
		a.before = a.conn.written.Load()
	}
}

// mayRetry tells whether a request that failed may be sent again: nothing of it was sent, or it changes nothing and the
// connection broke. Whether its body can be had again is another question.
func (a *attempt) mayRetry(request *http.Request, err error) bool {
	// A connection is got when its handshake is over: an alert that comes after it may be about what was done already.
	if !a.got || isDial(err) {
		return true
	}
	if a.conn != nil && !a.endpoint.http2 && a.conn.written.Load() == a.before {
		return true
	}
	return isIdempotent(request) && isBroken(err)
}

// isIdempotent is what net/http and gorouter take for it.
func isIdempotent(request *http.Request) bool {
	switch request.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return request.Header.Get("Idempotency-Key") != "" || request.Header.Get("X-Idempotency-Key") != ""
}

// isEndpointDown is an error of the endpoint's, whatever the request.
func isEndpointDown(err error) bool {
	return isDial(err) || isTLS(err) || errors.Is(err, syscall.ECONNRESET)
}

func isDial(err error) bool {
	var failed *net.OpError
	return errors.As(err, &failed) && failed.Op == "dial"
}

func isTLS(err error) bool {
	var (
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		alert       *net.OpError
	)
	return errors.As(err, &certificate) || errors.As(err, &record) ||
		errors.As(err, &alert) && (alert.Op == "remote error" || alert.Op == "local error")
}

// isBroken is a connection that ended before there was an answer.
func isBroken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE)
}
