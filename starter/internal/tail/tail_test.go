package tail_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/internal/directory"
	"github.com/durable-dea/dea/starter/internal/tail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var key = []byte("0123456789abcdef0123456789abcdef")

// node is a real directory server over one directory; broken counts connections to cut after the first bytes.
type node struct {
	dir    string
	url    string
	server *httptest.Server
	broken atomic.Int32
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{dir: filepath.Join(t.TempDir(), "files")}
	require.NoError(t, os.Mkdir(n.dir, 0o755))
	handler := directory.New(directory.Options{
		Keys: [][]byte{key}, Log: hclog.NewNullLogger(),
		Instances: func(context.Context, string) (directory.Place, error) { return directory.At(n.dir), nil },
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.broken.Add(-1) >= 0 {
			w = &cut{ResponseWriter: w, left: 10}
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	n.url, n.server = server.URL, server
	return n
}

func (n *node) sign(path string, follow bool) string {
	return directory.SignedURL(n.url, key, directory.Instance, "i", path, time.Now(), follow)
}

func (n *node) follow(ctx context.Context, c *tail.Client, from int64, line func(string)) error {
	_, err := c.Follow(ctx, func() string { return n.sign("log", true) }, tail.Position{Offset: from}, line)
	return err
}

func (n *node) append(t *testing.T, text string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(n.dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = f.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// cut ends the connection in the middle of an answer.
type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *cut) Write(p []byte) (int, error) {
	if len(p) <= c.left {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	_, _ = c.ResponseWriter.Write(p[:c.left])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

type lines struct {
	sync.Mutex
	all []string
}

func (l *lines) add(s string) {
	l.Lock()
	defer l.Unlock()
	l.all = append(l.all, s)
}

func (l *lines) has(want ...string) func() bool {
	return func() bool {
		l.Lock()
		defer l.Unlock()
		return strings.Join(l.all, "|") == strings.Join(want, "|")
	}
}

func TestFollowUntilTheDirectoryGoes(t *testing.T) {
	n := newNode(t)
	n.append(t, "one\ntw")
	c := tail.New()
	defer c.Close()
	var got lines
	done := make(chan error, 1)
	go func() { done <- n.follow(context.Background(), c, 0, got.add) }()
	require.Eventually(t, got.has("one"), 5*time.Second, 5*time.Millisecond)
	n.append(t, "o\nthree\nlast")
	require.Eventually(t, got.has("one", "two", "three"), 5*time.Second, 5*time.Millisecond)
	require.NoError(t, os.RemoveAll(n.dir))
	require.NoError(t, <-done)
	require.True(t, got.has("one", "two", "three", "last")(), got.all)
}

func TestFollowGoesOnWhereAConnectionBroke(t *testing.T) {
	n := newNode(t)
	var want []string
	for i := range 10 {
		want = append(want, fmt.Sprintf("line number %d", i))
	}
	n.append(t, strings.Join(want, "\n")+"\n")
	n.broken.Store(3)
	c := tail.New()
	defer c.Close()
	var got lines
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.follow(ctx, c, 0, got.add) }()
	require.Eventually(t, got.has(want...), 5*time.Second, 5*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

// TestFollowGoesOnThroughRotationsAndBrokenConnections: an offset counts in one file, and what was read in all of them.
func TestFollowGoesOnThroughRotationsAndBrokenConnections(t *testing.T) {
	n := newNode(t)
	n.append(t, "one\ntwo\n")
	c := tail.New()
	defer c.Close()
	var got lines
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	log := filepath.Join(n.dir, "log")
	go func() { done <- n.follow(ctx, c, 0, got.add) }()
	want := []string{"one", "two"}
	require.Eventually(t, got.has(want...), 30*time.Second, 5*time.Millisecond)
	for i := range 3 {
		name := fmt.Sprintf("three %d", i)
		if i < 2 {
			require.NoError(t, os.Rename(log, log+".1"))
		} else {
			require.NoError(t, os.Truncate(log, 0))
		}
		n.append(t, name+"\n")
		want = append(want, name)
		require.Eventually(t, got.has(want...), 30*time.Second, 5*time.Millisecond)
		n.server.CloseClientConnections()
		long := fmt.Sprintf("four %d, which is longer than all that was before", i)
		n.append(t, long+"\n")
		want = append(want, long)
		require.Eventually(t, got.has(want...), 30*time.Second, 5*time.Millisecond)
	}
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

// withoutTrailers passes a node's answers on as many a proxy does.
func withoutTrailers(t *testing.T, to string) *httptest.Server {
	t.Helper()
	transport := &http.Transport{}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := http.NewRequestWithContext(r.Context(), r.Method, to+r.URL.RequestURI(), nil)
		if !assert.NoError(t, err) {
			return
		}
		answer, err := transport.RoundTrip(request)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer answer.Body.Close()
		answer.Header.Del("Trailer")
		maps.Copy(w.Header(), answer.Header)
		w.WriteHeader(answer.StatusCode)
		for buffer := make([]byte, 100); err == nil; _ = http.NewResponseController(w).Flush() {
			var n int
			n, err = answer.Body.Read(buffer)
			_, _ = w.Write(buffer[:n])
		}
		if !errors.Is(err, io.EOF) {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(func() { proxy.Close(); transport.CloseIdleConnections() })
	return proxy
}

// TestFollowThroughAProxyWithoutTrailers goes on after a rotation, and ends with the directory.
func TestFollowThroughAProxyWithoutTrailers(t *testing.T) {
	n := newNode(t)
	n.url = withoutTrailers(t, n.url).URL
	n.append(t, "one\n")
	c := tail.New()
	defer c.Close()
	var got lines
	done := make(chan error, 1)
	go func() { done <- n.follow(context.Background(), c, 0, got.add) }()
	require.Eventually(t, got.has("one"), 30*time.Second, 5*time.Millisecond)
	log := filepath.Join(n.dir, "log")
	require.NoError(t, os.Rename(log, log+".1"))
	n.append(t, "two, of another file\n")
	require.Eventually(t, got.has("one", "two, of another file"), 30*time.Second, 5*time.Millisecond)
	require.NoError(t, os.Truncate(log, 0))
	n.append(t, "three\n")
	require.Eventually(t, got.has("one", "two, of another file", "three"), 30*time.Second, 5*time.Millisecond)
	require.NoError(t, os.RemoveAll(n.dir))
	require.NoError(t, <-done)
}

// TestFollowTakesAllOfAFileThatCameWhileItWasAway.
func TestFollowTakesAllOfAFileThatCameWhileItWasAway(t *testing.T) {
	n := newNode(t)
	n.append(t, "one\nhalf")
	c := tail.New()
	defer c.Close()
	var got lines
	follow := func(ctx context.Context, from tail.Position) tail.Position {
		next, err := c.Follow(ctx, func() string { return n.sign("log", true) }, from, got.add)
		assert.ErrorIs(t, err, context.Canceled)
		return next
	}
	ctx, cancel := context.WithCancel(context.Background())
	next := make(chan tail.Position, 1)
	go func() { next <- follow(ctx, tail.Position{}) }()
	require.Eventually(t, got.has("one"), 30*time.Second, 5*time.Millisecond)
	cancel()
	at := <-next
	require.NotEmpty(t, at.File)
	log := filepath.Join(n.dir, "log")
	require.NoError(t, os.Rename(log, log+".1"))
	n.append(t, "two is longer than one\n")
	ctx, cancel = context.WithCancel(context.Background())
	go func() { next <- follow(ctx, at) }()
	require.Eventually(t, got.has("one", "half", "two is longer than one"), 30*time.Second, 5*time.Millisecond)
	cancel()
	<-next
}

// TestFollowSignsAnew: a connection that breaks after the first URL's lifetime goes on with a URL of now.
func TestFollowSignsAnew(t *testing.T) {
	n := newNode(t)
	n.append(t, "0123456789\nsecond\n")
	n.broken.Store(1)
	c := tail.New()
	defer c.Close()
	var got lines
	ctx, cancel := context.WithCancel(context.Background())
	asked := 0
	done := make(chan error, 1)
	go func() {
		_, err := c.Follow(ctx, func() string { asked++; return n.sign("log", true) }, tail.Position{}, got.add)
		done <- err
	}()
	require.Eventually(t, got.has("0123456789", "second"), 5*time.Second, 5*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Equal(t, 2, asked)
}

// TestFollowTellsWhereToGoOn: what a node said before it went away is neither lost nor said twice when it is back.
func TestFollowTellsWhereToGoOn(t *testing.T) {
	n := newNode(t)
	n.append(t, "one\nunfinished and cut off\n")
	n.broken.Store(1000)
	c := tail.New()
	defer c.Close()
	var got lines
	sign := func() string { return n.sign("log", true) }
	// Ten bytes a connection: the tries last until nothing new comes.
	next, err := c.Follow(context.Background(), func() string {
		if got.has("one")() {
			return directory.SignedURL("http://127.0.0.1:1", key, directory.Instance, "i", "log", time.Now(), true)
		}
		return sign()
	}, tail.Position{}, got.add)
	require.ErrorIs(t, err, tail.ErrUnreachable)
	require.EqualValues(t, len("one\n"), next.Offset)
	n.broken.Store(0)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.follow(ctx, c, next.Offset, got.add) }()
	require.Eventually(t, got.has("one", "unfinished and cut off"), 5*time.Second, 5*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

func TestLast(t *testing.T) {
	n := newNode(t)
	n.append(t, strings.Repeat("x", 300<<10)+"\n")
	for i := range 51 {
		n.append(t, fmt.Sprintf("line %d\n", i))
	}
	c := tail.New()
	defer c.Close()
	got, err := c.Last(context.Background(), n.sign("log", false), 3)
	require.NoError(t, err)
	require.Equal(t, []string{"line 48", "line 49", "line 50"}, got.Lines)

	all, err := c.Last(context.Background(), n.sign("log", false), 1000)
	require.NoError(t, err)
	require.Len(t, all.Lines, 51, "the line that was read from its middle is left out")
}

func TestLastOfAnEmptyFile(t *testing.T) {
	n := newNode(t)
	n.append(t, "")
	c := tail.New()
	defer c.Close()
	got, err := c.Last(context.Background(), n.sign("log", false), 3)
	require.NoError(t, err)
	require.Empty(t, got.All())
}

func TestFollowFromWhereTheEndWas(t *testing.T) {
	n := newNode(t)
	n.append(t, "one\ntwo\nthr")
	c := tail.New()
	defer c.Close()
	end, err := c.Last(context.Background(), n.sign("log", false), 1)
	require.NoError(t, err)
	require.Equal(t, tail.End{Lines: []string{"two"}, Partial: "thr", Offset: 8}, end)
	require.Equal(t, []string{"two", "thr"}, end.All())
	var got lines
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.follow(ctx, c, end.Offset, got.add) }()
	n.append(t, "ee\nfour\n")
	require.Eventually(t, got.has("three", "four"), 5*time.Second, 5*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

func TestErrors(t *testing.T) {
	n := newNode(t)
	c := tail.New()
	defer c.Close()
	ctx := context.Background()
	_, err := c.Follow(ctx, func() string { return n.sign("missing", true) }, tail.Position{}, func(string) {})
	require.ErrorIs(t, err, tail.ErrNotThere)

	forged := strings.Replace(n.sign("log", true), "hmac=", "hmac=00", 1)
	_, err = c.Follow(ctx, func() string { return forged }, tail.Position{}, func(string) {})
	require.ErrorIs(t, err, tail.ErrRefused)

	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(n.dir, "link")))
	_, err = c.Follow(ctx, func() string { return n.sign("link", true) }, tail.Position{}, func(string) {})
	require.ErrorIs(t, err, tail.ErrNotReadable)
	require.NotErrorIs(t, err, tail.ErrRefused, "it is no matter of keys")

	away := directory.SignedURL("http://127.0.0.1:1", key, directory.Instance, "i", "log", time.Now(), false)
	_, err = c.Last(ctx, away, 1)
	require.ErrorIs(t, err, tail.ErrUnreachable)
	require.NotContains(t, err.Error(), "hmac")
}

// TestLongLinesAreCutBetweenCharacters: each part is UTF-8 where the line is.
func TestLongLinesAreCutBetweenCharacters(t *testing.T) {
	n := newNode(t)
	line := "x" + strings.Repeat("\u20ac", 50_000)
	n.append(t, line+"\n")
	c := tail.New()
	defer c.Close()
	end, err := c.Last(t.Context(), n.sign("log", false), 10)
	require.NoError(t, err)
	require.Len(t, end.Lines, 3)
	for _, part := range end.Lines {
		require.True(t, utf8.ValidString(part))
	}
	require.Equal(t, line, strings.Join(end.Lines, ""))
}
