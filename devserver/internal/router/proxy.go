package router

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
)

// Headers by which gorouter speaks with apps and clients. Those that an app gets have other names on the wire: net/http
// writes them in its own case, and no case means anything.
const (
	headerApp       = "X-Cf-Applicationid"
	headerIndex     = "X-Cf-Instanceindex"
	headerInstance  = "X-Cf-Instanceid"
	headerPinned    = "X-Cf-App-Instance"
	headerError     = "X-Cf-RouterError"
	headerRequestID = "X-Vcap-Request-Id"
	headerStart     = "X-Request-Start"
)

const (
	// flushEvery is how long a part of an answer may lie that has a length. Of one without, each part goes at once.
	flushEvery = 10 * time.Millisecond
	bufferSize = 32 << 10
	// statusClientGone is what logs know a request by whose client did not wait for the answer.
	statusClientGone = 499
)

// newProxy makes what sends requests that have an exchange, and answers.
func (r *Router) newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      retrier{log: r.log},
		FlushInterval:  flushEvery,
		BufferPool:     &buffers{},
		ErrorLog:       r.log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
		ModifyResponse: answered,
		ErrorHandler:   r.failed,
	}
}

// ServeHTTP sends a request to an instance of the app whose route it has.
func (r *Router) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if r.log.IsDebug() {
		seen := &statusWriter{ResponseWriter: w}
		begun := time.Now()
		defer func() {
			r.log.Debug("request", "method", request.Method, "host", request.Host, "path", request.URL.EscapedPath(),
				"status", seen.status, "took", time.Since(begun))
		}()
		w = seen
	}
	r.serve(w, request)
}

func (r *Router) serve(w http.ResponseWriter, request *http.Request) {
	if request.Method == http.MethodConnect {
		writePage(w, request, page{status: http.StatusMethodNotAllowed, what: "This router makes no tunnels."})
		return
	}
	host := withoutPort(request.Host)
	route := r.table.lookup(host, request.URL.EscapedPath())
	if route == nil {
		if isOwn(host) {
			r.overview(w, request)
			return
		}
		writePage(w, request, unknownRoute(request.Host))
		return
	}
	x := &exchange{route: route, session: sessionOf(request), id: uuid.NewString()}
	if wanted := request.Header.Get(headerPinned); wanted != "" {
		var ok bool
		if x.pinned, ok = pin(route, wanted); !ok {
			writePage(w, request, unknownInstance(request.Host, wanted))
			return
		}
	} else if len(*route.live.Load()) == 0 {
		writePage(w, request, noEndpoints(request.Host))
		return
	}
	ctx := context.WithValue(request.Context(), exchangeKey{}, x)
	if request.Header.Get("Upgrade") != "" {
		// Nobody else ends a connection that was upgraded.
		upgraded, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(r.ctx, cancel)()
		ctx = upgraded
	}
	if request.ProtoMajor == 1 && request.Body != http.NoBody {
		// An app may answer before it has read all.
		_ = http.NewResponseController(w).EnableFullDuplex()
	}
	r.proxy.ServeHTTP(w, request.WithContext(ctx))
}

// pin finds the instance that a client asks for as APP-GUID:INDEX.
func pin(r *route, wanted string) (*endpoint, bool) {
	app, index, _ := strings.Cut(wanted, ":")
	for _, e := range *r.live.Load() {
		if e.app == app && e.index == index && app != "" && index != "" {
			return e, true
		}
	}
	return nil, false
}

// rewrite makes of a client's request the one that the app gets.
func rewrite(p *httputil.ProxyRequest) {
	in, out := p.In, p.Out
	// As the client wrote them: the app, not the router, says what they mean.
	out.URL.RawQuery = in.URL.RawQuery
	if path, _, _ := strings.Cut(in.RequestURI, "?"); strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") {
		out.URL.Opaque = path
	}
	out.Host = in.Host
	for _, name := range []string{"Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values := in.Header[name]; values != nil {
			out.Header[name] = values
		}
	}
	if out.Header["X-Forwarded-Proto"] == nil {
		out.Header.Set("X-Forwarded-Proto", "http")
	}
	if client, _, err := net.SplitHostPort(in.RemoteAddr); err == nil {
		if before := in.Header["X-Forwarded-For"]; len(before) > 0 {
			client = strings.Join(before, ", ") + ", " + client
		}
		out.Header.Set("X-Forwarded-For", client)
	}
	if out.Header.Get(headerStart) == "" {
		out.Header.Set(headerStart, strconv.FormatInt(time.Now().UnixMilli(), 10))
	}
	out.Header.Set(headerRequestID, exchangeOf(in.Context()).id)
	out.Header.Del(headerPinned)
}

// answered adds to an app's answer what is the router's.
func answered(response *http.Response) error {
	x := exchangeOf(response.Request.Context())
	response.Header.Set(headerRequestID, x.id)
	stick(response, x)
	return nil
}

// failed answers a request that no instance has answered.
func (r *Router) failed(w http.ResponseWriter, request *http.Request, err error) {
	x := exchangeOf(request.Context())
	w.Header().Set(headerRequestID, x.id)
	var client *clientError
	switch {
	case errors.Is(request.Context().Err(), context.Canceled) && r.ctx.Err() == nil:
		w.WriteHeader(statusClientGone) // nobody reads it
	case errors.As(err, &client):
		r.log.Debug("a client broke off its request", "request", x.id, "error", client.cause)
		writePage(w, request, page{status: http.StatusBadRequest, what: "The request ended before all of it had come."})
	case errors.Is(err, errNoEndpoints):
		writePage(w, request, noEndpoints(request.Host))
	case x.endpoint == nil: // it never came to ask one, as for an upgrade to what is no protocol's name
		r.log.Debug("a request cannot be sent on", "request", x.id, "error", err)
		writePage(w, request, page{status: http.StatusBadRequest, what: "The request cannot be understood."})
	default:
		writePage(w, request, endpointFailure(request.Host, x.endpoint, err))
	}
}

// buffers are reused for the bodies of answers.
type buffers struct{ pool sync.Pool }

// Get gives a buffer.
func (b *buffers) Get() []byte {
	if buffer, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return buffer[:]
	}
	return make([]byte, bufferSize)
}

// Put takes a buffer back.
func (b *buffers) Put(buffer []byte) { b.pool.Put((*[bufferSize]byte)(buffer)) }

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader remembers a final status.
func (w *statusWriter) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets what the server can do through.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
