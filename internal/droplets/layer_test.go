package droplets_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-dea/dea/internal/archive"
	"github.com/durable-dea/dea/internal/droplets"
)

// vcap is somebody whom this process can give files to.
func vcap() droplets.Owner {
	if os.Geteuid() == 0 {
		return droplets.Owner{UID: 2000, GID: 2001}
	}
	return droplets.Owner{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
}

// tarball is a tar.gz of entries, whose content is data where they have a size, and its SHA-1.
func tarball(t *testing.T, entries ...tar.Header) (content []byte, digest string) {
	t.Helper()
	var out bytes.Buffer
	deflated := gzip.NewWriter(&out)
	writer := tar.NewWriter(deflated)
	for _, entry := range entries {
		require.NoError(t, writer.WriteHeader(&entry))
		_, err := writer.Write(bytes.Repeat([]byte("x"), int(entry.Size)))
		require.NoError(t, err)
	}
	require.NoError(t, errors.Join(writer.Close(), deflated.Close()))
	sum := sha1.Sum(out.Bytes())
	return out.Bytes(), hex.EncodeToString(sum[:])
}

// cache is a store with a droplet of these entries in it.
func cache(t *testing.T, entries ...tar.Header) (store *droplets.Store, base, digest string) {
	t.Helper()
	base = t.TempDir()
	store = droplets.New(base)
	return store, base, add(t, store, entries...)
}

func add(t *testing.T, store *droplets.Store, entries ...tar.Header) string {
	t.Helper()
	content, digest := tarball(t, entries...)
	part, err := store.Part(digest)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(part, content, 0o600))
	require.NoError(t, store.Move(digest, part))
	return digest
}

func app() []tar.Header {
	return []tar.Header{
		{Typeflag: tar.TypeDir, Name: "app/", Mode: 0o755},
		{Typeflag: tar.TypeReg, Name: "app/run", Mode: 0o6755, Size: 5000},
		{Typeflag: tar.TypeLink, Name: "app/again", Linkname: "app/run"},
		{Typeflag: tar.TypeReg, Name: "app/secret", Mode: 0o600, Size: 1},
		{Typeflag: tar.TypeDir, Name: "app/closed/", Mode: 0},
		{Typeflag: tar.TypeSymlink, Name: "app/out", Linkname: "/etc/passwd"},
		{Typeflag: tar.TypeReg, Name: "staging_info.yml", Mode: 0o644, Size: 10},
	}
}

func TestLayerIsWhatAnInstanceSees(t *testing.T) {
	store, _, sha1 := cache(t, app()...)
	defer syscall.Umask(syscall.Umask(0o077))
	layer, err := store.Layer(t.Context(), sha1, vcap(), droplets.Room{})
	require.NoError(t, err)
	require.True(t, layer.Made)
	require.Equal(t, 9, layer.Entries, "home, app, run, secret, closed, out, logs, tmp, staging_info.yml: a second name counts once")
	modes := map[string]fs.FileMode{
		"app": fs.ModeSymlink | 0o777, "home": fs.ModeDir | 0o755, "home/vcap": fs.ModeDir | 0o755,
		"home/vcap/app": fs.ModeDir | 0o755, "home/vcap/logs": fs.ModeDir | 0o755, "home/vcap/tmp": fs.ModeDir | 0o755,
		"home/vcap/app/run": 0o755, "home/vcap/app/again": 0o755, "home/vcap/app/secret": 0o600,
		"home/vcap/app/closed": fs.ModeDir | 0o700, "home/vcap/app/out": fs.ModeSymlink | 0o777, "home/vcap/staging_info.yml": 0o644,
	}
	seen := map[string]fs.FileMode{}
	require.NoError(t, filepath.WalkDir(layer.Dir, func(path string, entry fs.DirEntry, err error) error {
		require.NoError(t, err)
		name, err := filepath.Rel(layer.Dir, path)
		require.NoError(t, err)
		info, err := entry.Info()
		require.NoError(t, err)
		owner := info.Sys().(*syscall.Stat_t)
		switch name {
		case ".", "home", "app":
			require.EqualValues(t, os.Geteuid(), owner.Uid, name)
		default:
			given := droplets.Owner{UID: owner.Uid, GID: owner.Gid}
			require.Equal(t, vcap(), given, name)
		}
		if name != "." {
			seen[name] = info.Mode()
		}
		return nil
	}))
	require.Equal(t, modes, seen)
	to, err := os.Readlink(filepath.Join(layer.Dir, "app"))
	require.NoError(t, err)
	require.Equal(t, "/home/vcap/app", to)
	outside, err := os.Stat("/etc/passwd")
	require.NoError(t, err)
	require.Zero(t, outside.Sys().(*syscall.Stat_t).Uid, "what a link leads to is left alone")

	again, err := store.Layer(t.Context(), sha1, vcap(), droplets.Room{})
	require.NoError(t, err)
	require.False(t, again.Made)
	require.Equal(t, layer.Dir, again.Dir)
}

func TestManyAskForOneLayer(t *testing.T) {
	store, _, sha1 := cache(t, app()...)
	made := make(chan os.FileInfo, 16)
	var all sync.WaitGroup
	for n := range cap(made) {
		all.Go(func() {
			layer, err := store.Layer(t.Context(), sha1, vcap(), droplets.Room{Bytes: int64(1+n%2) << 20})
			if err != nil {
				t.Error(err)
				return
			}
			info, err := os.Stat(layer.Dir)
			if err != nil {
				t.Error(err)
				return
			}
			made <- info
		})
	}
	all.Wait()
	close(made)
	first := <-made
	for info := range made {
		require.True(t, os.SameFile(first, info), "it was unpacked once")
	}
}

func TestLayerOfAnotherOwnerIsAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files to others")
	}
	store, _, sha1 := cache(t, app()...)
	one, err := store.Layer(t.Context(), sha1, droplets.Owner{UID: 1, GID: 2}, droplets.Room{})
	require.NoError(t, err)
	other, err := store.Layer(t.Context(), sha1, droplets.Owner{UID: 1, GID: 3}, droplets.Room{})
	require.NoError(t, err)
	require.NotEqual(t, one.Dir, other.Dir)
}

func TestLayerLeavesNothingOfWhatItRefuses(t *testing.T) {
	big := tar.Header{Typeflag: tar.TypeReg, Name: "app/big", Mode: 0o644, Size: 3 << 20}
	many := []tar.Header{}
	for n := range 100 {
		many = append(many, tar.Header{Typeflag: tar.TypeReg, Name: "app/" + string(rune('0'+n/10)) + string(rune('0'+n%10)), Size: 1})
	}
	deep := tar.Header{Typeflag: tar.TypeReg, Name: "app/" + string(bytes.Repeat([]byte("d/"), 300)) + "f"}
	for name, c := range map[string]struct {
		entries []tar.Header
		room    droplets.Room
		cause   error
		large   bool
	}{
		"more bytes":    {[]tar.Header{big}, droplets.Room{Bytes: 2 << 20}, archive.ErrTooLarge, true},
		"more files":    {many, droplets.Room{Entries: 50}, archive.ErrTooLarge, true},
		"more blocks":   {many, droplets.Room{Bytes: 100 << 10}, nil, true},
		"a device":      {[]tar.Header{{Typeflag: tar.TypeChar, Name: "app/null", Devmajor: 1, Devminor: 3}}, droplets.Room{}, archive.ErrSpecial, false},
		"a way outside": {[]tar.Header{{Typeflag: tar.TypeReg, Name: "../../../../up"}}, droplets.Room{}, archive.ErrOutside, false},
		"through a link": {[]tar.Header{
			{Typeflag: tar.TypeSymlink, Name: "app/etc", Linkname: "/etc"}, {Typeflag: tar.TypeReg, Name: "app/etc/dea-test"},
		}, droplets.Room{}, archive.ErrConflict, false},
		"too deep": {[]tar.Header{deep}, droplets.Room{}, archive.ErrName, false},
	} {
		t.Run(name, func(t *testing.T) {
			store, base, sha1 := cache(t, c.entries...)
			_, err := store.Layer(t.Context(), sha1, vcap(), c.room)
			var tooLarge *droplets.TooLargeError
			require.Equal(t, c.large, errors.As(err, &tooLarge), "%v", err)
			if c.cause != nil {
				require.ErrorIs(t, err, c.cause)
			}
			requireNoParts(t, base)
			layers, err := filepath.Glob(filepath.Join(base, "droplets", ".layers", "*"))
			require.NoError(t, err)
			require.Empty(t, layers)
			require.NoFileExists(t, "/etc/dea-test")
		})
	}
}

// What is too large for one instance may well fit another's disk, also the other way round.
func TestRoomIsEachInstancesOwn(t *testing.T) {
	store, _, sha1 := cache(t, tar.Header{Typeflag: tar.TypeReg, Name: "app/big", Mode: 0o644, Size: 3 << 20})
	small, large := droplets.Room{Bytes: 1 << 20}, droplets.Room{Bytes: 4 << 20}
	var tooLarge *droplets.TooLargeError
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() {
			if n%2 == 0 {
				_, err := store.Layer(t.Context(), sha1, vcap(), small)
				if !errors.As(err, new(*droplets.TooLargeError)) {
					t.Error(err)
				}
				return
			}
			if _, err := store.Layer(t.Context(), sha1, vcap(), large); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	_, err := store.Layer(t.Context(), sha1, vcap(), small)
	require.ErrorAs(t, err, &tooLarge)
}

func TestLayerOfADropletThatIsGone(t *testing.T) {
	store, base, _ := cache(t)
	_, err := store.Layer(t.Context(), sha, vcap(), droplets.Room{})
	require.ErrorIs(t, err, droplets.ErrGone)
	requireNoParts(t, base)
}

func TestLayerIsGivenUp(t *testing.T) {
	store, base, sha1 := cache(t, app()...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := store.Layer(ctx, sha1, vcap(), droplets.Room{})
	require.ErrorIs(t, err, context.Canceled)
	requireNoParts(t, base)
}

// A process that dies may leave a layer half made, and a machine that loses power a torn one.
func TestLayerAfterADeath(t *testing.T) {
	store, base, sha1 := cache(t, app()...)
	layer, err := store.Layer(t.Context(), sha1, vcap(), droplets.Room{})
	require.NoError(t, err)
	name := filepath.Base(filepath.Dir(layer.Dir))
	half := filepath.Join(base, "droplets", ".parts", name+".new", "root", "home", "vcap", "app")
	require.NoError(t, os.MkdirAll(half, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(half, "half"), nil, 0o644))

	again, err := droplets.New(base).Layer(t.Context(), sha1, vcap(), droplets.Room{})
	require.NoError(t, err)
	require.False(t, again.Made, "it outlives the process")

	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(layer.Dir), "layer.json"), []byte(`{"bytes":1,"boot":"before"}`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(layer.Dir, "home", "vcap", "torn"), nil, 0o644))
	again, err = droplets.New(base).Layer(t.Context(), sha1, vcap(), droplets.Room{})
	require.NoError(t, err)
	require.True(t, again.Made, "but not the machine's start")
	require.NoFileExists(t, filepath.Join(again.Dir, "home", "vcap", "torn"))
	require.NoFileExists(t, filepath.Join(again.Dir, "home", "vcap", "app", "half"))
	require.FileExists(t, filepath.Join(again.Dir, "home", "vcap", "app", "run"))
}

// requireNoParts has nothing but what is being removed left beside the droplets.
func requireNoParts(t *testing.T, base string) {
	t.Helper()
	parts, err := filepath.Glob(filepath.Join(base, "droplets", ".parts", "*"))
	require.NoError(t, err)
	require.Empty(t, parts)
}
