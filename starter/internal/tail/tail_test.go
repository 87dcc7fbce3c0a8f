package tail_test

import (
	"context"
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

	"github.com/hashicorp/go-hclog"
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
	n.url = server.URL
	return n
}

func (n *node) sign(path string, follow bool) string {
	return directory.SignedURL(n.url, key, directory.Instance, "i", path, time.Now(), follow)
}

func (n *node) follow(ctx context.Context, c *tail.Client, from int64, line func(string)) error {
	_, err := c.Follow(ctx, func() string { return n.sign("log", true) }, from, line)
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
		_, err := c.Follow(ctx, func() string { asked++; return n.sign("log", true) }, 0, got.add)
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
	}, 0, got.add)
	require.ErrorIs(t, err, tail.ErrUnreachable)
	require.EqualValues(t, len("one\n"), next)
	n.broken.Store(0)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.follow(ctx, c, next, got.add) }()
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
	_, err := c.Follow(ctx, func() string { return n.sign("missing", true) }, 0, func(string) {})
	require.ErrorIs(t, err, tail.ErrNotThere)

	forged := strings.Replace(n.sign("log", true), "hmac=", "hmac=00", 1)
	_, err = c.Follow(ctx, func() string { return forged }, 0, func(string) {})
	require.ErrorIs(t, err, tail.ErrRefused)

	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(n.dir, "link")))
	_, err = c.Follow(ctx, func() string { return n.sign("link", true) }, 0, func(string) {})
	require.ErrorIs(t, err, tail.ErrNotReadable)
	require.NotErrorIs(t, err, tail.ErrRefused, "it is no matter of keys")

	away := directory.SignedURL("http://127.0.0.1:1", key, directory.Instance, "i", "log", time.Now(), false)
	_, err = c.Last(ctx, away, 1)
	require.ErrorIs(t, err, tail.ErrUnreachable)
	require.NotContains(t, err.Error(), "hmac")
}
