package buildpackstore_test

import (
	"archive/zip"
	"bytes"
	"context"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/internal/buildpackstore"
	"github.com/durable-dea/dea/internal/fetch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type entry struct {
	mode    fs.FileMode
	content string
}

func zipOf(t *testing.T, entries map[string]entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, e := range entries {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(e.mode)
		f, err := w.CreateHeader(h)
		require.NoError(t, err)
		_, err = f.Write([]byte(e.content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func buildpack(t *testing.T) []byte {
	t.Helper()
	return zipOf(t, map[string]entry{
		"bin/compile": {0o700, "#!/bin/sh\n"}, "bin/detect": {0o755, "#!/bin/sh\n"}, "lib/data": {0o600, "x"},
		"lib/link": {fs.ModeSymlink | 0o777, "data"},
	})
}

type server struct {
	*httptest.Server
	asked   atomic.Int32
	content atomic.Value
	gate    chan struct{}
}

func serve(t *testing.T, content []byte) *server {
	t.Helper()
	s := &server{gate: make(chan struct{})}
	s.content.Store(content)
	close(s.gate)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		select {
		case <-s.gate:
			_, _ = w.Write(s.content.Load().([]byte))
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func newStore(t *testing.T) (*buildpackstore.Store, string) {
	t.Helper()
	base := t.TempDir()
	client := fetch.New(fetch.Options{})
	t.Cleanup(client.Close)
	return buildpackstore.New(base, client), base
}

func TestEnsureFetchesOnce(t *testing.T) {
	s := serve(t, buildpack(t))
	store, base := newStore(t)
	for range 2 {
		dir, err := store.Ensure(t.Context(), "go/v1", s.URL)
		require.NoError(t, err)
		require.Equal(t, buildpackstore.Dir(base, "go/v1"), dir)
		require.Equal(t, filepath.Join(base, "admin_buildpacks"), filepath.Dir(dir))
		for name, mode := range map[string]fs.FileMode{"bin/compile": 0o755, "bin/detect": 0o755, "lib/data": 0o644} {
			info, err := os.Stat(filepath.Join(dir, name))
			require.NoError(t, err)
			require.Equal(t, mode, info.Mode().Perm(), name)
		}
		content, err := os.ReadFile(filepath.Join(dir, "lib/link"))
		require.NoError(t, err)
		require.Equal(t, "x", string(content))
	}
	require.EqualValues(t, 1, s.asked.Load())
	requireNoParts(t, base)
}

func TestManyEnsureOneDownload(t *testing.T) {
	s := serve(t, buildpack(t))
	s.gate = make(chan struct{})
	store, _ := newStore(t)
	leaving, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, err := store.Ensure(leaving, "k", s.URL); left <- err }()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, err := store.Ensure(t.Context(), "k", s.URL)
			require.NoError(t, err)
		})
	}
	leave()
	require.ErrorIs(t, <-left, context.Canceled)
	close(s.gate)
	all.Wait()
	require.LessOrEqual(t, s.asked.Load(), int32(2), "one, or a second after the first caller alone had left")
}

func TestWhatIsNoBuildpackLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		content []byte
		want    error
	}{
		"no zip":          {[]byte("<html>"), buildpackstore.ErrUnpack},
		"cut off":         {buildpack(t)[:100], buildpackstore.ErrUnpack},
		"outside":         {zipOf(t, map[string]entry{"../x": {0o644, "x"}}), buildpackstore.ErrUnpack},
		"no compile":      {zipOf(t, map[string]entry{"bin/detect": {0o755, "x"}}), buildpackstore.ErrNotBuildpack},
		"compile no file": {zipOf(t, map[string]entry{"bin/compile/x": {0o755, "x"}}), buildpackstore.ErrNotBuildpack},
		"not executable":  {zipOf(t, map[string]entry{"bin/compile": {0o644, "x"}}), buildpackstore.ErrNotBuildpack},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, c.content)
			store, base := newStore(t)
			_, err := store.Ensure(t.Context(), "k", s.URL)
			require.ErrorIs(t, err, c.want)
			require.NoDirExists(t, buildpackstore.Dir(base, "k"))
			requireNoParts(t, base)
			s.content.Store(buildpack(t))
			_, err = store.Ensure(t.Context(), "k", s.URL)
			require.NoError(t, err, "the next try begins anew")
		})
	}
}

func TestWhatADeadProcessLeftIsInNobodysWay(t *testing.T) {
	s := serve(t, buildpack(t))
	store, base := newStore(t)
	half := filepath.Join(base, "admin_buildpacks", ".parts", "k.new", "bin")
	require.NoError(t, os.MkdirAll(half, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(half, "compile"), []byte("half"), 0o755))
	dir, err := store.Ensure(t.Context(), "k", s.URL)
	require.NoError(t, err)
	content, err := os.ReadFile(filepath.Join(dir, "bin", "compile"))
	require.NoError(t, err)
	require.Equal(t, "#!/bin/sh\n", string(content))
	requireNoParts(t, base)
}

func TestStatusComesThrough(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	store, _ := newStore(t)
	_, err := store.Ensure(t.Context(), "k", s.URL)
	var answer *fetch.StatusError
	require.ErrorAs(t, err, &answer)
}

func requireNoParts(t *testing.T, base string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(base, "admin_buildpacks", ".parts"))
	require.NoError(t, err)
	require.Empty(t, entries)
}
