package fetch_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/fetch"
)

// A redirect to another host takes neither the password nor the signature there.
func TestRedirectsCarryNoSecret(t *testing.T) {
	var (
		mu   sync.Mutex
		seen []*http.Request
	)
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r)
		_, _ = w.Write([]byte("content"))
	}))
	defer storage.Close()
	controller := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target := strings.Replace(storage.URL, "127.0.0.1", "localhost", 1) + "/f?own=signature"
		if r.URL.Path == "/own" {
			target = strings.Replace(target, "://", "://own:password@", 1)
		}
		http.Redirect(w, r, target, http.StatusFound)
	}))
	defer controller.Close()
	for _, client := range []*fetch.Client{
		newClient(t, fetch.Options{}), newClient(t, fetch.Options{HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}),
	} {
		for path, own := range map[string]bool{"/f": false, "/own": true} {
			seen = nil
			to := filepath.Join(t.TempDir(), "f")
			url := strings.Replace(controller.URL, "://", "://user:hunter2@", 1) + path + "?sig=hunter2"
			_, err := client.Get(t.Context(), fetch.Download{URL: url, To: to})
			require.NoError(t, err)
			answer, err := client.Post(t.Context(), fetch.Upload{URL: url, Field: "f", FileName: "f", Content: strings.NewReader("")})
			require.NoError(t, err)
			require.Equal(t, http.StatusFound, answer.Status, "an upload is not made a page view")
			require.Len(t, seen, 1)
			for _, request := range seen {
				require.Empty(t, request.Header.Values("Referer"))
				_, _, authorized := request.BasicAuth()
				require.Equal(t, own, authorized, "what the redirect has of its own is sent")
				require.NotContains(t, fmt.Sprint(request.URL, request.Header), "hunter2")
			}
		}
	}
}

func TestBadRedirects(t *testing.T) {
	for name, location := range map[string]string{
		"no URL": "http://user:hunter2@h%zz/", "a space": "http://hunter2 h/?sig=hunter2", "another scheme": "ftp://user:hunter2@h/f",
		"file": "file:///etc/hunter2", "no host": "http:///?sig=hunter2",
		"in a circle": "/again?sig=hunter2", "a port": "http://user:hunter2@h:hunter2/",
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", location)
				w.WriteHeader(http.StatusTemporaryRedirect)
			}))
			defer server.Close()
			client := newClient(t, fetch.Options{})
			_, err := client.Get(t.Context(), fetch.Download{URL: server.URL, To: filepath.Join(t.TempDir(), "f")})
			require.ErrorIs(t, err, fetch.ErrBadRedirect)
			require.NotContains(t, err.Error(), "hunter2")
			_, err = client.Send(t.Context(), http.MethodPost, server.URL, "", nil)
			require.ErrorIs(t, err, fetch.ErrBadRedirect)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

// raw serves answers written by hand, one a connection, the last again and again.
func raw(t *testing.T, answers ...string) *httptest.Server {
	t.Helper()
	var next atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("HTTP/1.1 " + strings.ReplaceAll(answers[min(int(next.Add(1)), len(answers))-1], "\n", "\r\n")))
	}))
	t.Cleanup(server.Close)
	return server
}

func TestGetFromServersThatMiscount(t *testing.T) {
	const whole = "200 OK\nContent-Length: 10\nETag: \"v1\"\n\n0123456789"
	for name, c := range map[string]struct {
		part, version string
		answers       []string
		err           error
		limit         int64
	}{
		"fewer bytes":           {answers: []string{"200 OK\nContent-Length: 10\n\n01234"}, err: fetch.ErrTruncated},
		"more bytes":            {answers: []string{whole + "and more"}},
		"chunks cut off":        {answers: []string{"200 OK\nTransfer-Encoding: chunked\n\n5\n01234\n"}, err: fetch.ErrTruncated},
		"a broken chunk":        {answers: []string{"200 OK\nTransfer-Encoding: chunked\n\nxyz\n01234\n"}, err: fetch.ErrTruncated},
		"rest shorter":          {part: "01234", version: `"v1"`, answers: []string{"206 P\nContent-Range: bytes 5-9/10\nContent-Length: 2\n\n56"}, err: fetch.ErrTruncated},
		"rest longer":           {part: "01234", version: `"v1"`, answers: []string{"206 P\nContent-Range: bytes 5-9/10\nContent-Length: 8\n\n56789abc"}, err: fetch.ErrTruncated},
		"rest of another file":  {part: "01234", version: `"v1"`, answers: []string{"206 P\nETag: \"v2\"\nContent-Range: bytes 5-9/10\nContent-Length: 5\n\nxxxxx", whole}},
		"another part":          {part: "01234", version: `"v1"`, answers: []string{"206 P\nContent-Range: bytes 4-9/10\nContent-Length: 6\n\n456789", whole}},
		"whole less than part":  {part: "012345678901", version: `"v1"`, answers: []string{"206 P\nContent-Range: bytes 12-9/10\nContent-Length: 0\n\n", whole}},
		"no range said":         {part: "01234", version: `"v1"`, answers: []string{"206 P\nContent-Length: 5\n\n56789", whole}},
		"whole, of another":     {part: "xxxxxxxxxx", version: `"v0"`, answers: []string{"416 R\nETag: \"v1\"\nContent-Range: bytes */10\nContent-Length: 0\n\n", whole}},
		"a part without asking": {answers: []string{"206 P\nContent-Range: bytes 0-9/10\nContent-Length: 10\n\n0123456789"}, err: &fetch.StatusError{}},
		"whole part too large": {
			part: "0123456789", version: `"v1"`, limit: 9, err: fetch.ErrTooLarge,
			answers: []string{"416 R\nContent-Range: bytes */10\nContent-Length: 0\n\n"},
		},
		"no end of the rest": {
			part: "01234", version: `"v1"`, err: fetch.ErrTruncated,
			answers: []string{"206 P\nContent-Range: bytes 5-9/10\nTransfer-Encoding: chunked\n\nfff\n" + strings.Repeat("x", 4095) + "\n0\n\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := raw(t, c.answers...)
			to := filepath.Join(t.TempDir(), "f")
			if c.part != "" {
				require.NoError(t, os.WriteFile(to+".part", []byte(c.part), 0o600))
				require.NoError(t, os.WriteFile(to+".part.version", []byte(c.version), 0o600))
			}
			client := newClient(t, fetch.Options{HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}})
			_, err := client.Get(t.Context(), fetch.Download{URL: server.URL, To: to, Limit: c.limit})
			var status *fetch.StatusError
			switch {
			case c.err == nil:
				require.NoError(t, err)
				requireContent(t, to, []byte("0123456789"))
			case errorsAsStatus(c.err):
				require.ErrorAs(t, err, &status)
			default:
				require.ErrorIs(t, err, c.err)
				require.NoFileExists(t, to)
				if info, err := os.Stat(to + ".part"); err == nil {
					require.LessOrEqual(t, info.Size(), int64(11), "no more is kept than shows that it is wrong")
				}
			}
		})
	}
}

func errorsAsStatus(err error) bool { _, is := err.(*fetch.StatusError); return is } //nolint:errorlint // a table's own

// What a server says that is no HTTP may well be the redirect that it meant.
func TestErrorsDoNotRepeatTheServer(t *testing.T) {
	for name, answer := range map[string]string{
		"control bytes": "302 F\nLocation: http://h/\x7fhunter2\n\n", "no colon": "302 F\nhttp://h/?hunter2\n\n",
		"no status": "hunter2\n\n", "two lengths": "200 OK\nContent-Length: 1\nContent-Length: hunter2\n\n",
		"encoding": "200 OK\nTransfer-Encoding: hunter2\n\n", "chunk": "200 OK\nTransfer-Encoding: chunked\n\nhunter2\n",
	} {
		t.Run(name, func(t *testing.T) {
			server := raw(t, answer)
			_, err := newClient(t, fetch.Options{}).Get(t.Context(), fetch.Download{URL: server.URL, To: filepath.Join(t.TempDir(), "f")})
			require.Error(t, err)
			for ; err != nil; err = errors.Unwrap(err) {
				require.NotContains(t, err.Error(), "hunter2")
			}
		})
	}
}

func TestGetGoesOnAfterTooMuchCame(t *testing.T) {
	content := blob(1000)
	server := serve(t, content)
	to := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(to+".part", blob(1001), 0o600))
	require.NoError(t, os.WriteFile(to+".part.version", []byte(`"v1"`), 0o600))
	done, err := newClient(t, fetch.Options{}).Get(t.Context(), fetch.Download{URL: server.URL, To: to})
	require.NoError(t, err)
	require.Zero(t, done.Resumed)
	requireContent(t, to, content)
}

func TestProgressKnowsTheWholeFromTheBeginning(t *testing.T) {
	content := blob(1000)
	server := serve(t, content)
	to := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(to+".part", content[:400], 0o600))
	var seen [][2]int64
	_, err := newClient(t, fetch.Options{Inactivity: time.Minute}).Get(t.Context(), fetch.Download{
		URL: server.URL, To: to, AnyVersion: true, Progress: func(done, total int64) { seen = append(seen, [2]int64{done, total}) },
	})
	require.NoError(t, err)
	require.Equal(t, [2]int64{400, 1000}, seen[0])
	require.Equal(t, [2]int64{1000, 1000}, seen[len(seen)-1])
}
