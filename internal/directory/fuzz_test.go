package directory

import (
	"bufio"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hidden is what no fuzzer may find: no text of the server's own holds it.
const hidden = "c0ffee-hidden-5ec2e7"

// fuzzTime is when all fuzzing happens: its processes begin at times of their own, and sign the same.
var fuzzTime = time.Unix(1_800_000_000, 0)

// fuzzed is a handler over an instance that is over, so that a tail ends, with secrets all around it.
func fuzzed(t testing.TB) (handler http.Handler, key []byte) {
	t.Helper()
	base := t.TempDir()
	box := filepath.Join(base, "box")
	for name, content := range map[string]string{
		"key": hidden, "box-other/key": hidden, "boxkey": hidden, "box/file": "inside", "box/sub/file": "inside",
	} {
		file := filepath.Join(base, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	}
	for link, target := range map[string]string{
		"up": "..", "out": "../key", "abs": base, "near": "../box-other", "in": "sub", "loop": "loop", "proc": "/proc/self",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(box, link)))
	}
	key = []byte("the key of the node")
	known := (&node{base: base}).resolver(instanceID, box)
	return New(Options{
		Keys: [][]byte{key}, Instances: known, Stagings: known, Now: func() time.Time { return fuzzTime },
	}), key
}

// fair checks what is true of every answer.
func fair(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	require.NotContains(t, w.Body.String(), hidden)
	require.NotContains(t, w.Header().Get("Location"), hidden)
	require.Less(t, w.Code, http.StatusInternalServerError, w.Body.String())
	if kind := w.Header().Get("Content-Type"); strings.HasPrefix(kind, "text/html") && w.Code == http.StatusOK {
		require.Equal(t, pagePolicy, w.Header().Get("Content-Security-Policy"))
		require.NotContains(t, strings.ToLower(w.Body.String()), "<script")
	}
}

// FuzzPath: whatever path is signed, in whatever way it is read, the answer is none of what lies outside, and no fault.
func FuzzPath(f *testing.F) {
	handler, key := fuzzed(f)
	for _, path := range []string{
		"", "/", "file", "sub/file", "../key", "..", "up/key", "out", "abs/key", "near/key", "in/file", "loop", "sub/../../key",
		"%2e%2e/key", `..\key`, "\x00", "..\x00/key", "\xc0\xae\xc0\xae/key", "proc/environ", "../boxkey", "../box-other/key",
		strings.Repeat("a/", 20), "in/../up/key", "./..//../etc/passwd", "file/", "file/..",
		"sub/./file", "//etc/passwd",
	} {
		f.Add(path, "", "", "text/html")
		f.Add(path, "0", "bytes=0-1,1-2", "application/json")
	}
	f.Fuzz(func(t *testing.T, path, offset, ranges, accept string) {
		for _, kind := range []Kind{Instance, Staging} {
			// "over" ends each tail with the file.
			for _, tail := range []bool{false, true} {
				target, err := url.Parse(SignedURL("", key, kind, "over", path, fuzzTime, tail))
				require.NoError(t, err)
				query := target.Query()
				query.Set(paramTailOffset, offset)
				target.RawQuery = query.Encode()
				r := httptest.NewRequest(http.MethodGet, target.String(), nil)
				r.Header = http.Header{"Range": {ranges}, "Accept": {accept}}
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				fair(t, w)
				require.NotEqual(t, http.StatusUnauthorized, w.Code, "what is signed is taken as it was signed")
			}
		}
	})
}

// FuzzRequest: whatever a client without a signature asks for, it gets nothing of any directory.
func FuzzRequest(f *testing.F) {
	handler, _ := fuzzed(f)
	for _, target := range []string{
		"/", "/instance_paths/over?path=file&timestamp=1&hmac=00", "/instance_paths/..%2f..?path=key", "/stats", "//x",
		"/staging_tasks/over/file_path?path=..%2fkey", "/instance_paths/%2e%2e/%2e%2e", "/instance_paths/over?path=a;hmac=b",
		"http://x/instance_paths/over?tail", "/stats/instances/a%00b", "*", "/instance_paths/over?hmac=%zz",
	} {
		f.Add("GET", target, "Range: bytes=0-")
	}
	f.Fuzz(func(t *testing.T, method, target, header string) {
		text := method + " " + target + " HTTP/1.1\r\nHost: node\r\n" + header + "\r\n\r\n"
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return // no server hands that on
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		require.NotContains(t, w.Body.String(), hidden)
		require.NotContains(t, w.Body.String(), "inside")
		require.NotEqual(t, http.StatusOK, w.Code)
		require.Less(t, w.Code, http.StatusInternalServerError)
	})
}

// FuzzSignature: a URL is good for what was signed, and any other query in its place is refused.
func FuzzSignature(f *testing.F) {
	handler, key := fuzzed(f)
	signed, err := url.Parse(SignedURL("", key, Instance, "over", "file", fuzzTime, false))
	require.NoError(f, err)
	good := signed.Query()
	f.Add("/instance_paths/over", signed.RawQuery)
	f.Add("/instance_paths/over", signed.RawQuery+"&path=sub")
	f.Add("/instance_paths/over", "path=sub&"+signed.RawQuery)
	f.Add("/instance_paths/over", strings.Replace(signed.RawQuery, "file", "..%2fkey", 1))
	f.Add("/instance_paths/over", strings.ToUpper(signed.RawQuery))
	f.Add("/instance_paths/other", signed.RawQuery)
	f.Add("/instance_paths/over/", signed.RawQuery)
	f.Add("/staging_tasks/over/file_path", signed.RawQuery)
	f.Add("/stats/instances/over", signed.RawQuery)
	f.Fuzz(func(t *testing.T, path, query string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL = &url.URL{Path: path, RawQuery: query}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fair(t, w)
		asked := r.URL.Query()
		same := path == "/instance_paths/over" && asked.Get(paramPath) == "file" &&
			asked.Get(paramTimestamp) == good.Get(paramTimestamp) && bytesOf(asked.Get(paramHMAC)) == bytesOf(good.Get(paramHMAC))
		if !same {
			require.NotEqual(t, http.StatusOK, w.Code, w.Body.String())
		}
	})
}

// bytesOf are what a text in hex means: capitals are as good.
func bytesOf(text string) string {
	raw, err := hex.DecodeString(text)
	if err != nil {
		return "no hex: " + text
	}
	return string(raw)
}
