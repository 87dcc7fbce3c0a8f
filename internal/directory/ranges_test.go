package directory

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRangesOfAFile(t *testing.T) {
	n := newNode(t)
	n.write("file", "0123456789")
	n.write("empty", "")
	for asked, want := range map[string]struct {
		status int
		body   string
	}{
		"bytes=0-3": {http.StatusPartialContent, "0123"}, "bytes=8-": {http.StatusPartialContent, "89"},
		"bytes=-3": {http.StatusPartialContent, "789"}, "bytes=-100": {http.StatusPartialContent, "0123456789"},
		"bytes=5-1000": {http.StatusPartialContent, "56789"},
		// More bytes than the file has: it is sent as a whole, once.
		"bytes=0-5,0-5": {http.StatusOK, "0123456789"}, "bytes=0-,0-,0-": {http.StatusOK, "0123456789"},
		// A unit that is not known.
		"lines=1-2": {http.StatusOK, "0123456789"},
	} {
		a := n.get(n.url("file", false), "Range", asked)
		require.Equal(t, want.status, a.status, asked)
		require.Equal(t, want.body, a.body, asked)
		require.Equal(t, "bytes", a.header.Get("Accept-Ranges"))
	}
	for _, unmet := range []string{"bytes=10-", "bytes=4-2", "bytes=x"} {
		require.Equal(t, http.StatusRequestedRangeNotSatisfiable, n.get(n.url("file", false), "Range", unmet).status, unmet)
	}
}

func TestSeveralRangesOfAFile(t *testing.T) {
	n := newNode(t)
	n.write("file", "0123456789")
	a := n.get(n.url("file", false), "Range", "bytes=0-1,4-4,-2")
	require.Equal(t, http.StatusPartialContent, a.status)
	kind, params, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	require.NoError(t, err)
	require.Equal(t, "multipart/byteranges", kind)
	var parts []string
	for reader := multipart.NewReader(strings.NewReader(a.body), params["boundary"]); ; {
		part, err := reader.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.Equal(t, textType, part.Header.Get("Content-Type"))
		body, err := io.ReadAll(part)
		require.NoError(t, err)
		parts = append(parts, part.Header.Get("Content-Range")+" "+string(body))
	}
	require.Equal(t, []string{"bytes 0-1/10 01", "bytes 4-4/10 4", "bytes 8-9/10 89"}, parts)
}

// TestRangesAreBounded: each part costs more than the bytes that ask for it.
func TestRangesAreBounded(t *testing.T) {
	n := newNode(t)
	n.write("file", strings.Repeat("x", 10_000))
	ranges := func(count int) string { return "bytes=" + strings.TrimSuffix(strings.Repeat("1-1,", count), ",") }
	require.Equal(t, http.StatusPartialContent, n.get(n.url("file", false), "Range", ranges(maxRanges)).status)
	for _, count := range []int{maxRanges + 1, 5000} {
		a := n.get(n.url("file", false), "Range", ranges(count))
		require.Equal(t, http.StatusRequestedRangeNotSatisfiable, a.status)
		require.Contains(t, a.body, "at most 16 ranges")
	}
}

func TestConditionalRequests(t *testing.T) {
	n := newNode(t)
	n.write("file", "0123456789")
	then := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(filepath.Join(n.instance, "file"), then, then))
	signed := n.url("file", false)
	first := n.get(signed)
	tag, modified := first.header.Get("ETag"), first.header.Get("Last-Modified")
	require.NotEmpty(t, tag)
	require.NotEmpty(t, modified)
	unchanged := func(header ...string) int { return n.get(signed, header...).status }
	require.Equal(t, http.StatusNotModified, unchanged("If-None-Match", tag))
	require.Equal(t, http.StatusNotModified, unchanged("If-Modified-Since", modified))
	require.Equal(t, http.StatusOK, unchanged("If-None-Match", `"other"`))
	require.Equal(t, http.StatusOK, unchanged("If-Match", tag))
	require.Equal(t, http.StatusPreconditionFailed, unchanged("If-Match", `"other"`))
	require.Equal(t, http.StatusPreconditionFailed, unchanged("If-Unmodified-Since", then.Add(-time.Hour).UTC().Format(http.TimeFormat)))
	require.Equal(t, "789", n.get(signed, "Range", "bytes=7-", "If-Range", tag).body)

	// The same size within the same second is another file all the same.
	n.write("file", "abcdefghij")
	require.NoError(t, os.Chtimes(filepath.Join(n.instance, "file"), then, then.Add(time.Microsecond)))
	require.Equal(t, "abcdefghij", n.get(signed, "Range", "bytes=7-", "If-Range", tag).body, "it changed: all of it")
	require.Equal(t, http.StatusOK, unchanged("If-None-Match", tag))
}

// TestHeadSaysWhatGetWould, and sends nothing.
func TestHeadSaysWhatGetWould(t *testing.T) {
	n := newNode(t)
	n.write("file", "0123456789")
	for _, signed := range []string{
		n.url("file", false), n.url("", false), n.with(n.url("", false), paramFormat, "json"),
		n.with(n.url("", false), paramFormat, "html"), n.url("nothing", false), n.url("..", false),
	} {
		get := n.get(signed)
		head, err := n.http.Client().Head(signed)
		require.NoError(t, err)
		body, err := io.ReadAll(head.Body)
		require.NoError(t, err)
		require.NoError(t, head.Body.Close())
		require.Empty(t, body)
		require.Equal(t, get.status, head.StatusCode)
		for _, name := range []string{"Content-Type", "Content-Length", "ETag", "Last-Modified", "Content-Security-Policy"} {
			require.Equal(t, get.header.Get(name), head.Header.Get(name), name)
		}
	}
	require.NotEmpty(t, n.get(n.url("file", false)).header.Get("Content-Security-Policy"))

	// Ranges are GET's alone.
	request, err := http.NewRequestWithContext(t.Context(), http.MethodHead, n.url("file", false), nil)
	require.NoError(t, err)
	request.Header.Set("Range", "bytes=0-3")
	head, err := n.http.Client().Do(request)
	require.NoError(t, err)
	require.NoError(t, head.Body.Close())
	require.Equal(t, http.StatusOK, head.StatusCode)
	require.EqualValues(t, 10, head.ContentLength)
}
