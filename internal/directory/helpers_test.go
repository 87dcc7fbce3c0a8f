package directory

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	instanceID = "0f3c-instance"
	taskID     = "task/1 ä"
)

// patience is how long a test waits for what should take milliseconds.
const patience = 10 * time.Second

// node is a directory server with one instance and one staging.
type node struct {
	t *testing.T
	// base holds the directories, and what is none of the clients' business.
	base, instance, staging string
	key                     []byte
	http                    *httptest.Server
	// ahead is how many seconds the node's clock is ahead.
	ahead atomic.Int64
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, base: t.TempDir(), key: []byte("current key of the node")}
	n.instance, n.staging = filepath.Join(n.base, "box"), filepath.Join(n.base, "staging", "out")
	require.NoError(t, os.MkdirAll(n.instance, 0o755))
	require.NoError(t, os.MkdirAll(n.staging, 0o755))
	n.http = httptest.NewServer(New(Options{
		Keys:      [][]byte{n.key, []byte("older key of the node")},
		Instances: n.resolver(instanceID, n.instance),
		Stagings:  n.resolver(taskID, n.staging),
		Now:       func() time.Time { return time.Now().Add(time.Duration(n.ahead.Load()) * time.Second) },
	}))
	t.Cleanup(n.http.Close)
	return n
}

func (n *node) resolver(known, place string) Resolver {
	return func(_ context.Context, id string) (Place, error) {
		switch id {
		case known:
			return At(place), nil
		case "soon":
			return Place{}, fmt.Errorf("resolve: %w", ErrNotYet)
		case "broken":
			return Place{}, fmt.Errorf("a fault at %s", n.base)
		case "over":
			return Kept(place), nil
		case "vanished":
			return At(filepath.Join(n.base, "vanished")), nil
		default:
			return Place{}, fmt.Errorf("resolve: %w", ErrUnknown)
		}
	}
}

func (n *node) write(name, content string) {
	n.t.Helper()
	file := filepath.Join(n.instance, name)
	require.NoError(n.t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(n.t, os.WriteFile(file, []byte(content), 0o600))
}

func (n *node) append(name, content string) {
	n.t.Helper()
	f, err := os.OpenFile(filepath.Join(n.instance, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(n.t, err)
	_, err = f.WriteString(content)
	require.NoError(n.t, err)
	require.NoError(n.t, f.Close())
}

func (n *node) url(path string, tail bool) string {
	return SignedURL(n.http.URL, n.key, Instance, instanceID, path, time.Now(), tail)
}

// answered is a response that was read whole.
type answered struct {
	status int
	header http.Header
	body   string
	// trailer is what came after the body.
	trailer http.Header
}

func (n *node) get(url string, header ...string) answered {
	n.t.Helper()
	r, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, url, nil)
	require.NoError(n.t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w, err := n.http.Client().Do(r)
	require.NoError(n.t, err)
	defer func() { _ = w.Body.Close() }()
	body, err := io.ReadAll(w.Body)
	require.NoError(n.t, err)
	return answered{w.StatusCode, w.Header, string(body), w.Trailer}
}

// read gets a path of the instance.
func (n *node) read(path string) answered {
	n.t.Helper()
	return n.get(n.url(path, false))
}

// with changes a parameter of a URL.
func (n *node) with(signed, name, value string) string {
	n.t.Helper()
	u, err := url.Parse(signed)
	require.NoError(n.t, err)
	query := u.Query()
	query.Set(name, value)
	u.RawQuery = query.Encode()
	return u.String()
}

// without drops a parameter of a URL.
func (n *node) without(signed, name string) string {
	n.t.Helper()
	u, err := url.Parse(signed)
	require.NoError(n.t, err)
	query := u.Query()
	query.Del(name)
	u.RawQuery = query.Encode()
	return u.String()
}

// follower reads what a tail sends.
type follower struct {
	t      *testing.T
	cancel context.CancelFunc
	pieces chan string
	ended  chan struct{}
}

func (n *node) follow(url string) *follower {
	n.t.Helper()
	ctx, cancel := context.WithCancel(n.t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(n.t, err)
	w, err := n.http.Client().Do(r) //nolint:bodyclose // The goroutine below does.
	require.NoError(n.t, err)
	require.Equal(n.t, http.StatusOK, w.StatusCode)
	f := &follower{t: n.t, cancel: cancel, pieces: make(chan string, 1000), ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		defer func() { _ = w.Body.Close() }()
		body := bufio.NewReader(w.Body)
		for {
			line, err := body.ReadString('\n')
			if line != "" {
				f.pieces <- line
			}
			if err != nil {
				return
			}
		}
	}()
	n.t.Cleanup(func() {
		cancel()
		<-f.ended
	})
	return f
}

// expect waits for the next lines.
func (f *follower) expect(lines ...string) {
	f.t.Helper()
	for _, want := range lines {
		select {
		case got := <-f.pieces:
			require.Equal(f.t, want, got)
		case <-time.After(patience):
			require.Failf(f.t, "nothing came", "waiting for %q", want)
		}
	}
}

// expectEnd waits for the tail to end without having sent more.
func (f *follower) expectEnd() {
	f.t.Helper()
	select {
	case <-f.ended:
		require.Empty(f.t, f.pieces)
	case <-time.After(patience):
		require.Fail(f.t, "the tail goes on")
	}
}
