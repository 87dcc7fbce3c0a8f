package rootfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	somePasswd = "root:x:0:0:root:/root:/bin/bash\nvcap:x:2000:2001:,,,:/home/vcap:/bin/bash\n"
	someGroup  = "root:x:0:\nusers:x:100:vcap,other\nvcap:x:2001:\nextra:x:101:other, vcap\nagain:x:100:vcap\nown:x:2001:vcap\n"
)

// layer makes a directory with files; a content that begins with "->" is a link.
func layer(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		at := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o755))
		if to, isLink := strings.CutPrefix(content, "->"); isLink {
			require.NoError(t, os.Symlink(to, at))
		} else {
			require.NoError(t, os.WriteFile(at, []byte(content), 0o644))
		}
	}
	return dir
}

func stack(t testing.TB) string {
	t.Helper()
	return layer(t, map[string]string{passwdFile: somePasswd, groupFile: someGroup})
}

func TestUsers(t *testing.T) {
	got, err := Users([]string{stack(t)}, "vcap", "root")
	require.NoError(t, err)
	require.Equal(t, []User{
		{Name: "vcap", UID: 2000, GID: 2001, Groups: []uint32{100, 101}, Home: "/home/vcap"},
		{Name: "root", Home: "/root"},
	}, got)
}

// TestUsersOfLayers: what an overlay would show decides.
func TestUsersOfLayers(t *testing.T) {
	droplet := layer(t, map[string]string{"home/vcap/app/x": "x"})
	users := func(passwd string) map[string]string { return map[string]string{passwdFile: passwd} }
	const other = "vcap:x:7:7::/seven:\nroot:x:0:0::/:\n"
	for name, c := range map[string]struct {
		layers []string
		uid    uint32
	}{
		"from the lowest":          {[]string{droplet, droplet, stack(t)}, 2000},
		"uppermost first":          {[]string{droplet, layer(t, users(other)), stack(t)}, 7},
		"link within":              {[]string{layer(t, map[string]string{passwdFile: "->../lib/users", "lib/users": other})}, 7},
		"link to another layer":    {[]string{layer(t, map[string]string{passwdFile: "->/lib/users"}), layer(t, map[string]string{"lib/users": other})}, 7},
		"directory that is a link": {[]string{layer(t, map[string]string{"etc": "->usr/./../usr/etc", "usr/etc/passwd": other}), stack(t)}, 7},
		"link above the root":      {[]string{layer(t, map[string]string{passwdFile: "->../../../../lib/users", "lib/users": other})}, 7},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Users(c.layers, "vcap")
			require.NoError(t, err)
			require.Equal(t, c.uid, got[0].UID)
		})
	}
}

func TestNoUser(t *testing.T) {
	for name, dir := range map[string]string{
		"no etc":          t.TempDir(),
		"others only":     layer(t, map[string]string{passwdFile: "vcapx:x:1:1::/:\nxvcap:x:1:1::/:\n#vcap\n+\n\n:::\x00"}),
		"leads out":       layer(t, map[string]string{passwdFile: "->" + filepath.Join(stack(t), passwdFile)}),
		"etc leads out":   layer(t, map[string]string{"etc": "->" + filepath.Join(stack(t), "etc")}),
		"out by dots":     layer(t, map[string]string{passwdFile: "->" + strings.Repeat("../", 30) + filepath.Join(stack(t), passwdFile)}),
		"magic link":      layer(t, map[string]string{passwdFile: "->/proc/self/root/etc/passwd"}),
		"nothing at link": layer(t, map[string]string{passwdFile: "->nothing"}),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Users([]string{dir}, "vcap")
			var none *NoUserError
			require.ErrorAs(t, err, &none)
			require.Equal(t, &NoUserError{Rootfs: dir, Name: "vcap"}, none)
			require.ErrorContains(t, err, "rootfs "+dir+" has no user vcap: add one")
		})
	}
	_, err := Users([]string{filepath.Join(t.TempDir(), "none")}, "vcap")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Users(nil, "vcap")
	require.Error(t, err)
}

func TestDamaged(t *testing.T) {
	with := func(passwd, group string) string {
		return layer(t, map[string]string{passwdFile: passwd, groupFile: group})
	}
	many := strings.Builder{}
	for i := range maxGroups + 1 {
		fmt.Fprintf(&many, "g:x:%d:vcap\n", i+1)
	}
	pipe := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(pipe, "etc"), 0o755))
	require.NoError(t, syscall.Mkfifo(filepath.Join(pipe, passwdFile), 0o644))
	for words, dir := range map[string]string{
		`uid of vcap: "junk" is no number`:  with("vcap:x:junk:1::/:", ""),
		`uid of vcap: "-1" is no number`:    with("vcap:x:-1:1::/:", ""),
		`"65536" is no number from 0`:       with("vcap:x:1:65536::/:", ""),
		`"4294967296" is no number`:         with("vcap:x:4294967296:1::/:", ""),
		`uid of vcap: "" is no number`:      with("vcap:x::1::/:", ""),
		"fields in place of 7":              with("vcap:x:1:1:/:", ""),
		"8 fields":                          with("vcap:x:1:1::/::more:more", ""),
		"no absolute path":                  with("vcap:x:1:1::home:", ""),
		"home of vcap":                      with("vcap:x:1:1::/a\x00b:", ""),
		`gid of group "g": "x"`:             with(somePasswd, "g:x:x:vcap"),
		"more than 1024 groups":             with(somePasswd, many.String()),
		"has more than 1048576 bytes":       with(somePasswd+strings.Repeat("#\n", maxFile/2), ""),
		"too many levels of symbolic links": layer(t, map[string]string{passwdFile: "->passwd"}),
		"not a directory":                   layer(t, map[string]string{"etc": "file"}),
		"it is no file":                     pipe,
	} {
		_, err := Users([]string{dir}, "vcap")
		var damaged *DamagedError
		require.ErrorAs(t, err, &damaged, words)
		assert.ErrorContains(t, err, words)
	}
}

// TestWhatOverlayfsHides needs root for the marks that overlayfs has.
func TestWhatOverlayfsHides(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for overlayfs' whiteouts")
	}
	whiteout, opaque := layer(t, map[string]string{"etc/x": ""}), layer(t, map[string]string{"etc/x": ""})
	require.NoError(t, unix.Mknod(filepath.Join(whiteout, passwdFile), unix.S_IFCHR, 0))
	require.NoError(t, unix.Setxattr(filepath.Join(opaque, "etc"), "trusted.overlay.opaque", []byte("y"), 0))
	for _, upper := range []string{whiteout, opaque} {
		_, err := Users([]string{upper, stack(t)}, "vcap")
		var none *NoUserError
		require.ErrorAs(t, err, &none)
	}
}

func TestNoDescriptorIsLeft(t *testing.T) {
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(entries)
	}
	before := open()
	for _, dir := range []string{
		stack(t), t.TempDir(), layer(t, map[string]string{passwdFile: "->passwd"}), layer(t, map[string]string{"etc": "file"}),
		layer(t, map[string]string{passwdFile: "->/a/b/../../c/d", "c/d": somePasswd, "a/b/c": ""}),
	} {
		_, _ = Users([]string{dir, stack(t)}, "vcap")
		_, _ = Users([]string{dir, "/no/such/layer"}, "vcap")
	}
	require.Equal(t, before, open())
}

func FuzzUsers(f *testing.F) {
	f.Add(somePasswd, someGroup, "vcap")
	f.Add("vcap:x:99999999999999999999:1::/:", "g:x:-:vcap,,,", "vcap")
	f.Add("::::::\n\x00", ":::", "")
	f.Fuzz(func(t *testing.T, passwd, group, name string) {
		user, err := parsePasswd(passwd, name)
		if err != nil {
			return
		}
		assert.Equal(t, name, user.Name)
		assert.LessOrEqual(t, user.UID, uint32(MaxID))
		assert.LessOrEqual(t, user.GID, uint32(MaxID))
		assert.True(t, filepath.IsAbs(user.Home))
		groups, err := parseGroups(group, name, user.GID)
		assert.LessOrEqual(t, len(groups), maxGroups+1)
		for _, gid := range groups {
			assert.LessOrEqual(t, gid, uint32(MaxID))
			assert.NotEqual(t, user.GID, gid)
		}
		assert.True(t, err == nil || len(groups) == 0)
	})
}

// BenchmarkUsers is paid at each create: three layers, both users.
func BenchmarkUsers(b *testing.B) {
	passwd, group := strings.Builder{}, strings.Builder{}
	for i := range 40 {
		fmt.Fprintf(&passwd, "user%d:x:%d:%d:somebody:/var/lib/user%d:/usr/sbin/nologin\n", i, i+1, i+1, i)
		fmt.Fprintf(&group, "user%d:x:%d:\n", i, i+1)
	}
	layers := []string{
		layer(b, map[string]string{"home/vcap/app/x": ""}), layer(b, map[string]string{"home/vcap/.cache/x": ""}),
		layer(b, map[string]string{passwdFile: passwd.String() + somePasswd, groupFile: group.String() + someGroup}),
	}
	for b.Loop() {
		if _, err := Users(layers, "vcap", "root"); err != nil {
			b.Fatal(err)
		}
	}
}
