package main

import (
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"
)

// site serves what is beneath a directory. Links that leave it are as good as not there.
type site struct{ root *os.Root }

const (
	indexPage    = "index.html"
	notFoundPage = "404.html"
)

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "405 method not allowed", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
	if name == "" {
		name = "."
	}
	info, err := s.root.Stat(name)
	switch {
	case err != nil || hidden(name):
		s.notFound(w, r)
	case info.IsDir() && !strings.HasSuffix(r.URL.Path, "/"):
		// Relative links of an index page are meant relative to its directory.
		redirect(w, r, path.Base(name)+"/")
	case info.IsDir():
		s.file(w, r, path.Join(name, indexPage))
	case strings.HasSuffix(r.URL.Path, "/"):
		s.notFound(w, r)
	default:
		s.file(w, r, name)
	}
}

// file answers with a regular file: its type by its name, ranges and conditions as HTTP has them.
func (s *site) file(w http.ResponseWriter, r *http.Request, name string) {
	f, info, err := s.open(name)
	if err != nil {
		s.notFound(w, r)
		return
	}
	defer f.Close()
	http.ServeContent(w, r, path.Base(name), info.ModTime(), f)
}

func (s *site) open(name string) (*os.File, os.FileInfo, error) {
	// Asked first: opening a pipe would wait for somebody who writes.
	info, err := s.root.Stat(name)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, os.ErrNotExist
	}
	f, err := s.root.Open(name)
	return f, info, err
}

func (s *site) notFound(w http.ResponseWriter, r *http.Request) {
	f, _, err := s.open(notFoundPage)
	if err != nil {
		http.Error(w, "404 page not found", http.StatusNotFound)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusNotFound)
	if r.Method != http.MethodHead {
		_, _ = io.Copy(w, f)
	}
}

// redirect keeps the query. The target is relative, so that no path can make it another host's.
func redirect(w http.ResponseWriter, r *http.Request, to string) {
	to = (&url.URL{Path: "./" + to}).EscapedPath()
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusMovedPermanently)
}

// hidden tells the names that are for the site's owner alone; .well-known is for everybody by its standard.
func hidden(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") && part != "." && part != ".well-known" {
			return true
		}
	}
	return false
}

// logged writes a line for each answer.
func logged(to *log.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		answer := &answer{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(answer, r)
		to.Printf("%s %q %d %d bytes %s", r.Method, r.URL.Path, answer.status, answer.bytes, time.Since(begun).Round(time.Microsecond))
	})
}

type answer struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	n, err := a.ResponseWriter.Write(p)
	a.bytes += int64(n)
	return n, err
}

// ReadFrom keeps the kernel's way from file to socket.
func (a *answer) ReadFrom(from io.Reader) (int64, error) {
	n, err := io.Copy(a.ResponseWriter, from)
	a.bytes += n
	return n, err
}

// Unwrap lets http.ResponseController through.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
