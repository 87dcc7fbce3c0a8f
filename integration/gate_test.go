package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/integration/internal/stack"
)

// gate stands between the nodes and the cloud controller, passes everything on, and stops at a request for as long as a
// test wants. It remembers what it was asked.
//
//	/from/<node>/…     what a node of the test's own sends to its cc_url
//	/jobs/<app>/…      asking about the upload of an app's droplet
//	/packs/<key>.zip   buildpacks of the test's own
type gate struct {
	server *httptest.Server
	origin *url.URL
	proxy  *httputil.ReverseProxy

	mu    sync.Mutex
	holds []*hold
	seen  []seen
	packs map[string][]byte
}

// seen is a request that came.
type seen struct {
	method, path, ranged string
	// from is the number of the node that it came from, where that is known; body is that of a callback.
	from int
	body []byte
}

// moment is where in a request a hold stops it.
type moment int

const (
	// before anything of it is passed on.
	before moment = iota
	// halfOfAnswer: the client has the first half of the bytes.
	halfOfAnswer
	// halfOfBody: the cloud controller has the first half of the bytes.
	halfOfBody
	// queued: it is not passed on; the answer is that the job is queued.
	queued
	// faulty: the first of them fail as the hold says, the others are passed on.
	faulty
)

// hold stops the requests of a method whose path begins with a prefix.
type hold struct {
	at             moment
	method, prefix string
	// reached is closed when the first request stands, by then its node is in from; open lets all go.
	reached, opened chan struct{}
	from            int
	once, opening   sync.Once
	// faults are what the next requests are answered with: a status, or 0 for a connection that breaks.
	faults []int
}

// fail answers with the next fault.
func (h *hold) fail(w http.ResponseWriter, g *gate) {
	g.mu.Lock()
	status := h.faults[0]
	if h.faults = h.faults[1:]; len(h.faults) == 0 {
		h.open()
	}
	g.mu.Unlock()
	if status == 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
}

func (h *hold) open() { h.opening.Do(func() { close(h.opened) }) }

func (h *hold) isOpen() bool {
	select {
	case <-h.opened:
		return true
	default:
		return false
	}
}

// wait stands until the hold is opened; false when the client went away before.
func (h *hold) wait(r *http.Request, from int) bool {
	h.once.Do(func() { h.from = from; close(h.reached) })
	select {
	case <-h.opened:
		return true
	case <-r.Context().Done():
		return false
	}
}

// newGate serves a gate in front of a stack's cloud controller until the test is over.
func newGate(t *testing.T, s *stack.Stack) *gate {
	t.Helper()
	origin, err := url.Parse(s.Client.CloudController.Reveal())
	require.NoError(t, err)
	g := &gate{origin: origin, packs: map[string][]byte{}}
	g.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = origin.Scheme, origin.Host
			r.Out.Host = origin.Host
		},
		FlushInterval:  -1,
		ModifyResponse: g.leadJobsHere,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		Transport:      &http.Transport{DisableKeepAlives: true},
	}
	g.server = httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(func() {
		g.openAll()
		g.server.CloseClientConnections()
		g.server.Close()
	})
	return g
}

func (g *gate) serve(w http.ResponseWriter, r *http.Request) {
	one := seen{method: r.Method, ranged: r.Header.Get("Range")}
	if number, rest, found := strings.Cut(strings.TrimPrefix(r.URL.Path, "/from/"), "/"); found && strings.HasPrefix(r.URL.Path, "/from/") {
		one.from, _ = strconv.Atoi(number)
		r.URL.Path = "/" + rest
		// Read now: only then does the server notice that the client goes away.
		one.body, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(one.body))
	}
	one.path = r.URL.Path
	h := g.note(one)
	if h != nil {
		switch h.at {
		case before:
			if !h.wait(r, one.from) {
				panic(http.ErrAbortHandler)
			}
		case halfOfAnswer:
			w = &halfWriter{ResponseWriter: w, hold: h, request: r}
		case halfOfBody:
			r.Body = &halfReader{ReadCloser: r.Body, hold: h, request: r, left: r.ContentLength / 2}
		case queued:
			h.once.Do(func() { close(h.reached) })
			_, _ = io.WriteString(w, `{"entity":{"status":"queued"}}`)
			return
		case faulty:
			h.fail(w, g)
			return
		}
	}
	g.pass(w, r)
}

// note remembers a request, and gives the hold that stops it, if there is one.
func (g *gate) note(one seen) *hold {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen = append(g.seen, one)
	for _, h := range g.holds {
		if h.method == one.method && strings.HasPrefix(one.path, h.prefix) && !h.isOpen() {
			return h
		}
	}
	return nil
}

func (g *gate) pass(w http.ResponseWriter, r *http.Request) {
	if key, ok := strings.CutPrefix(r.URL.Path, "/packs/"); ok {
		g.mu.Lock()
		content := g.packs[key]
		g.mu.Unlock()
		w.Header().Set("ETag", `"`+key+`"`)
		http.ServeContent(w, r, key, time.Time{}, bytes.NewReader(content))
		return
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/jobs/"); ok {
		_, path, _ := strings.Cut(rest, "/")
		r.URL.Path = "/" + path
	}
	g.proxy.ServeHTTP(w, r)
}

// leadJobsHere makes the job of a droplet's upload one to be asked about here.
func (g *gate) leadJobsHere(answer *http.Response) error {
	app, upload := strings.CutPrefix(answer.Request.URL.Path, "/staging/droplets/")
	app, upload2 := strings.CutSuffix(app, "/upload")
	if !upload || !upload2 || answer.StatusCode != http.StatusOK {
		return nil
	}
	var job map[string]any
	err := json.NewDecoder(answer.Body).Decode(&job)
	answer.Body.Close()
	if err != nil {
		return fmt.Errorf("read the upload's job: %w", err)
	}
	metadata, _ := job["metadata"].(map[string]any)
	address, _ := metadata["url"].(string)
	u, err := url.Parse(address)
	if err != nil || metadata == nil {
		return fmt.Errorf("the upload's job has no URL: %w", err)
	}
	metadata["url"] = g.through("/jobs/"+app+u.Path, "")
	text, err := json.Marshal(job)
	if err != nil {
		return fmt.Errorf("write the upload's job: %w", err)
	}
	answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	answer.Header.Set("Content-Length", strconv.Itoa(len(text)))
	return nil
}

// through is the address of a path at the gate, with the cloud controller's credentials.
func (g *gate) through(path, query string) string {
	u := url.URL{Scheme: "http", Host: g.server.Listener.Addr().String(), User: g.origin.User, Path: path, RawQuery: query}
	return u.String()
}

// lead makes a staging's transfers go through the gate.
func (g *gate) lead(t *testing.T, request *api.StagingRequest) {
	t.Helper()
	for _, address := range []*string{
		&request.DownloadURI, &request.UploadURI, &request.BuildpackCacheDownloadURI, &request.BuildpackCacheUploadURI,
	} {
		u, err := url.Parse(*address)
		require.NoError(t, err)
		*address = g.through(u.Path, u.RawQuery)
	}
}

// offer puts a buildpack's zip at the gate.
func (g *gate) offer(key string, content []byte) api.AdminBuildpack {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.packs[key+".zip"] = content
	return api.AdminBuildpack{Key: key, URL: g.through(packPath(key), "")}
}

func packPath(key string) string { return "/packs/" + key + ".zip" }

// hold stops requests from now on.
func (g *gate) hold(at moment, method, prefix string) *hold {
	h := &hold{at: at, method: method, prefix: prefix, reached: make(chan struct{}), opened: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holds = append(g.holds, h)
	return h
}

func (g *gate) openAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, h := range g.holds {
		h.open()
	}
}

// came are the requests of a method whose path begins with a prefix, in the order of their coming.
func (g *gate) came(method, prefix string) []seen {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(g.seen), func(one seen) bool {
		return one.method != method || !strings.HasPrefix(one.path, prefix)
	})
}

// halfWriter passes the first half of an answer on, and the rest when its hold is opened.
type halfWriter struct {
	http.ResponseWriter
	hold    *hold
	request *http.Request
	passed  int64
}

func (w *halfWriter) Write(p []byte) (int, error) {
	total, err := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("half of an answer of unknown length: %w", err)
	}
	first := max(0, min(int64(len(p)), total/2-w.passed))
	n, err := w.ResponseWriter.Write(p[:first])
	w.passed += int64(n)
	if err != nil || n == len(p) {
		return n, err
	}
	if !w.hold.isOpen() {
		if err := http.NewResponseController(w.ResponseWriter).Flush(); err != nil {
			return n, err
		}
		if !w.hold.wait(w.request, 0) {
			return n, w.request.Context().Err()
		}
	}
	m, err := w.ResponseWriter.Write(p[first:])
	w.passed += int64(m)
	return n + m, err
}

// Unwrap is for http.ResponseController.
func (w *halfWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// halfReader gives the first half of a request's body, and the rest when its hold is opened. That the client goes away
// is not noticed before.
type halfReader struct {
	io.ReadCloser
	hold    *hold
	request *http.Request
	left    int64
}

func (r *halfReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		if !r.hold.wait(r.request, 0) {
			return 0, r.request.Context().Err()
		}
		r.left = -1 // the rest, however long it is
	}
	if r.left > 0 {
		p = p[:min(int64(len(p)), r.left)]
	}
	n, err := r.ReadCloser.Read(p)
	if r.left > 0 {
		r.left -= int64(n)
	}
	return n, err
}
