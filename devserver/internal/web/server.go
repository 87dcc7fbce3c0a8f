package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/durable-dea/dea/devserver/internal/wait"
)

// Server serves one handler at one address.
type Server struct {
	http   *http.Server
	failed chan error
}

// Serve listens and serves. Requests that take long, such as an upload, have no limit but their connection's.
func Serve(ctx context.Context, address string, handler http.Handler) (*Server, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s := &Server{
		http: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: 10 * time.Second,
			IdleTimeout:       time.Minute,
		},
		failed: make(chan error, 1),
	}
	go func() { s.failed <- s.http.Serve(listener) }()
	return s, nil
}

// Stop lets requests end until ctx does, then cuts them off.
func (s *Server) Stop(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	if served := <-s.failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// WaitAnswer asks the URL until it answers with a status below 500, or ctx ends.
func WaitAnswer(ctx context.Context, method, url string) error {
	asker := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	return wait.For(ctx, 50*time.Millisecond, func(ctx context.Context) error {
		return answers(ctx, asker, method, url)
	})
}

func answers(ctx context.Context, asker *http.Client, method, url string) error {
	request, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := asker.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}
