package rootfs

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a rootfs' files belong to several users")
	}
}

const somePEM = "-----BEGIN RSA PRIVATE KEY-----\nwords\n-----END RSA PRIVATE KEY-----\n"

// machine makes a small machine with all that a rootfs must not have.
func machine(t *testing.T) string {
	t.Helper()
	dir := layer(t, map[string]string{
		"usr/bin/tool": "tool", "usr/bin/su": "su", "usr/bin/ping": "ping", "usr/bin/group": "group", "usr/bin/closed": "secret",
		"usr/lib/lib.so": "lib", "usr/lib/lib.so.1": "->lib.so", "usr/share/doc/text": "text", "usr/share/x/y": "y",
		"usr/local/share/.npmrc": "secret", "usr/local/etc/npmrc": "secret", "usr/etc/pip.conf": "secret", "usr/etc/services": "services",
		"usr/shut/inner": "secret", "usr/share/foreign": "foreign",
		"bin": "->usr/bin", "lib64/ld.so": "ld",
		"etc/passwd": "somebody:x:1234:1234::/home/somebody:/bin/sh\n", "etc/shadow": "secret", "etc/group": "somebody:x:1234:\n",
		"etc/hosts": "10.1.2.3 secret\n", "etc/resolv.conf": "nameserver 127.0.0.53\nsearch secret.example\n",
		"etc/ssh/ssh_host_rsa_key": somePEM, "etc/ssl/private/key.pem": somePEM, "etc/ssl/certs/ca.crt": "certificate",
		"etc/ssl/certs/slip.pem": "certificate\n" + somePEM, "etc/environment": "secret", "etc/profile.d/proxy.sh": "secret", "etc/profile": "profile",
		"etc/alternatives/editor": "->/usr/bin/tool", "etc/gitconfig": "secret", "etc/hostname": "secret", "etc/machine-id": "secret",
		"home/somebody/file": "secret", "root/file": "secret", "var/lib/file": "secret", "opt/other/file": "secret", "opt/x/bin/run": "run",
		"run/systemd/resolve/resolv.conf": "nameserver 192.0.2.1\nnameserver 127.0.0.1\nnameserver fe80::1%eth0\nnameserver 2001:db8::1\nsearch a.example $(b)\noptions edns0\n",
	})
	at := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.Chmod(at("usr/bin/su"), 0o755|fs.ModeSetuid))
	require.NoError(t, os.Chmod(at("usr/bin/group"), 0o755|fs.ModeSetgid))
	require.NoError(t, os.Chmod(at("usr/bin/closed"), 0o750))
	require.NoError(t, os.Chmod(at("usr/shut"), 0o711))
	require.NoError(t, os.Chmod(at("usr/share/x"), 0o775|fs.ModeSetgid))
	require.NoError(t, os.Chmod(at("etc/ssl/private"), 0o755))
	require.NoError(t, os.Chown(at("usr/share/foreign"), 70000, 3))
	// A capability of the kernel's second version: cap_net_raw=ep.
	require.NoError(t, unix.Setxattr(at("usr/bin/ping"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	require.NoError(t, os.Link(at("usr/bin/tool"), at("usr/bin/tool2")))
	require.NoError(t, unix.Mkfifo(at("usr/lib/fifo"), 0o666))
	require.NoError(t, unix.Mknod(at("usr/lib/device"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	require.NoError(t, os.Chtimes(at("usr/lib/lib.so"), time.Unix(1e9, 5), time.Unix(1e9, 5)))
	return dir
}

// contents gives the content of every file, the destination of every link, and "/" for a directory.
func contents(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		name, err := filepath.Rel(root, at)
		require.NoError(t, err)
		switch d.Type() {
		case fs.ModeDir:
			all[name] = "/"
		case fs.ModeSymlink:
			to, err := os.Readlink(at)
			require.NoError(t, err)
			all[name] = "->" + to
		default:
			require.True(t, d.Type().IsRegular(), name)
			raw, err := os.ReadFile(at)
			require.NoError(t, err)
			all[name] = string(raw)
		}
		return nil
	}))
	return all
}

func same(t *testing.T, a, b string) bool {
	t.Helper()
	first, err := os.Stat(a)
	require.NoError(t, err)
	second, err := os.Stat(b)
	require.NoError(t, err)
	return os.SameFile(first, second)
}

func TestHost(t *testing.T) {
	needRoot(t)
	from, shm := machine(t), elsewhere(t, t.TempDir())
	for name, o := range map[string]HostOptions{
		"linked":            {Dir: filepath.Join(t.TempDir(), "new")},
		"copied":            {Dir: t.TempDir(), Copy: true},
		"other file system": {Dir: filepath.Join(shm, "new")},
	} {
		t.Run(name, func(t *testing.T) {
			if o.Dir == "new" {
				t.Skip("no other file system")
			}
			before := contents(t, filepath.Join(from, "usr/lib/..", "share"))
			o.From, o.Include, o.Exclude = from, []string{"/opt/x/"}, []string{"/usr/share/d*c"}
			for range 2 { // the second time over the first
				sum, err := Host(t.Context(), o)
				require.NoError(t, err)
				checkMachine(t, from, o.Dir, sum)
				linked := name == "linked"
				require.Equal(t, linked, same(t, filepath.Join(from, "usr/lib/lib.so"), filepath.Join(o.Dir, "usr/lib/lib.so")))
				require.Equal(t, linked, sum.Bytes.Linked > 0)
			}
			require.Equal(t, before, contents(t, filepath.Join(from, "usr/share")))
			left, err := os.ReadDir(filepath.Dir(o.Dir))
			require.NoError(t, err)
			for _, entry := range left {
				require.NotContains(t, entry.Name(), stagingSuffix)
			}
		})
	}
}

// elsewhere gives a directory on another file system than dir, or "" when there is none.
func elsewhere(t *testing.T, dir string) string {
	t.Helper()
	at, err := os.MkdirTemp("/dev/shm", "rootfs")
	if err != nil {
		return ""
	}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(at)) })
	var here, there unix.Stat_t
	require.NoError(t, unix.Stat(dir, &here))
	require.NoError(t, unix.Stat(at, &there))
	if here.Dev == there.Dev {
		return ""
	}
	return at
}

// checkMachine checks a rootfs that was made of machine.
func checkMachine(t *testing.T, from, root string, sum *Summary) {
	t.Helper()
	all := contents(t, root)
	for name, want := range map[string]string{
		"usr/bin/tool": "tool", "usr/bin/tool2": "tool", "usr/bin/su": "su", "usr/bin/ping": "ping", "usr/lib/lib.so.1": "->lib.so", "bin": "->usr/bin",
		"lib64/ld.so": "ld", "etc/ssl/certs/ca.crt": "certificate", "etc/profile": "profile", "etc/alternatives/editor": "->/usr/bin/tool",
		"opt/x/bin/run": "run", "usr/etc/services": "services", "usr/share/foreign": "foreign", "home/vcap": "/", "proc": "/", "dev": "/",
		passwdFile: madePasswd, groupFile: madeGroup, "etc/hosts": madeHosts,
		resolvFile: "nameserver 192.0.2.1\nsearch a.example\noptions edns0\n",
	} {
		assert.Equal(t, want, all[name], name)
	}
	for name, content := range all {
		assert.NotContains(t, content, "secret", name)
		assert.NotContains(t, content, "PRIVATE", name)
	}
	for _, name := range []string{"usr/shut", "usr/share/doc", "usr/lib/fifo", "usr/lib/device", "opt/other", "etc/ssl/private", "home/somebody"} {
		assert.NotContains(t, all, name)
	}
	users, err := Users([]string{root}, "vcap", "root")
	require.NoError(t, err)
	require.Equal(t, vcap(), users[0])
	require.NotContains(t, all[".wardend-rootfs"], from, "no path of the machine")
	checkModes(t, from, root)
	reasons := map[Reason]uint64{}
	for _, n := range append(sum.LeftOut, sum.Changed...) {
		reasons[n.Reason] = n.Count
	}
	require.Equal(t, map[Reason]uint64{
		ReasonUnreadable: 2, ReasonSecret: 2, ReasonConfiguration: 2, ReasonSpecial: 2, ReasonExcluded: 1, ReasonPrivileges: 3,
	}, reasons)
	report, err := Check([]string{root})
	require.NoError(t, err)
	require.False(t, report.Usable, "it has no bash")
}

func checkModes(t *testing.T, from, root string) {
	t.Helper()
	stat := func(name string) (s unix.Stat_t) {
		require.NoError(t, unix.Lstat(filepath.Join(root, name), &s))
		return s
	}
	for name, mode := range map[string]uint32{
		"": 0o755, "usr/bin/su": 0o755, "usr/bin/group": 0o755, "tmp": 0o1777, "var/tmp": 0o1777, "root": 0o700, "usr/share/x": 0o775, "etc/hosts": 0o644,
	} {
		assert.Equal(t, mode, stat(name).Mode&0o7777, name)
	}
	_, err := unix.Getxattr(filepath.Join(root, "usr/bin/ping"), "security.capability", nil)
	require.ErrorIs(t, err, unix.ENODATA)
	require.EqualValues(t, 2000, stat("home/vcap").Uid)
	require.EqualValues(t, 0, stat("usr/share/foreign").Uid)
	require.EqualValues(t, 3, stat("usr/share/foreign").Gid)
	require.Equal(t, unix.Timespec{Sec: 1e9, Nsec: 5}, stat("usr/lib/lib.so").Mtim)
	require.True(t, same(t, filepath.Join(root, "usr/bin/tool"), filepath.Join(root, "usr/bin/tool2")), "two names of one file stay that")
	info, err := os.Stat(filepath.Join(from, "usr/bin/su"))
	require.NoError(t, err)
	require.Equal(t, 0o755|fs.ModeSetuid, info.Mode(), "the machine's own is as it was")
}

func TestHostRefuses(t *testing.T) {
	needRoot(t)
	from := machine(t)
	full := layer(t, map[string]string{"file": "x"})
	linked := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(full, linked))
	// Through a link to where the programs are.
	inside := filepath.Join(t.TempDir(), "usr")
	require.NoError(t, os.Symlink(filepath.Join(from, "usr"), inside))
	require.NoError(t, os.Chmod(filepath.Join(from, "home/somebody"), 0o700))
	here := filepath.Join(t.TempDir(), "new")
	for words, o := range map[string]HostOptions{
		"is not empty and was not made by this command": {Dir: full},
		"is there and is no directory":                  {Dir: linked},
		"which goes into the rootfs itself":             {Dir: filepath.Join(inside, "new")},
		"lies in " + from + "/opt/x":                    {Dir: filepath.Join(from, "opt/x/new"), Include: []string{"/opt/x"}},
		"the root of this machine":                      {Dir: "/"},
		"no such file":                                  {Dir: filepath.Join(here, "deep/new")},
		"is closed to others (mode 0700)":               {Dir: here, Include: []string{"/home/somebody"}},
		"too much to include":                           {Dir: here, Include: []string{"/etc"}},
		"is there already":                              {Dir: here, Include: []string{"/usr/share"}},
		"is of this run of the machine":                 {Dir: here, Include: []string{"/proc/1"}},
		`"opt/x" is not absolute`:                       {Dir: here, Include: []string{"opt/x"}},
		"no directory":                                  {Dir: here, Include: []string{"/opt/x/bin/run"}},
		`"/[" is no absolute path or pattern`:           {Dir: here, Exclude: []string{"/["}},
	} {
		o.From = from
		_, err := Host(t.Context(), o)
		require.ErrorContains(t, err, words)
		require.NoDirExists(t, here)
	}
	require.Equal(t, "x", contents(t, full)["file"])
}

// TestHostDoesNotReachMounts: replacing a directory would remove what is mounted beneath it.
func TestHostDoesNotReachMounts(t *testing.T) {
	needRoot(t)
	o := HostOptions{From: machine(t), Dir: filepath.Join(t.TempDir(), "new")}
	_, err := Host(t.Context(), o)
	require.NoError(t, err)
	at := filepath.Join(o.Dir, "dev")
	require.NoError(t, unix.Mount("none", at, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	require.NoError(t, os.WriteFile(filepath.Join(at, "file"), nil, 0o644))
	_, err = Host(t.Context(), o)
	require.ErrorContains(t, err, "has something mounted at "+at)
	require.ErrorContains(t, removeTree(o.Dir), "has something mounted")
	require.FileExists(t, filepath.Join(at, "file"))
	report, err := Check([]string{o.Dir})
	require.NoError(t, err)
	require.Contains(t, details(report), "which containers do not see")
}

func TestOneAtATime(t *testing.T) {
	needRoot(t)
	o := HostOptions{From: machine(t), Dir: filepath.Join(t.TempDir(), "new")}
	s, err := newStaging(o.Dir, KindHost)
	require.NoError(t, err)
	_, err = Host(t.Context(), o)
	require.ErrorContains(t, err, "another rootfs is being made")
	require.NoError(t, s.close())
	_, err = Host(t.Context(), o)
	require.NoError(t, err)
}

func TestHostCancelled(t *testing.T) {
	needRoot(t)
	o := HostOptions{From: machine(t), Dir: filepath.Join(t.TempDir(), "new")}
	_, err := Host(t.Context(), o)
	require.NoError(t, err)
	before := contents(t, o.Dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Host(ctx, o)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, before, contents(t, o.Dir), "the earlier one stays")
	left, err := os.ReadDir(filepath.Dir(o.Dir))
	require.NoError(t, err)
	require.Len(t, left, 1)
}

// killedDir in the environment makes TestKilled the process that is killed.
const killedDir = "WARDEND_TEST_ROOTFS_KILLED"

func TestKilled(t *testing.T) {
	needRoot(t)
	if dir := os.Getenv(killedDir); dir != "" {
		_, err := Host(t.Context(), HostOptions{Dir: dir})
		require.NoError(t, err)
		return
	}
	o := HostOptions{From: machine(t), Dir: filepath.Join(t.TempDir(), "new")}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.run", "^TestKilled$")
	cmd.Env = append(os.Environ(), killedDir+"="+o.Dir)
	require.NoError(t, cmd.Start())
	half := filepath.Join(filepath.Dir(o.Dir), ".new"+stagingSuffix)
	require.Eventually(t, func() bool {
		_, err := os.Lstat(filepath.Join(half, "usr/bin"))
		return err == nil
	}, time.Minute, time.Millisecond)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.DirExists(t, half)
	require.NoDirExists(t, o.Dir)
	_, err = Host(t.Context(), o)
	require.NoError(t, err)
	require.NoDirExists(t, half)
	require.Equal(t, "tool", contents(t, o.Dir)["usr/bin/tool"])
}

// TestThisMachine makes a rootfs of the machine that the test runs on and uses it as a container would.
func TestThisMachine(t *testing.T) {
	needRoot(t)
	if testing.Short() {
		t.Skip("takes seconds")
	}
	modes := map[string]fs.FileMode{}
	require.NoError(t, filepath.WalkDir("/usr", func(at string, d fs.DirEntry, err error) error {
		if info, statErr := os.Lstat(at); err == nil && statErr == nil && d.Type().IsRegular() {
			modes[at] = info.Mode()
		}
		return nil
	}))
	dir := filepath.Join(besideUsr(t), "new")
	sum, err := Host(t.Context(), HostOptions{Dir: dir, Exclude: []string{
		"/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/usr/share/icons", "/usr/include", "/usr/src", "/usr/lib/jvm", "/usr/local/go", "/usr/lib/node_modules",
	}})
	require.NoError(t, err)
	t.Logf("%d files in %.1f s", sum.Files, sum.Seconds)
	require.NoError(t, filepath.WalkDir(dir, func(at string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		if d.Type() == fs.ModeSymlink {
			return nil
		}
		require.True(t, d.IsDir() || d.Type().IsRegular(), at)
		require.Zero(t, info.Mode()&(fs.ModeSetuid|fs.ModeSetgid), at)
		name := strings.TrimPrefix(at, dir)
		if name != "/root" {
			require.NotZero(t, info.Mode()&0o004, at)
		}
		if was, there := modes[name]; there && info.Sys().(*syscall.Stat_t).Nlink > 1 {
			now, err := os.Lstat(name)
			require.NoError(t, err)
			require.Equal(t, was, now.Mode(), name)
		}
		return nil
	}))
	for _, name := range []string{"etc/shadow", "etc/gshadow", "etc/ssl/private", "etc/machine-id", "etc/hostname", "etc/ssh", "etc/sudoers", "etc/gitconfig", "etc/npmrc", "etc/pip.conf", "usr/local/etc"} {
		require.NoFileExists(t, filepath.Join(dir, name))
		require.NoDirExists(t, filepath.Join(dir, name))
	}
	report, err := Check([]string{dir})
	require.NoError(t, err)
	require.True(t, report.Usable, "%v", report.Findings)
	useRootfs(t, dir)
}

// besideUsr makes a directory on the file system of the machine's programs, which need not be copied there.
func besideUsr(t *testing.T) string {
	t.Helper()
	var programs, here unix.Stat_t
	require.NoError(t, unix.Stat("/usr", &programs))
	for _, above := range []string{os.TempDir(), "/var/tmp"} {
		if unix.Stat(above, &here) != nil || here.Dev != programs.Dev {
			continue
		}
		dir, err := os.MkdirTemp(above, "rootfs")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, removeTree(dir)) })
		return dir
	}
	t.Skip("no directory for temporary files is on the file system of /usr")
	return ""
}

// useRootfs runs common programs as vcap in namespaces of their own, with the rootfs beneath an overlay.
func useRootfs(t *testing.T, dir string) {
	t.Helper()
	const outside = `set -e
mount -t tmpfs none "$1"; mkdir "$1/upper" "$1/work" "$1/merged"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" overlay "$1/merged"
mount -t proc proc "$1/merged/proc"; mount --rbind /dev "$1/merged/dev"
exec env -i PATH=/bin:/usr/bin HOME=/home/vcap "$(type -P chroot)" --userspec=vcap:vcap "$1/merged" /bin/bash -c "$3"`
	const inside = `set -e
cd; test "$(id -un):$(id -gn):$(id -u)" = vcap:vcap:2000; test "$PWD" = /home/vcap
ls -l / >/dev/null; echo words | tee file | grep -q words; tar cf x.tar file; rm file; tar xf x.tar; test "$(cat file)" = words
getent hosts localhost >/dev/null; date >/dev/null; sed -n 1p /etc/os-release >/dev/null
if type git >/dev/null 2>&1; then git --version; git init -q repo; fi
if type openssl >/dev/null 2>&1; then openssl x509 -noout -in "$(ls /etc/ssl/certs/*.pem | head -1)"; fi
if type perl >/dev/null 2>&1; then perl -e 'use POSIX; print ""'; fi
! (echo x >/usr/bin/new) 2>/dev/null; touch /tmp/x /var/tmp/x
echo done`
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--pid", "--fork", "--net", "bash", "-c", outside, "bash", t.TempDir(), dir, inside)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "done\n")
}
