package buildpackstore_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/durable-dea/dea/internal/archive"
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
	zipped := buildpack(t)
	s := serve(t, zipped)
	store, base := newStore(t)
	for n := range 2 {
		got, err := store.Ensure(t.Context(), order("go/v1", s.URL))
		require.NoError(t, err)
		dir := got.Dir
		require.Equal(t, n == 0, got.Came)
		require.Equal(t, buildpackstore.Dir(base, "go/v1"), dir)
		digest := sha256.Sum256(zipped)
		require.Equal(t, "go/v1", got.Key)
		require.Equal(t, hex.EncodeToString(digest[:]), got.SHA256)
		require.EqualValues(t, len(zipped), got.Bytes)
		require.Equal(t, 4, got.Entries)
		require.EqualValues(t, 21, got.UnpackedBytes)
		require.WithinDuration(t, time.Now(), got.Fetched, time.Minute)
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
	go func() { _, err := store.Ensure(leaving, order("k", s.URL)); left <- err }()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, err := store.Ensure(t.Context(), order("k", s.URL))
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
	const unpack, none = "cannot be unpacked", "the zip is no buildpack: it "
	program := entry{0o755, "x"}
	for name, c := range map[string]struct {
		content []byte
		want    error
		words   string
	}{
		"no zip":    {[]byte("<html>"), buildpackstore.ErrUnpack, unpack},
		"cut off":   {buildpack(t)[:100], buildpackstore.ErrUnpack, unpack},
		"outside":   {zipOf(t, map[string]entry{"../x": {0o644, "x"}}), buildpackstore.ErrUnpack, unpack},
		"too large": {zipOf(t, map[string]entry{"bin/compile": {0o755, strings.Repeat("x", 2000)}}), archive.ErrTooLarge, unpack},
		"empty":     {zipOf(t, nil), buildpackstore.ErrNotBuildpack, none + "is empty"},
		"no bin":    {zipOf(t, map[string]entry{"compile": program, "lib/x": program}), buildpackstore.ErrNotBuildpack, none + "has no directory bin"},
		"bin a file": {
			zipOf(t, map[string]entry{"bin": program}), buildpackstore.ErrNotBuildpack, none + "has a file in the place of the directory bin",
		},
		"no compile": {
			zipOf(t, map[string]entry{"bin/detect": program}), buildpackstore.ErrNotBuildpack,
			none + "has no program bin/compile, bin/finalize or bin/supply",
		},
		"compile no file": {
			zipOf(t, map[string]entry{"bin/compile/x": program}), buildpackstore.ErrNotBuildpack,
			none + "has a bin/compile that is a directory, not a program",
		},
		"compile not executable": {
			zipOf(t, map[string]entry{"bin/compile": {0o644, "x"}}), buildpackstore.ErrNotBuildpack,
			none + "has a bin/compile that is not executable",
		},
		"supply not executable": {
			zipOf(t, map[string]entry{"bin/compile": program, "bin/supply": {0o644, "x"}}), buildpackstore.ErrNotBuildpack,
			none + "has a bin/supply that is not executable",
		},
		"a link to nothing": {
			zipOf(t, map[string]entry{"bin/finalize": {fs.ModeSymlink | 0o777, "none"}}), buildpackstore.ErrNotBuildpack,
			none + "has a bin/finalize that is a link to nothing",
		},
		"of a repository": {
			zipOf(t, map[string]entry{"go-1.0/bin/compile": program, "__MACOSX/x": program}), buildpackstore.ErrNotBuildpack,
			none + `has all its files in one directory, "go-1.0", as an archive of a repository does: bin must be at the top of the zip`,
		},
		"one directory, no bin": {
			zipOf(t, map[string]entry{"go-1.0/compile": program}), buildpackstore.ErrNotBuildpack, none + "has no directory bin",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, c.content)
			store, base := newStore(t)
			o := order("k", s.URL)
			o.MaxBytes = 1000
			_, err := store.Ensure(t.Context(), o)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.words)
			require.NoDirExists(t, buildpackstore.Dir(base, "k"))
			requireNoParts(t, base)
			s.content.Store(buildpack(t))
			_, err = store.Ensure(t.Context(), order("k", s.URL))
			require.NoError(t, err, "the next try begins anew")
		})
	}
}

func TestWhatIsABuildpack(t *testing.T) {
	program := entry{0o700, "x"}
	for name, files := range map[string]map[string]entry{
		"compile": {"bin/compile": program}, "only supply": {"bin/supply": program}, "only finalize": {"bin/finalize": program},
		"all":    {"bin/compile": program, "bin/supply": program, "bin/finalize": program},
		"a link": {"bin/compile": {fs.ModeSymlink | 0o777, "../lib/run"}, "lib/run": program},
	} {
		t.Run(name, func(t *testing.T) {
			store, _ := newStore(t)
			_, err := store.Ensure(t.Context(), order("k", serve(t, zipOf(t, files)).URL))
			require.NoError(t, err)
		})
	}
}

func TestTooLargeAZip(t *testing.T) {
	s := serve(t, buildpack(t))
	store, base := newStore(t)
	o := order("k", s.URL)
	o.MaxZip = 100
	_, err := store.Ensure(t.Context(), o)
	require.ErrorIs(t, err, fetch.ErrTooLarge)
	requireNoParts(t, base)
}

func TestAllWhoWaitHearOfTheProgress(t *testing.T) {
	content := buildpack(t)
	s := serve(t, content)
	s.gate = make(chan struct{})
	store, _ := newStore(t)
	var all sync.WaitGroup
	var heard [3]atomic.Int64
	for n := range heard {
		o := order("k", s.URL)
		o.Progress = func(done, total int64) {
			if total == int64(len(content)) {
				heard[n].Store(done)
			}
		}
		all.Go(func() {
			_, err := store.Ensure(t.Context(), o)
			require.NoError(t, err)
		})
	}
	require.Eventually(t, func() bool { return buildpackstore.Hearers(store, "k") == len(heard) }, 10*time.Second, time.Millisecond)
	close(s.gate)
	all.Wait()
	for n := range heard {
		require.EqualValues(t, len(content), heard[n].Load())
	}
	require.Zero(t, buildpackstore.Hearers(store, "k"))
}

func TestStatusComesThrough(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	store, _ := newStore(t)
	_, err := store.Ensure(t.Context(), order("k", s.URL))
	var answer *fetch.StatusError
	require.ErrorAs(t, err, &answer)
}

func order(key, url string) buildpackstore.Order { return buildpackstore.Order{Key: key, URL: url} }

func requireNoParts(t *testing.T, base string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(base, "admin_buildpacks", ".parts"))
	require.NoError(t, err)
	require.Empty(t, entries)
}
