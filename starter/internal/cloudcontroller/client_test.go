package cloudcontroller_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/starter/internal/cloudcontroller"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "swordfish"

// controller serves handler behind basic auth and gives a client for it.
func controller(t *testing.T, handler http.HandlerFunc) *cloudcontroller.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "staging" || password != secret {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler(w, r)
	}))
	t.Cleanup(server.Close)
	c, err := cloudcontroller.New(strings.Replace(server.URL, "://", "://staging:"+secret+"@", 1))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func TestUploadPackage(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 100_000)
	var got []byte
	var length int64
	c := controller(t, func(w http.ResponseWriter, r *http.Request) {
		length = r.ContentLength
		assert.Equal(t, "PUT /v2/apps/hello/bits", r.Method+" "+r.URL.Path)
		file, header, err := r.FormFile("application")
		if err == nil {
			got, err = io.ReadAll(file)
			assert.Equal(t, "application.zip", header.Filename)
		}
		assert.NoError(t, err)
		w.WriteHeader(http.StatusCreated)
	})
	var read atomic.Int64
	err := c.UploadPackage(context.Background(), "hello", bytes.NewReader(content), int64(len(content)),
		func(r io.Reader) io.Reader { return io.TeeReader(r, counter{&read}) })
	require.NoError(t, err)
	require.Equal(t, content, got)
	require.Greater(t, length, int64(len(content)))
	require.EqualValues(t, len(content), read.Load())
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) { c.n.Add(int64(len(p))); return len(p), nil }

func TestUploadIsTriedAgainWhole(t *testing.T) {
	var tries atomic.Int32
	c := controller(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Contains(t, string(body), "content")
		if tries.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	require.NoError(t, c.UploadPackage(context.Background(), "a", strings.NewReader("content"), 7, nil))
	require.EqualValues(t, 3, tries.Load())
}

func TestBuildpacks(t *testing.T) {
	want := []cloudcontroller.Buildpack{
		{AdminBuildpack: api.AdminBuildpack{Key: "static-1", URL: "http://x/1"}, Name: "static"},
		{AdminBuildpack: api.AdminBuildpack{Key: "go-2", URL: "http://x/2"}},
	}
	c := controller(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "GET /v2/buildpacks", r.Method+" "+r.URL.Path)
		_, err := io.WriteString(w, `[{"key":"static-1","url":"http://x/1","name":"static"},{"key":"go-2","url":"http://x/2"}]`)
		assert.NoError(t, err)
	})
	got, err := c.Buildpacks(context.Background())
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestErrors(t *testing.T) {
	for status, want := range map[int]struct {
		kind  error
		tries int32
	}{
		401: {cloudcontroller.ErrUnauthorized, 1},
		403: {cloudcontroller.ErrUnauthorized, 1},
		404: {cloudcontroller.ErrNotFound, 1},
		413: {cloudcontroller.ErrRefused, 1},
		422: {cloudcontroller.ErrRefused, 1},
		429: {cloudcontroller.ErrUnreachable, 3},
		500: {cloudcontroller.ErrUnreachable, 3},
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			var tries atomic.Int32
			c := controller(t, func(w http.ResponseWriter, _ *http.Request) {
				tries.Add(1)
				w.WriteHeader(status)
			})
			err := c.DeleteApp(context.Background(), "a")
			require.ErrorIs(t, err, want.kind)
			require.Equal(t, want.tries, tries.Load())
			require.NotContains(t, err.Error(), secret)
		})
	}
}

func TestUnreachableShowsNoPassword(t *testing.T) {
	c, err := cloudcontroller.New("http://staging:" + secret + "@127.0.0.1:1")
	require.NoError(t, err)
	_, err = c.Buildpacks(context.Background())
	require.ErrorIs(t, err, cloudcontroller.ErrUnreachable)
	for e := err; e != nil; {
		require.NotContains(t, e.Error(), secret)
		u, ok := e.(interface{ Unwrap() []error })
		if !ok {
			break
		}
		e = u.Unwrap()[len(u.Unwrap())-1]
	}
	require.NotContains(t, c.String(), secret)
}

func TestSomethingElseAnswers(t *testing.T) {
	c := controller(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") })
	_, err := c.Buildpacks(context.Background())
	require.ErrorContains(t, err, "no cloud controller")
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	c := controller(t, func(_ http.ResponseWriter, _ *http.Request) { cancel(); <-ctx.Done() })
	_, err := c.Buildpacks(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestNewRefuses(t *testing.T) {
	for _, address := range []string{"", "cc:8080", "ftp://u:" + secret + "@h", "http://", "http://u:" + secret + "@h:%zz"} {
		_, err := cloudcontroller.New(address)
		require.ErrorContains(t, err, "cc_url", address)
		require.NotContains(t, err.Error(), secret)
	}
}

func TestURLs(t *testing.T) {
	c, err := cloudcontroller.New("https://staging:p%2Fw@cc.example/base/")
	require.NoError(t, err)
	require.Equal(t, cloudcontroller.URLs{
		Package:       "https://staging:p%2Fw@cc.example/base/staging/apps/hello",
		DropletUpload: "https://staging:p%2Fw@cc.example/base/staging/droplets/hello/upload?async=true",
		CacheDownload: "https://staging:p%2Fw@cc.example/base/staging/buildpack_cache/hello/download",
		CacheUpload:   "https://staging:p%2Fw@cc.example/base/staging/buildpack_cache/hello/upload",
	}, c.URLs("hello"))
	require.Equal(t, "https://staging:p%2Fw@cc.example/base/staging/droplets/hello/abc/download", c.DropletURL("hello", "abc"))
}
