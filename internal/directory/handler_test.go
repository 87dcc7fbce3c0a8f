package directory

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
)

func TestAFileIsReadWholeOrInRanges(t *testing.T) {
	n := newNode(t)
	n.write("logs/stdout.log", "0123456789")
	for _, path := range []string{"logs/stdout.log", "/logs/stdout.log", "logs/../logs//stdout.log", "./logs/stdout.log"} {
		a := n.read(path)
		require.Equal(t, http.StatusOK, a.status, path)
		require.Equal(t, "0123456789", a.body, path)
		require.Equal(t, "no-store", a.header.Get("Cache-Control"))
		require.Equal(t, textType, a.header.Get("Content-Type"))
	}
	part := n.get(n.url("logs/stdout.log", false), "Range", "bytes=-3")
	require.Equal(t, http.StatusPartialContent, part.status)
	require.Equal(t, "789", part.body)
	require.Equal(t, http.StatusRequestedRangeNotSatisfiable,
		n.get(n.url("logs/stdout.log", false), "Range", "bytes=100-").status)
}

func TestContentOfUsersIsNeverRunByABrowser(t *testing.T) {
	n := newNode(t)
	for name, content := range map[string]string{
		"page.html": "<html><script>alert(1)</script></html>", "x.svg": `<?xml version="1.0"?><svg onload="x"/>`,
		"bin": "\x7fELF\x00\x01", "empty": "",
	} {
		n.write(name, content)
		a := n.read(name)
		require.Equal(t, content, a.body)
		require.Contains(t, []string{textType, "application/octet-stream"}, a.header.Get("Content-Type"))
		require.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"))
	}
}

func TestAStagingIsReadByItsTask(t *testing.T) {
	n := newNode(t)
	require.NoError(t, os.WriteFile(filepath.Join(n.staging, "staging.log"), []byte("-----> hello"), 0o600))
	signed := SignedURL(n.http.URL+"/", n.key, Staging, taskID, "staging.log", time.Now(), false)
	require.Contains(t, signed, "/staging_tasks/task%2F1%20%C3%A4/file_path?")
	a := n.get(signed)
	require.Equal(t, http.StatusOK, a.status)
	require.Equal(t, "-----> hello", a.body)
}

func TestWhatIsNotThere(t *testing.T) {
	n := newNode(t)
	n.write("file", "x")
	for _, path := range []string{"nothing", "file/below", "nothing/../file/x", "nul\x00byte", strings.Repeat("x", 300), strings.Repeat("a/", 9000)} {
		require.Equal(t, http.StatusNotFound, n.read(path).status, "%q", path)
	}
	for id, status := range map[string]int{
		"unknown": http.StatusNotFound, "soon": http.StatusServiceUnavailable, "vanished": http.StatusNotFound,
		"broken": http.StatusInternalServerError, "..": http.StatusNotFound, "a/b": http.StatusNotFound,
	} {
		for _, kind := range []Kind{Instance, Staging} {
			a := n.get(SignedURL(n.http.URL, n.key, kind, id, "file", time.Now(), false))
			require.Equal(t, status, a.status, "%s %s", kind, id)
			require.NotContains(t, a.body, n.base)
		}
	}
}

func TestAServerWithoutResolversKnowsNothing(t *testing.T) {
	key := []byte("key")
	server := httptest.NewServer(New(Options{Keys: [][]byte{key}}))
	defer server.Close()
	n := &node{t: t, http: server}
	require.Equal(t, http.StatusNotFound,
		n.get(SignedURL(server.URL, key, Instance, "x", "", time.Now(), false)).status)
}

func TestOnlyReadingIsAnswered(t *testing.T) {
	n := newNode(t)
	n.write("file", "x")
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		r, err := http.NewRequestWithContext(t.Context(), method, n.url("file", false), nil)
		require.NoError(t, err)
		w, err := n.http.Client().Do(r)
		require.NoError(t, err)
		require.NoError(t, w.Body.Close())
		require.Equal(t, http.StatusMethodNotAllowed, w.StatusCode)
	}
	require.FileExists(t, filepath.Join(n.instance, "file"))
	for _, tail := range []bool{false, true} {
		w, err := n.http.Client().Head(n.url("file", tail))
		require.NoError(t, err)
		require.NoError(t, w.Body.Close())
		require.Equal(t, http.StatusOK, w.StatusCode)
	}
}

func TestASignatureFitsItsURLAlone(t *testing.T) {
	n := newNode(t)
	n.write("file", "x")
	n.write("other", "y")
	good := n.url("file", false)
	require.Equal(t, http.StatusOK, n.get(good).status)
	older := SignedURL(n.http.URL, []byte("older key of the node"), Instance, instanceID, "file", time.Now(), false)
	require.Equal(t, http.StatusOK, n.get(older).status, "keys are rotated")

	later := strconv.FormatInt(time.Now().Add(time.Minute).Unix(), 10)
	staging := SignedURL(n.http.URL, n.key, Staging, instanceID, "file", time.Now(), false)
	hmac := func(signed string) string {
		u, err := url.Parse(signed)
		require.NoError(t, err)
		return u.Query().Get(paramHMAC)
	}
	for name, signed := range map[string]string{
		"another path":      n.with(good, paramPath, "other"),
		"no path":           n.without(good, paramPath),
		"another time":      n.with(good, paramTimestamp, later),
		"no time":           n.without(good, paramTimestamp),
		"no hmac":           n.without(good, paramHMAC),
		"empty hmac":        n.with(good, paramHMAC, ""),
		"no hex":            n.with(good, paramHMAC, "zz"),
		"half of it":        n.with(good, paramHMAC, hmac(good)[:64]),
		"another kind":      n.with(good, paramHMAC, hmac(staging)),
		"another instance":  strings.Replace(good, instanceID, "other", 1),
		"another key":       SignedURL(n.http.URL, []byte("x"), Instance, instanceID, "file", time.Now(), false),
		"no key":            SignedURL(n.http.URL, nil, Instance, instanceID, "file", time.Now(), false),
		"unknown, unsigned": n.http.URL + "/instance_paths/unknown?path=x",
	} {
		require.Equal(t, http.StatusUnauthorized, n.get(signed).status, name)
	}
}

func TestAnEmptyKeyLetsNobodyIn(t *testing.T) {
	var log bytes.Buffer
	n := newNode(t)
	n.http.Config.Handler = New(Options{
		Keys: [][]byte{nil, {}}, Instances: n.resolver(instanceID, n.instance),
		Log: hclog.New(&hclog.LoggerOptions{Output: &log}),
	})
	n.key = nil
	require.Equal(t, http.StatusUnauthorized, n.read("").status)
	require.Contains(t, log.String(), "no key")
}

func TestAURLLastsAnHour(t *testing.T) {
	n := newNode(t)
	n.write("file", "x")
	at := time.Now()
	signed := SignedURL(n.http.URL, n.key, Instance, instanceID, "file", at, false)
	for ahead, status := range map[time.Duration]int{
		Lifetime - 5*time.Second:  http.StatusOK,
		Lifetime + 5*time.Second:  http.StatusBadRequest,
		-maxAhead + 5*time.Second: http.StatusOK,
		-maxAhead - 5*time.Second: http.StatusBadRequest,
	} {
		n.ahead.Store(int64(ahead / time.Second))
		require.Equal(t, status, n.get(signed).status, ahead)
	}
	n.ahead.Store(0)
	// Signed by whoever has the key, but no time.
	for _, timestamp := range []string{"", "soon", "1e9", "99999999999999999999"} {
		broken := n.with(n.with(signed, paramTimestamp, timestamp), paramHMAC,
			hexSum(n.key, Instance, instanceID, "file", timestamp))
		require.Equal(t, http.StatusBadRequest, n.get(broken).status, timestamp)
	}
}

func TestSignaturesAreNotLogged(t *testing.T) {
	var log bytes.Buffer
	n := newNode(t)
	handler := New(Options{
		Keys: [][]byte{n.key}, Instances: n.resolver(instanceID, n.instance),
		Log: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Trace}),
	})
	for _, id := range []string{instanceID, "unknown", "broken"} {
		signed := SignedURL("", n.key, Instance, id, "nothing", time.Now(), false)
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, signed, nil))
		u, err := url.Parse(signed)
		require.NoError(t, err)
		require.Contains(t, log.String(), id)
		require.NotContains(t, log.String(), u.Query().Get(paramHMAC))
	}
}
