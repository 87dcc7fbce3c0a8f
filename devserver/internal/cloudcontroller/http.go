package cloudcontroller

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"time"
)

// endpoint answers a request or returns the error to answer with; it has written nothing then.
type endpoint func(http.ResponseWriter, *http.Request) error

// answer turns an endpoint's error into the wire's.
func (s *Server) answer(h endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		s.refuse(w, r, explain(err))
	})
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, e *apiError) {
	if e.cause != nil {
		s.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", e)
	}
	if err := writeJSON(w, e.status, e.body()); err != nil {
		s.log.Error("cannot answer", "error", err)
	}
}

func (s *Server) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.credentials.allow(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="cloud controller", charset="UTF-8"`)
			s.refuse(w, r, notAuthenticated())
			return
		}
		next.ServeHTTP(w, r)
	})
}

// logged tells of each request: neither header nor query, where a secret could stand.
func (s *Server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(rec, r)
		tell := s.log.Debug
		if rec.status >= http.StatusInternalServerError {
			tell = s.log.Warn
		}
		tell("request", "method", r.Method, "path", r.URL.Path, "status", rec.status, "bytes", rec.bytes,
			"took", time.Since(begun).Round(time.Microsecond))
	})
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// ReadFrom keeps the way open for the kernel to send a file by itself.
func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	n, err := io.Copy(r.ResponseWriter, src)
	r.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// blob is a file of the store on its way to a client.
type blob struct {
	// name is its place in the store, what is its name in an error.
	name, what string
	mediaType  string
	// tag tells its content from any other; empty for one made of size and time.
	tag string
}

// serve answers with a file: whole, in ranges, or not at all to a client that has it.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, b blob) error {
	f, err := s.store.root.Open(b.name)
	if errors.Is(err, fs.ErrNotExist) {
		return notFound(b.what)
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if b.tag == "" {
		b.tag = fmt.Sprintf("%x-%x", info.ModTime().UnixNano(), info.Size())
	}
	w.Header().Set("ETag", `"`+b.tag+`"`)
	w.Header().Set("Content-Type", b.mediaType)
	http.ServeContent(w, r, "", info.ModTime(), f)
	return nil
}
