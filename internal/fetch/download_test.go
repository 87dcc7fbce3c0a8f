package fetch_test

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/fetch"
)

func newClient(t *testing.T, o fetch.Options) *fetch.Client {
	t.Helper()
	c := fetch.New(o)
	t.Cleanup(c.Close)
	return c
}

func hexSHA1(b []byte) string {
	sum := sha1.Sum(b)
	return hex.EncodeToString(sum[:])
}

func TestGet(t *testing.T) {
	content := blob(300_000)
	server := serve(t, content)
	to := filepath.Join(t.TempDir(), "file")
	digest := sha1.New()
	var last, total int64
	done, err := newClient(t, fetch.Options{}).Get(t.Context(), fetch.Download{
		URL: strings.Replace(server.URL, "://", "://user:secret@", 1) + "/f?sig=abc", To: to, Hash: digest,
		Progress: func(d, n int64) { last, total = d, n },
	})
	require.NoError(t, err)
	require.Equal(t, fetch.Downloaded{Size: 300_000}, done)
	requireContent(t, to, content)
	require.Equal(t, hexSHA1(content), hex.EncodeToString(digest.Sum(nil)))
	require.EqualValues(t, 300_000, last)
	require.EqualValues(t, 300_000, total)
	user, password, _ := server.seen()[0].BasicAuth()
	require.Equal(t, "user:secret", user+":"+password)
	requireNothingBeside(t, to)
}

func TestGetResumesAfterABreak(t *testing.T) {
	content := blob(200_000)
	server := serve(t, content)
	server.set(func(s *fileServer) { s.breakAt = 80_000 })
	to := filepath.Join(t.TempDir(), "file")
	digest := sha1.New()
	d := fetch.Download{URL: server.URL, To: to, Hash: digest}
	client := newClient(t, fetch.Options{})

	_, err := client.Get(t.Context(), d)
	require.ErrorIs(t, err, fetch.ErrTruncated)
	require.NoFileExists(t, to)

	server.set(func(s *fileServer) { s.breakAt = 0 })
	done, err := client.Get(t.Context(), d)
	require.NoError(t, err)
	require.EqualValues(t, 80_000, done.Resumed)
	requireContent(t, to, content)
	require.Equal(t, hexSHA1(content), hex.EncodeToString(digest.Sum(nil)))
	require.Equal(t, "bytes=80000-", server.seen()[1].Header.Get("Range"))
	requireNothingBeside(t, to)
}

func TestGetStartsOverWhenItMust(t *testing.T) {
	part, content := blob(50_000), blob(90_000)
	for name, change := range map[string]func(*fileServer){
		"another version":        func(s *fileServer) { s.etag, s.content = `"v2"`, append([]byte("new"), content...) },
		"no ranges":              func(s *fileServer) { s.noRanges = true },
		"shorter, other version": func(s *fileServer) { s.etag, s.content = `"v2"`, content[:10] },
		"shorter, same version":  func(s *fileServer) { s.content = content[:10] },
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, content)
			server.set(change)
			to := filepath.Join(t.TempDir(), "file")
			require.NoError(t, os.WriteFile(to+".part", part, 0o600))
			require.NoError(t, os.WriteFile(to+".part.version", []byte("\"v1\"\n"), 0o600))
			done, err := newClient(t, fetch.Options{}).Get(t.Context(), fetch.Download{URL: server.URL, To: to})
			require.NoError(t, err)
			require.Zero(t, done.Resumed)
			requireContent(t, to, server.content)
		})
	}
}

func TestGetResumesAnUnknownVersionOnlyWhenTheCallerChecks(t *testing.T) {
	content := blob(90_000)
	for _, anyVersion := range []bool{false, true} {
		server := serve(t, content)
		server.set(func(s *fileServer) { s.etag = "" })
		to := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(to+".part", content[:40_000], 0o600))
		done, err := newClient(t, fetch.Options{}).Get(t.Context(),
			fetch.Download{URL: server.URL, To: to, AnyVersion: anyVersion})
		require.NoError(t, err)
		require.Equal(t, anyVersion, done.Resumed > 0)
		requireContent(t, to, content)
	}
}

func TestGetFindsAWholePart(t *testing.T) {
	content := blob(5_000)
	server := serve(t, content)
	to := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(to+".part", content, 0o600))
	digest := sha1.New()
	done, err := newClient(t, fetch.Options{}).Get(t.Context(),
		fetch.Download{URL: server.URL, To: to, AnyVersion: true, Hash: digest})
	require.NoError(t, err)
	require.Equal(t, fetch.Downloaded{Size: 5_000, Resumed: 5_000}, done)
	require.Equal(t, hexSHA1(content), hex.EncodeToString(digest.Sum(nil)))
	require.Len(t, server.seen(), 1)
}

func TestGetRefusesWhatIsTooLarge(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/chunked" {
			w.(http.Flusher).Flush()
		}
		_, _ = w.Write(blob(1001))
	}))
	defer server.Close()
	client := newClient(t, fetch.Options{})
	for _, path := range []string{"/known", "/chunked"} {
		to := filepath.Join(t.TempDir(), "file")
		_, err := client.Get(t.Context(), fetch.Download{URL: server.URL + path, To: to, Limit: 1000})
		require.ErrorIs(t, err, fetch.ErrTooLarge)
		require.NoFileExists(t, to)
		requireNothingBeside(t, to)
		_, err = client.Get(t.Context(), fetch.Download{URL: server.URL + path, To: to, Limit: 1001})
		require.NoError(t, err)
	}
}

func TestGetThrowsAwayWhatIsNotAccepted(t *testing.T) {
	server := serve(t, blob(10))
	to := filepath.Join(t.TempDir(), "file")
	no := errors.New("no")
	_, err := newClient(t, fetch.Options{}).Get(t.Context(),
		fetch.Download{URL: server.URL, To: to, Accept: func() error { return no }})
	require.ErrorIs(t, err, no)
	require.NoFileExists(t, to)
	requireNothingBeside(t, to)
}

func TestGetEndsWhenNothingMoves(t *testing.T) {
	for name, first := range map[string]int{"before the answer": 0, "within the body": 10} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if first > 0 {
					_, _ = w.Write(make([]byte, first))
					w.(http.Flusher).Flush()
				}
				<-r.Context().Done()
			}))
			defer server.Close()
			client := newClient(t, fetch.Options{Inactivity: 100 * time.Millisecond})
			_, err := client.Get(t.Context(), fetch.Download{URL: server.URL, To: filepath.Join(t.TempDir(), "f")})
			require.ErrorIs(t, err, fetch.ErrStalled)
		})
	}
}

func TestGetHasNoLimitOnTheWhole(t *testing.T) {
	const pieces, pause, inactivity = 10, 40 * time.Millisecond, 250 * time.Millisecond
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ticker := time.NewTicker(pause)
		defer ticker.Stop()
		for range pieces {
			_, _ = w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			<-ticker.C
		}
	}))
	defer server.Close()
	begin := time.Now()
	done, err := newClient(t, fetch.Options{Inactivity: inactivity}).Get(t.Context(),
		fetch.Download{URL: server.URL, To: filepath.Join(t.TempDir(), "f")})
	require.NoError(t, err)
	require.EqualValues(t, pieces, done.Size)
	require.Greater(t, time.Since(begin), inactivity)
}

func TestGetEndsWithItsContext(t *testing.T) {
	begun := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("x"))
		w.(http.Flusher).Flush()
		close(begun)
		<-r.Context().Done()
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	_, err := newClient(t, fetch.Options{}).Get(ctx, fetch.Download{URL: server.URL, To: filepath.Join(t.TempDir(), "f")})
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, fetch.ErrTruncated)
}

func TestTwoGetsOfOneFileDoNotMix(t *testing.T) {
	content := blob(400_000)
	server := serve(t, content)
	to := filepath.Join(t.TempDir(), "file")
	var both sync.WaitGroup
	for range 4 {
		client := newClient(t, fetch.Options{})
		both.Go(func() {
			_, err := client.Get(t.Context(), fetch.Download{URL: server.URL, To: to})
			require.NoError(t, err)
		})
	}
	both.Wait()
	requireContent(t, to, content)
	requireNothingBeside(t, to)
}

func TestWaitingForAnotherGetEndsWithTheContext(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-release
	}))
	defer server.Close()
	client := newClient(t, fetch.Options{})
	d := fetch.Download{URL: server.URL, To: filepath.Join(t.TempDir(), "f")}
	first := make(chan error, 1)
	go func() { _, err := client.Get(context.Background(), d); first <- err }()
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 80*time.Millisecond)
	defer cancel()
	_, err := client.Get(ctx, d)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(release)
	require.NoError(t, <-first)
}

func TestErrorsHoldNoSecret(t *testing.T) {
	status := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/redirect" {
			http.Redirect(w, r, "http://user:hunter2@127.0.0.1:1/x?sig=hunter2", http.StatusFound)
			return
		}
		w.WriteHeader(http.StatusTeapot)
	}))
	defer status.Close()
	host := strings.TrimPrefix(status.URL, "http://")
	client := newClient(t, fetch.Options{})
	for _, url := range []string{
		"http://user:hunter2@" + host + "/f?sig=hunter2",
		"http://user:hunter2@" + host + "/redirect?sig=hunter2",
		"http://user:hunter2@127.0.0.1:1/f?sig=hunter2",
		"http://user:hunter2@nowhere.invalid:99999/f",
		"http://user:hunter2@127.0.0.1:x/",
		"://hunter2", "ftp://user:hunter2@h/", "http://user:hunter2%zz@h/", "",
	} {
		_, err := client.Get(t.Context(), fetch.Download{URL: url, To: filepath.Join(t.TempDir(), "f")})
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), "hunter2", url)
		require.NotContains(t, fetch.Redact(url), "hunter2", url)
		require.NotContains(t, fetch.Host(url), "hunter2", url)
		_, err = client.Send(t.Context(), http.MethodPost, url, "", nil)
		if err != nil {
			require.NotContains(t, err.Error(), "hunter2", url)
		}
	}
	require.Equal(t, "https://h:1/a/b", fetch.Redact("https://u:p@h:1/a/b?c=d#e"))
}

func TestStatusAndUnreachable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	client := newClient(t, fetch.Options{})
	to := filepath.Join(t.TempDir(), "f")
	_, err := client.Get(t.Context(), fetch.Download{URL: server.URL, To: to})
	var answer *fetch.StatusError
	require.ErrorAs(t, err, &answer)
	require.Equal(t, http.StatusNotFound, answer.Status)
	require.NoFileExists(t, to)
	server.Close()
	_, err = client.Get(t.Context(), fetch.Download{URL: server.URL, To: to})
	require.ErrorIs(t, err, fetch.ErrUnreachable)
	_, err = client.Get(t.Context(), fetch.Download{URL: "file:///etc/passwd", To: to})
	require.ErrorIs(t, err, fetch.ErrBadURL)
}

func requireContent(t *testing.T, path string, content []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, hexSHA1(content), hexSHA1(got))
}

func requireNothingBeside(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	for _, entry := range entries {
		require.Equal(t, filepath.Base(path), entry.Name())
	}
}
