package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/api"
)

// look probes once, with a bound that no probe of a test reaches but those that are to.
func look(t *testing.T, probe Probe, timeout time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return probe.Probe(ctx)
}

const ample = 10 * time.Second

func TestPort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	probe := New(api.HealthCheck{Type: api.CheckPort}, listener.Addr().String())
	require.NoError(t, look(t, probe, ample), "nobody has to accept")
	require.NoError(t, listener.Close())
	require.Error(t, look(t, probe, ample))
}

func TestProcessIsWellByItself(t *testing.T) {
	for _, kind := range []api.CheckType{api.CheckProcess, "", "a later version's"} {
		require.NoError(t, look(t, New(api.HealthCheck{Type: kind}, ""), ample))
	}
}

func TestHTTPWantsStatus200OfItsEndpoint(t *testing.T) {
	var asked *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r
		switch r.URL.Path {
		case "/well":
			_, _ = w.Write([]byte("fine"))
		case "/moved":
			http.Redirect(w, r, "/well", http.StatusFound)
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	address := server.Listener.Addr().String()
	probe := func(endpoint string) error {
		return look(t, New(api.HealthCheck{Type: api.CheckHTTP, Endpoint: endpoint}, address), ample)
	}
	require.NoError(t, probe("/well?of=course"))
	require.Equal(t, address, asked.Host)
	require.Equal(t, "of=course", asked.URL.RawQuery)
	require.Equal(t, http.MethodGet, asked.Method)
	require.True(t, asked.Close, "no connection is kept")
	require.ErrorContains(t, probe("/sick"), "503")
	require.ErrorContains(t, probe("/empty"), "204")
	require.ErrorContains(t, probe("/moved"), "302")
	require.Equal(t, "/moved", asked.URL.Path, "a redirect is not followed")
	require.Error(t, probe("/%zz"), "no such path can be asked for")
}

// answering serves each connection raw.
func answering(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			answer(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return listener.Addr().String()
}

// A query may hold a password, and what fails a look goes to the node's log.
func TestFailedHTTPTellsNoQuery(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	for name, c := range map[string]struct{ address, endpoint, words string }{
		"nobody listens": {listener.Addr().String(), "/health?token=hunter2", "/health: .*connection refused"},
		"hangs up":       {answering(t, func(net.Conn) {}), "/health?token=hunter2", "/health: EOF"},
		"no path":        {"127.0.0.1:1", "/%zz?token=hunter2", "/%zz: invalid URL escape"},
		"echoes":         {answering(t, func(c net.Conn) { _, _ = c.Write([]byte("GET /health?token=hunter2\r\n\r\n")) }), "/health?token=hunter2", "/health: the answer cannot be read"},
		"does not answer": {
			answering(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }), "/health?token=hunter2", "/health: context deadline exceeded",
		},
	} {
		t.Run(name, func(t *testing.T) {
			timeout := ample
			if name == "does not answer" {
				timeout = 100 * time.Millisecond
			}
			err := look(t, NewHTTP(c.address, c.endpoint), timeout)
			require.Error(t, err)
			require.Regexp(t, "^GET http://127.0.0.1:[0-9]+"+c.words, err.Error())
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestHostileHTTP(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	endless := func(line string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = c.Write([]byte(ok))
			for {
				if _, err := c.Write([]byte(line)); err != nil {
					return
				}
			}
		}
	}
	silent := func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }
	for name, test := range map[string]struct {
		answer func(net.Conn)
		well   bool
	}{
		"endless headers":     {answer: endless("X-A: " + strings.Repeat("a", 100) + "\r\n")},
		"one endless header":  {answer: endless(strings.Repeat("a", 1000))},
		"endless interim":     {answer: endless("\r\nHTTP/1.1 103 Early Hints\r\n"), well: true}, // Its first answer is 200.
		"only interim":        {answer: func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 103 Early Hints\r\n\r\n")); silent(c) }},
		"silent":              {answer: silent},
		"hangs up":            {answer: func(net.Conn) {}},
		"garbage":             {answer: func(c net.Conn) { _, _ = c.Write([]byte("no http at all\r\n\r\n")) }},
		"endless body":        {answer: endless("\r\n" + strings.Repeat("b", 1000)), well: true},
		"body that never is":  {answer: func(c net.Conn) { _, _ = c.Write([]byte(ok + "Content-Length: 9\r\n\r\n")); silent(c) }, well: true},
		"body that breaks":    {answer: func(c net.Conn) { _, _ = c.Write([]byte(ok + "Content-Length: 9\r\n\r\nx")) }, well: true},
		"header after header": {answer: func(c net.Conn) { _, _ = c.Write([]byte(ok + "Content-Length: x\r\n\r\n")) }},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			err := look(t, NewHTTP(answering(t, test.answer), "/"), time.Second)
			require.Equal(t, test.well, err == nil, "%v", err)
			require.Less(t, time.Since(began), ample)
		})
	}
}

func TestHTTPLeavesAShortBodyInPeace(t *testing.T) {
	var broke atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 20 {
			if _, err := w.Write(make([]byte, 1000)); err != nil {
				broke.Store(true)
			}
		}
	}))
	defer server.Close()
	require.NoError(t, look(t, NewHTTP(server.Listener.Addr().String(), "/"), ample))
	server.Close()
	require.False(t, broke.Load())
}

// home makes a container whose home directory has the files.
func home(t *testing.T, files map[string]string) (containerPath, home string) {
	t.Helper()
	containerPath = t.TempDir()
	home = filepath.Join(containerPath, "home", "vcap")
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(home, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(home, name), []byte(text), 0o644))
	}
	require.NoError(t, os.MkdirAll(home, 0o755))
	return containerPath, home
}

func TestStateFile(t *testing.T) {
	container, dir := home(t, map[string]string{"droplet.yaml": "raw: x\nstate_file: app/state.json\n"})
	name, err := FindStateFile(container)
	require.NoError(t, err)
	require.Equal(t, "app/state.json", name)
	probe := StateFile{ContainerPath: container, Name: name}
	require.ErrorIs(t, look(t, probe, ample), os.ErrNotExist)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "app"), 0o755))
	for text, well := range map[string]bool{
		"": false, "{": false, "[]": false, `"RUNNING"`: false, `{"state":1}`: false, `{"state":"STARTING"}`: false,
		`{"state":"RUNNING"}`: true, `{"state":"RUNNING","more":[1]}`: true,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "app", "state.json"), []byte(text), 0o644))
		err := look(t, probe, ample)
		require.Equal(t, well, err == nil, "%s: %v", text, err)
	}
}

func TestDropletWithoutStateFile(t *testing.T) {
	for text, broken := range map[string]bool{
		"": false, "raw: x\n": false, "state_file:\n": false, "state_file: [a]\n": true, "{{{": true,
	} {
		container, _ := home(t, map[string]string{"droplet.yaml": text})
		name, err := FindStateFile(container)
		require.Empty(t, name, "%q", text)
		require.Equal(t, broken, err != nil, "%q: %v", text, err)
	}
	container, _ := home(t, nil)
	name, err := FindStateFile(container)
	require.NoError(t, err)
	require.Empty(t, name)
}

// TestHostileStateFiles: an app may make anything of them.
func TestHostileStateFiles(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "state")
	require.NoError(t, os.WriteFile(outside, []byte(`{"state":"RUNNING"}`), 0o644))
	for name, spoil := range map[string]func(path string) error{
		"a link out":      func(path string) error { return os.Symlink(outside, path) },
		"the password":    func(path string) error { return os.Symlink("/etc/passwd", path) },
		"a link far up":   func(path string) error { return os.Symlink("../../../../../../../../etc/passwd", path) },
		"a fifo":          func(path string) error { return unix.Mkfifo(path, 0o666) },
		"a directory":     func(path string) error { return os.Mkdir(path, 0o755) },
		"a link to self":  func(path string) error { return os.Symlink(filepath.Base(path), path) },
		"a gigabyte":      func(path string) error { return sparse(path, `{"state":"RUNNING"}`, 1<<30) },
		"a gigabyte only": func(path string) error { return sparse(path, "", 1<<30) },
	} {
		t.Run(name, func(t *testing.T) {
			container, dir := home(t, nil)
			require.NoError(t, spoil(filepath.Join(dir, "state")))
			err := look(t, StateFile{ContainerPath: container, Name: "state"}, ample)
			require.Error(t, err)
			require.NoError(t, spoil(filepath.Join(dir, "droplet.yaml")))
			_, err = FindStateFile(container)
			require.Error(t, err)
		})
	}
	container, _ := home(t, nil)
	for _, name := range []string{outside, "../../../../../.." + outside, "..", "/", ""} {
		require.Error(t, look(t, StateFile{ContainerPath: container, Name: name}, ample), "%q", name)
	}
}

func sparse(path, text string, size int64) error {
	return errors.Join(os.WriteFile(path, []byte(text), 0o644), os.Truncate(path, size))
}

func TestOwnFaults(t *testing.T) {
	require.False(t, ownFault(errors.New("x")))
	require.False(t, ownFault(unix.ECONNREFUSED))
	require.True(t, ownFault(fmt.Errorf("x: %w", &net.OpError{Op: "dial", Err: os.NewSyscallError("socket", unix.EMFILE)})))
}
