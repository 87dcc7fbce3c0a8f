package directory

import (
	"context"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func hexSum(key []byte, kind Kind, id, path, timestamp string) string {
	return hex.EncodeToString(sum(key, kind, id, path, timestamp))
}

// secret is in every file that is none of the clients' business.
const secret = "secret"

// outside makes files around the instance's directory: in the one above it, and in a sibling whose name begins alike.
func (n *node) outside() {
	n.t.Helper()
	require.NoError(n.t, os.MkdirAll(n.instance+"-other", 0o755))
	for _, file := range []string{filepath.Join(n.base, "key"), n.instance + "-other/key"} {
		require.NoError(n.t, os.WriteFile(file, []byte(secret), 0o600))
	}
}

// answers checks that a path is refused with a status, read and followed alike, and soon.
func (n *node) answers(status int, path string) {
	n.t.Helper()
	for _, tail := range []bool{false, true} {
		done := make(chan answered, 1)
		go func() { done <- n.get(n.url(path, tail)) }()
		select {
		case a := <-done:
			require.Equal(n.t, status, a.status, "%q: %s", path, a.body)
			require.NotContains(n.t, a.body, secret)
			require.NotContains(n.t, a.body, n.base)
		case <-time.After(patience):
			require.Failf(n.t, "blocked", "%q", path)
		}
	}
}

func (n *node) refused(path string) {
	n.t.Helper()
	n.answers(http.StatusForbidden, path)
}

func (n *node) link(target, name string) {
	n.t.Helper()
	require.NoError(n.t, os.Symlink(target, filepath.Join(n.instance, name)))
}

// TestNoPathLeadsOutside: a path that leaves is refused, and one that only looks like it names nothing that is there.
func TestNoPathLeadsOutside(t *testing.T) {
	n := newNode(t)
	n.outside()
	n.write("sub/file", "x")
	for name, path := range map[string]string{
		"the parent": "..", "a file of the parent": "../key", "behind a slash": "/../key", "behind slashes": "//..//key",
		"down and up": "sub/../../key", "down and up to the parent": "sub/../..", "winding": "sub/./../../box-other",
		"a sibling": "../box-other", "a file of a sibling": "../box-other/key", "back in": "../box/sub/file",
		"back in and out": "../box/../key", "to the root": "../../../../../../../../etc/passwd", "the end": "sub/../..//",
	} {
		t.Run(name, func(t *testing.T) { n.in(t).refused(path) })
	}
	for name, path := range map[string]string{
		"an absolute path": "/etc/passwd", "the place on the disk": filepath.Join(n.base, "key"),
		"encoded twice": "%2e%2e/key", "encoded twice whole": "%2e%2e%2fkey", "encoded three times": "%252e%252e%252fkey",
		"backslashes": `..\key`, "an encoded backslash": "..%5ckey", "overlong": "\xc0\xae\xc0\xae/key",
		"an overlong slash": "..\xc0\xafkey", "of four bytes": "\xf0\x80\x80\xae\xf0\x80\x80\xae/key", "wide": "．．/key",
		"a NUL": "..\x00/key", "a NUL at the end": "sub/file\x00.txt", "a NUL and up": "\x00/../../key",
		"three dots": ".../key", "a blank": ".. /key", "a URL": "file:///etc/passwd", "a drive": "C:/key",
	} {
		t.Run(name, func(t *testing.T) { n.in(t).answers(http.StatusNotFound, path) })
	}
}

// in is the node for a subtest.
func (n *node) in(t *testing.T) *node {
	t.Helper()
	return &node{t: t, base: n.base, instance: n.instance, staging: n.staging, key: n.key, http: n.http}
}

// TestNoEncodingLeadsOutside: however a query spells a path, the signature is for what is opened, and that is refused.
func TestNoEncodingLeadsOutside(t *testing.T) {
	n := newNode(t)
	n.outside()
	signed, err := url.Parse(n.url("../key", false))
	require.NoError(t, err)
	rest := url.Values{paramTimestamp: signed.Query()[paramTimestamp], paramHMAC: signed.Query()[paramHMAC]}.Encode()
	for _, spelled := range []string{"../key", "%2e%2e/key", "%2E%2E%2Fkey", "..%2fkey", ".%2e/key", "%2e./k%65y"} {
		a := n.get(n.http.URL + signed.Path + "?path=" + spelled + "&" + rest)
		require.Equal(t, http.StatusForbidden, a.status, spelled)
		// Of two the first counts, for the signature and for what is opened.
		require.Equal(t, http.StatusForbidden, n.get(n.http.URL+signed.Path+"?path="+spelled+"&path=&"+rest).status)
		require.Equal(t, http.StatusUnauthorized, n.get(n.http.URL+signed.Path+"?path=&path="+spelled+"&"+rest).status)
	}
}

// TestNoIDLeadsOutside: an id is one element of the URL's path, and no other path has an answer.
func TestNoIDLeadsOutside(t *testing.T) {
	n := newNode(t)
	n.outside()
	var asked sync.Map
	handler := New(Options{Keys: [][]byte{n.key}, Instances: func(_ context.Context, id string) (Place, error) {
		asked.Store(id, true)
		return Place{}, ErrUnknown
	}})
	for _, id := range []string{"..", ".", "../..", "a/../..", "/", "..%2f..", `..\..`, "a\x00b", ""} {
		w := httptest.NewRecorder()
		signed := SignedURL("", n.key, Instance, id, "key", time.Now(), false)
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, signed, nil))
		_, whole := asked.Load(id)
		require.True(t, whole || w.Code/100 == 3 || w.Code == http.StatusNotFound, "%q: %d", id, w.Code)
	}
	for _, path := range []string{"/instance_paths/..%2f..", "/instance_paths/%2e%2e/%2e%2e", "/instance_paths/../../etc", "/", "//"} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path+"?path=key", nil))
		require.Contains(t, []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusTemporaryRedirect, http.StatusMovedPermanently}, w.Code, path)
	}
}

func TestNoLinkLeadsOutside(t *testing.T) {
	n := newNode(t)
	n.outside()
	n.write("sub/file", "inside")
	for _, link := range [][2]string{
		{"../key", "file"},
		{"..", "parent"},
		{"../box-other", "sibling"},
		{filepath.Join(n.base, "key"), "absolute"},
		{"/", "root"},
		{"file", "chain"},
		{"chain", "chain-of-chain"},
		{"sub/../../key", "winding"},
		{"loop", "loop"},
		{"/proc/self/environ", "environ"},
		{"/proc/self/cwd", "magic"},
		{"/proc/self/root", "magic-root"},
		{"/proc/self/fd/0", "magic-fd"},
		{"/dev/stdin", "stdin"},
		{filepath.Join(n.instance, "sub", "file"), "absolute-inside"},
		{"parent", "sub/../to-parent"},
		{"../box/sub/file", "around"},
		{"/sys", "sys"},
		{"/dev/zero", "zero"},
	} {
		n.link(link[0], link[1])
	}
	for name, path := range map[string]string{
		"to a file": "file", "to the parent": "parent", "through the parent": "parent/key", "to a sibling": "sibling",
		"through a sibling": "sibling/key", "absolute": "absolute", "to the root": "root", "through the root": "root/etc/passwd",
		"by a chain": "chain", "by a longer chain": "chain-of-chain", "winding": "winding", "for ever": "loop",
		"to proc": "environ", "magic": "magic", "magic, to the root": "magic-root", "magic, to an open file": "magic-fd",
		"to an open file": "stdin", "absolute, to what is inside": "absolute-inside", "by a chain of directories": "to-parent/key",
		"out and in again": "around", "through the parent and in again": "parent/box/sub/file", "to sysfs": "sys/kernel",
		"to a device": "zero", "with dots behind it": "sibling/../box-other/key", "with a slash behind it": "file/",
	} {
		t.Run(name, func(t *testing.T) { n.in(t).refused(path) })
	}
}

func TestALinkWithinIsFollowed(t *testing.T) {
	n := newNode(t)
	n.write("sub/file", "inside")
	n.link("sub/file", "good")
	n.link("sub", "dir")
	n.link("../sub/./file", "sub/around")
	for _, path := range []string{"good", "dir/file", "sub/around", "dir/../sub/file"} {
		require.Equal(t, "inside", n.read(path).body, path)
	}
	n.link("nowhere", "dangling")
	require.Equal(t, http.StatusNotFound, n.read("dangling").status)
}

// TestAHardLinkIsAFile: nothing tells it from one, so that what it may lead to is for the container and the kernel to say.
func TestAHardLinkIsAFile(t *testing.T) {
	n := newNode(t)
	n.write("sub/file", "inside")
	require.NoError(t, os.Link(filepath.Join(n.instance, "sub/file"), filepath.Join(n.instance, "hard")))
	require.Equal(t, "inside", n.read("hard").body)
	n.link("../key", "soft")
	n.outside()
	require.NoError(t, os.Link(filepath.Join(n.instance, "soft"), filepath.Join(n.instance, "hard-to-soft")))
	n.refused("hard-to-soft")
}

func TestOnlyFilesAndDirectoriesAreRead(t *testing.T) {
	n := newNode(t)
	require.NoError(t, syscall.Mkfifo(filepath.Join(n.instance, "fifo"), 0o600))
	n.link("fifo", "to-fifo")
	// A socket's path is short, wherever the tests' directory is.
	t.Chdir(n.instance)
	listener, err := net.Listen("unix", "socket")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	for _, name := range []string{"fifo", "to-fifo", "socket"} {
		t.Run(name, func(t *testing.T) { n.in(t).refused(name) })
	}
	for name, device := range map[string]int{"character device": syscall.S_IFCHR | 0o666, "block device": syscall.S_IFBLK | 0o666} {
		t.Run(name, func(t *testing.T) {
			if err := syscall.Mknod(filepath.Join(n.instance, name), uint32(device), 1<<8|5); err != nil {
				require.NotEqual(t, 0, os.Getuid(), "root can make a device: %v", err)
				t.Skip("only root can make a device")
			}
			n.in(t).refused(name)
		})
	}
}

func TestWhatMayNotBeReadIsRefused(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read everything")
	}
	n := newNode(t)
	n.write("file", "x")
	require.NoError(t, os.Chmod(filepath.Join(n.instance, "file"), 0))
	n.refused("file")
}

// TestNoPlaceLeadsOutside: a home that its user has made a link of, or taken away.
func TestNoPlaceLeadsOutside(t *testing.T) {
	n := newNode(t)
	n.outside()
	n.write("home/key", "inside")
	home := func(context.Context, string) (Place, error) {
		return Place{Open: func() (*os.Root, error) {
			container, err := os.OpenRoot(n.instance)
			if err != nil {
				return nil, err
			}
			defer func() { _ = container.Close() }()
			return container.OpenRoot("home")
		}}, nil
	}
	n.http.Config.Handler = New(Options{Keys: [][]byte{n.key}, Instances: home})
	require.Equal(t, "inside", n.read("key").body)
	path := filepath.Join(n.instance, "home")
	for name, swap := range map[string]struct {
		with   func() error
		status int
	}{
		"a link to the parent":  {func() error { return os.Symlink("..", path) }, http.StatusForbidden},
		"a link to a sibling":   {func() error { return os.Symlink("../box-other", path) }, http.StatusForbidden},
		"an absolute link":      {func() error { return os.Symlink(n.base, path) }, http.StatusForbidden},
		"a link to itself":      {func() error { return os.Symlink("home", path) }, http.StatusForbidden},
		"a link to the process": {func() error { return os.Symlink("/proc/self/cwd", path) }, http.StatusForbidden},
		"a file":                {func() error { return os.WriteFile(path, []byte(secret), 0o600) }, http.StatusForbidden},
		"nothing":               {func() error { return nil }, http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.RemoveAll(path))
			require.NoError(t, swap.with())
			n.in(t).answers(swap.status, "key")
		})
	}
}

// TestNoRaceLeadsOutside: an app that swaps what is being read as fast as it can.
func TestNoRaceLeadsOutside(t *testing.T) {
	for name, test := range map[string]struct{ path, swapped, with string }{
		"a directory for a link":        {"d/key", "d", "evil"},
		"a directory on the way":        {"a/b/d/key", "a/b", "evil"},
		"a file for a link":             {"f", "f", "evil-file"},
		"a file for a fifo":             {"f", "f", "fifo"},
		"a file for a directory":        {"f", "f", "d"},
		"a link for another":            {"good/key", "good", "evil"},
		"a directory above an open one": {"a/b/../b/d/key", "a", "evil"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.outside()
			n.write("d/key", "inside")
			n.write("a/b/d/key", "inside")
			n.write("f", "inside")
			n.link("d", "good")
			n.link("../box-other", "evil")
			n.link("../key", "evil-file")
			require.NoError(t, syscall.Mkfifo(filepath.Join(n.instance, "fifo"), 0o600))
			stop := n.swap(test.swapped, test.with)
			defer stop()
			handler := New(Options{Keys: [][]byte{n.key}, Instances: n.resolver(instanceID, n.instance)})
			signed := n.url(test.path, false)
			for range 1000 {
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, signed, nil))
				require.NotContains(t, w.Body.String(), secret)
				require.Contains(t, []int{http.StatusOK, http.StatusForbidden, http.StatusNotFound}, w.Code, w.Body.String())
			}
		})
	}
}

// swap swaps two entries of the instance's until stop.
func (n *node) swap(a, b string) (stop func()) {
	in := func(name string) string {
		return filepath.Join(n.instance, strings.ReplaceAll(name, "/", string(filepath.Separator)))
	}
	done := make(chan struct{})
	var app sync.WaitGroup
	app.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			_ = os.Rename(in(a), in(a+"-away"))
			_ = os.Rename(in(b), in(a))
			_ = os.Rename(in(a), in(b))
			_ = os.Rename(in(a+"-away"), in(a))
		}
	})
	return func() { close(done); app.Wait() }
}
