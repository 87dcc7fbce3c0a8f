package cloudcontroller

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
)

// DefaultMaxUploadBytes is the size of the largest upload that a Server takes unless told otherwise.
const DefaultMaxUploadBytes = 2 << 30

// Options say where a Server keeps its things and what it offers.
type Options struct {
	// Dir is where everything is kept; made when it is not there. Required. One Server at a time may use it.
	Dir string
	// Buildpacks are offered in this order, which is the order of detection.
	Buildpacks []BuildpackSource
	// Log is where requests and jobs are told of, without secrets; nil for nowhere.
	Log hclog.Logger
	// BaseURL is how clients reach the server, such as "http://127.0.0.1:9022", without credentials. It is asked at
	// each use, so that it may be known only once the server listens. Nil or an empty answer means the host that
	// the request at hand was sent to.
	BaseURL func() string
	// MaxUploadBytes is the largest body of an upload; 0 means DefaultMaxUploadBytes.
	MaxUploadBytes int64
}

// Server is the stand-in. Make it with New, serve its Handler, and Close it once nothing is served any more.
type Server struct {
	store       *store
	log         hclog.Logger
	baseURL     func() string
	maxUpload   int64
	credentials Credentials
	buildpacks  []buildpack
	jobs        *jobs
	handler     http.Handler
	// apps is held while an app's directory appears or goes, so that an upload never lands in one that is going.
	apps sync.Mutex
}

// New opens the store, packs the buildpacks, and goes on with the jobs that an earlier run did not finish. It fails
// when the store is in use or cannot be read or written, or when a buildpack cannot be packed.
func New(o Options) (*Server, error) {
	if o.Dir == "" {
		return nil, errors.New("cloudcontroller: Options.Dir is required")
	}
	s := &Server{log: o.Log, baseURL: o.BaseURL, maxUpload: o.MaxUploadBytes}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	if s.maxUpload == 0 {
		s.maxUpload = DefaultMaxUploadBytes
	}
	var err error
	if s.store, err = openStore(o.Dir); err != nil {
		return nil, err
	}
	if err := s.load(o.Buildpacks); err != nil {
		return nil, errors.Join(err, s.store.close())
	}
	s.handler = s.routes()
	s.jobs.resume()
	return s, nil
}

func (s *Server) load(sources []BuildpackSource) error {
	var err error
	if s.credentials, err = loadCredentials(s.store); err != nil {
		return err
	}
	if s.jobs, err = loadJobs(s.store, s.log, s.placeDroplet); err != nil {
		return err
	}
	if err = s.store.sweep(s.jobs.uploads()); err != nil {
		return err
	}
	s.buildpacks, err = packAll(s.store, sources)
	return err
}

// Credentials are what clients log in with; the same for as long as Dir is kept.
func (s *Server) Credentials() Credentials { return s.credentials }

// Handler answers the requests. It is safe for concurrent use.
func (s *Server) Handler() http.Handler { return s.handler }

// Close ends the jobs that run, which the next Server of the same Dir takes up again, and gives Dir free. Stop
// serving the Handler first. Closing again does nothing.
func (s *Server) Close() error {
	if !s.jobs.close() {
		return nil
	}
	return s.store.close()
}

// routes ties paths to handlers. A GET pattern answers HEAD too.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range map[string]endpoint{
		"PUT /v2/apps/{app}/bits":                     s.putBits,
		"DELETE /v2/apps/{app}":                       s.deleteApp,
		"GET /v2/buildpacks":                          s.listBuildpacks,
		"GET /v2/buildpacks/{key}/download":           s.getBuildpack,
		"GET /staging/apps/{app}":                     s.getPackage,
		"POST /staging/droplets/{app}/upload":         s.postDroplet,
		"GET /staging/droplets/{app}/{sha1}/download": s.getDroplet,
		"POST /staging/buildpack_cache/{app}/upload":  s.postCache,
		"GET /staging/buildpack_cache/{app}/download": s.getCache,
		"GET /staging/jobs/{guid}":                    s.getJob,
		"POST /internal/dea/staging/{app}/completed":  s.postCompleted,
		"GET /internal/dea/staging/{app}/{task}":      s.getCompleted,
		"/":                                           func(http.ResponseWriter, *http.Request) error { return notFound("The path") },
	} {
		mux.Handle(pattern, s.answer(h))
	}
	open := http.NewServeMux()
	open.HandleFunc("GET /healthz", s.getHealth)
	open.Handle("/", s.authenticated(mux))
	return s.logged(open)
}

func (s *Server) getHealth(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if s.jobs.closed() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

// urlFor makes a URL that an agent can follow as it is: with the credentials in it.
func (s *Server) urlFor(r *http.Request, path string) string {
	base := ""
	if s.baseURL != nil {
		base = strings.TrimRight(s.baseURL(), "/")
	}
	u, err := url.Parse(base)
	if base == "" || err != nil {
		u = &url.URL{Scheme: "http", Host: r.Host}
	}
	u.User = s.credentials.Userinfo()
	return u.JoinPath(path).String()
}
