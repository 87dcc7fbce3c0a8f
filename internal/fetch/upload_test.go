package fetch_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/fetch"
)

func TestPost(t *testing.T) {
	content := blob(500_000)
	var field, name, auth string
	var got []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Positive(t, r.ContentLength)
		form, err := r.MultipartReader()
		if !assert.NoError(t, err) {
			return
		}
		part, err := form.NextPart()
		if !assert.NoError(t, err) {
			return
		}
		field, name = part.FormName(), part.FileName()
		got, err = io.ReadAll(part)
		assert.NoError(t, err)
		_, err = form.NextPart()
		assert.ErrorIs(t, err, io.EOF)
		user, password, _ := r.BasicAuth()
		auth = user + ":" + password
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte("thanks"))
	}))
	defer server.Close()
	var progress int64
	answer, err := newClient(t, fetch.Options{}).Post(t.Context(), fetch.Upload{
		URL: strings.Replace(server.URL, "://", "://u:p@", 1), Field: "upload[droplet]", FileName: `d"r.tgz`,
		Content: bytes.NewReader(content), Size: int64(len(content)), Progress: func(n int64) { progress = n },
	})
	require.NoError(t, err)
	require.Equal(t, fetch.Answer{Status: http.StatusCreated, Body: []byte("thanks")}, answer)
	require.Equal(t, []string{"upload[droplet]", `d"r.tgz`, "u:p"}, []string{field, name, auth})
	require.Equal(t, hexSHA1(content), hexSHA1(got))
	require.EqualValues(t, len(content), progress)
}

func TestPostOfNothing(t *testing.T) {
	var size int64 = -1
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		file, header, err := r.FormFile("f")
		if !assert.NoError(t, err) {
			return
		}
		file.Close()
		size = header.Size
	}))
	defer server.Close()
	_, err := newClient(t, fetch.Options{}).Post(t.Context(),
		fetch.Upload{URL: server.URL, Field: "f", FileName: "x", Content: bytes.NewReader(nil)})
	require.NoError(t, err)
	require.Zero(t, size)
}

func TestPostEndsWhenNothingMoves(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer server.Close()
	client := newClient(t, fetch.Options{Inactivity: 100 * time.Millisecond})
	_, err := client.Post(t.Context(), fetch.Upload{URL: server.URL, Field: "f", FileName: "x", Content: strings.NewReader("x"), Size: 1})
	require.ErrorIs(t, err, fetch.ErrStalled)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = client.Post(ctx, fetch.Upload{URL: server.URL, Field: "f", FileName: "x", Content: strings.NewReader("x"), Size: 1})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestPostToNobody(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	client := newClient(t, fetch.Options{})
	_, err := client.Post(t.Context(), fetch.Upload{URL: server.URL, Field: "f", FileName: "x", Content: strings.NewReader("")})
	require.ErrorIs(t, err, fetch.ErrUnreachable)
	_, err = client.Post(t.Context(), fetch.Upload{URL: "x", Field: "f", FileName: "x", Content: strings.NewReader("")})
	require.ErrorIs(t, err, fetch.ErrBadURL)
}

// TestPostIsNoGet: a redirect that makes a GET of a POST is the answer; the page that it leads to has taken nothing.
func TestPostIsNoGet(t *testing.T) {
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/page" {
				assert.Equal(t, http.MethodPost, r.Method)
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			http.Redirect(w, r, "/page", status)
		}))
		client := fetch.New(fetch.Options{})
		answer, err := client.Post(t.Context(), fetch.Upload{
			URL: server.URL, Field: "f", FileName: "n", Content: strings.NewReader("content"), Size: 7,
		})
		require.NoError(t, err)
		require.Equal(t, status, answer.Status)
		answer, err = client.Send(t.Context(), http.MethodPost, server.URL, "text/plain", []byte("content"))
		require.NoError(t, err)
		want := status
		if status == http.StatusTemporaryRedirect {
			want = http.StatusOK // what is small can be sent again
		}
		require.Equal(t, want, answer.Status)
		client.Close()
		server.Close()
	}
}
