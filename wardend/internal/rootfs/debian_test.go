package rootfs

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// fakeDebootstrap puts a script in debootstrap's place; the arguments are the real one's.
func fakeDebootstrap(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "debootstrap"), []byte("#!/bin/bash\nset -e\n"+script), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestDebianRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	for words, o := range map[string]DebianOptions{
		`suite: "--help" is no`:         {Suite: "--help"},
		`suite: "../../etc" is no`:      {Suite: "../../etc"},
		`include: "a,b"`:                {Include: []string{"a,b"}},
		`include: "-x"`:                 {Include: []string{"-x"}},
		"mirror: give an http":          {Mirror: "file:///etc"},
		"mirror: give an http or https": {Mirror: "--option"},
		"mirror: no password":           {Mirror: "https://me:secret@mirror.example.com/debian"},
	} {
		o.Dir = dir
		_, err := Debian(t.Context(), o)
		require.ErrorContains(t, err, words)
		require.NotContains(t, err.Error(), "secret")
	}
	needRoot(t)
	t.Setenv("PATH", t.TempDir())
	_, err := Debian(t.Context(), DebianOptions{Dir: dir})
	require.ErrorIs(t, err, ErrNoDebootstrap)
	require.ErrorContains(t, err, "apt-get install debootstrap")
}

// TestDebianFinishes looks at what is done with a system that debootstrap has made.
func TestDebianFinishes(t *testing.T) {
	needRoot(t)
	fakeDebootstrap(t, `echo "I: words"
test "$*" = "--variant=minbase --force-check-gpg --include=bzip2,ca-certificates,curl,git,tzdata,unzip,xz-utils,file trixie $5 http://mirror.example.com/debian"
test -z "$SECRET"
cd "$5"; mkdir -p usr/bin etc/ssh dev proc sys run tmp var/lib/apt/lists var/cache/apt/archives var/log/apt root var/mail
ln -s usr/bin bin; cp /bin/bash usr/bin/bash; cp /bin/bash usr/bin/su; chmod 4755 usr/bin/su; chmod 2775 var/mail
printf 'root:x:0:0:root:/root:/bin/bash' >etc/passwd; echo 'root:x:0:' >etc/group; echo 'root:*:1:::::::' >etc/shadow
echo secret >etc/hostname; echo secret >etc/machine-id; echo secret >etc/ssh/ssh_host_rsa_key; echo 'nameserver 127.0.0.53' >etc/resolv.conf
echo secret >var/lib/apt/lists/x; echo secret >var/cache/apt/archives/x.deb; echo secret >var/log/bootstrap.log
mknod dev/null c 1 3; mkfifo usr/bin/fifo`)
	t.Setenv("SECRET", "x")
	var out bytes.Buffer
	o := DebianOptions{
		Dir: filepath.Join(t.TempDir(), "new"), Suite: "trixie", Mirror: "http://mirror.example.com/debian", Include: []string{"file"}, Output: &out,
	}
	for range 2 {
		sum, err := Debian(t.Context(), o)
		require.NoError(t, err)
		require.Equal(t, []Noted{{ReasonPrivileges, 1, []string{"/usr/bin/su"}}}, sum.Changed)
	}
	require.Contains(t, out.String(), "I: words\n")
	all := contents(t, o.Dir)
	for name, content := range all {
		require.NotContains(t, content, "secret", name)
	}
	require.NotContains(t, all, "dev/null")
	require.Equal(t, "root:x:0:0:root:/root:/bin/bash\nvcap:x:2000:2000::/home/vcap:/bin/bash\n", all[passwdFile])
	info, err := os.Stat(filepath.Join(o.Dir, "usr/bin/su"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o755), info.Mode())
	report, err := Check([]string{o.Dir})
	require.NoError(t, err)
	require.True(t, report.Usable, details(report))
}

func TestDebootstrapFails(t *testing.T) {
	needRoot(t)
	fakeDebootstrap(t, `for i in {1..2000}; do echo "I: line $i"; done; mount -t tmpfs none "$5"; echo "E: no luck" >&2; exit 3`)
	parent := t.TempDir()
	_, err := Debian(t.Context(), DebianOptions{Dir: filepath.Join(parent, "new")})
	var failed *DebootstrapError
	require.ErrorAs(t, err, &failed)
	require.ErrorContains(t, err, "E: no luck")
	require.ErrorContains(t, err, "exit status 3")
	require.Len(t, failed.Lines, maxLines)
	left, err := os.ReadDir(parent)
	require.NoError(t, err)
	require.Empty(t, left, "its mounts are not ours")
}

// TestDebootstrapIsEnded: when the user gives up, no process of it is left.
func TestDebootstrapIsEnded(t *testing.T) {
	needRoot(t)
	parent := t.TempDir()
	first, second := ownSeconds(0), ownSeconds(1)
	fakeDebootstrap(t, `sleep `+first+` & exec 3>"$5/up"; sleep `+second)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := Debian(ctx, DebianOptions{Dir: filepath.Join(parent, "new")})
		ended <- err
	}()
	var inside []int
	require.Eventually(t, func() bool {
		inside = sleepers(t, first, second)
		return len(inside) == 2
	}, 20*time.Second, 10*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	for _, pid := range inside {
		require.Eventually(t, func() bool { return unix.Kill(pid, 0) != nil }, 20*time.Second, 10*time.Millisecond)
	}
	left, err := os.ReadDir(parent)
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestDebootstrapDiesToo: a killed wardend leaves no process, and what else it leaves the next one clears.
func TestDebootstrapDiesToo(t *testing.T) {
	needRoot(t)
	if dir := os.Getenv(killedDir); dir != "" {
		_, err := Debian(t.Context(), DebianOptions{Dir: dir})
		require.NoError(t, err)
		return
	}
	first, second := ownSeconds(2), ownSeconds(3)
	fakeDebootstrap(t, `mount -t tmpfs none "$5"; sleep `+first+` & sleep `+second)
	dir := filepath.Join(t.TempDir(), "new")
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.run", "^TestDebootstrapDiesToo$")
	cmd.Env = append(os.Environ(), killedDir+"="+dir)
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return len(sleepers(t, first, second)) == 2 }, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.Eventually(t, func() bool { return len(sleepers(t, first, second)) == 0 }, 20*time.Second, 10*time.Millisecond)
	_, err = Host(t.Context(), HostOptions{Dir: dir, From: machine(t)})
	require.NoError(t, err)
	left, err := os.ReadDir(filepath.Dir(dir))
	require.NoError(t, err)
	require.Len(t, left, 1)
}

// ownSeconds is a time to sleep for that tells this run's processes from those of other packages' tests, which run beside it.
func ownSeconds(nth int) string { return fmt.Sprintf("%d.%d", 1000+nth, os.Getpid()) }

// sleepers are the processes that sleep for one of the numbers of seconds.
func sleepers(t *testing.T, seconds ...string) []int {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var pids []int
	for _, at := range found {
		raw, err := os.ReadFile(at)
		number, sleeps := strings.CutPrefix(string(raw), "sleep\x00")
		if err != nil || !sleeps || !slices.Contains(seconds, strings.TrimSuffix(number, "\x00")) {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(at, "/")[2])
		require.NoError(t, err)
		pids = append(pids, pid)
	}
	return pids
}

// TestDebian runs debootstrap, with the mirror that this machine gets its own packages from.
func TestDebian(t *testing.T) {
	needRoot(t)
	if testing.Short() {
		t.Skip("takes minutes")
	}
	if _, err := exec.LookPath("debootstrap"); err != nil {
		t.Skip("debootstrap is not installed")
	}
	mirror := machineMirror(t)
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	sum, err := Debian(t.Context(), DebianOptions{Dir: dir, Mirror: mirror})
	require.NoError(t, err)
	t.Logf("%d files in %.0f s", sum.Files, sum.Seconds)
	report, err := Check([]string{dir})
	require.NoError(t, err)
	require.True(t, report.Usable, details(report))
	for _, name := range []string{"etc/machine-id", "etc/hostname", "debootstrap"} {
		require.NoFileExists(t, filepath.Join(dir, name))
	}
	require.NoError(t, filepath.WalkDir(dir, func(at string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		assert.Zero(t, info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeDevice), at)
		return nil
	}))
	useRootfs(t, dir)
}

// machineMirror finds the mirror of a Debian machine, and skips the test when there is none or it does not answer.
func machineMirror(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("/etc/apt/sources.list.d/*")
	require.NoError(t, err)
	uri := regexp.MustCompile(`(?m)^(?:deb|URIs:).*?(https?://[^\s@]+/debian)/?(?:\s|$)`)
	for _, file := range append(files, "/etc/apt/sources.list") {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		found := uri.FindSubmatch(raw)
		if found == nil {
			continue
		}
		mirror := string(found[1])
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodHead, mirror+"/dists/"+DefaultSuite+"/InRelease", http.NoBody)
		require.NoError(t, err)
		answer, err := (&http.Client{}).Do(request)
		if err != nil {
			t.Skip("the mirror of this machine's packages does not answer")
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Skip("the mirror of this machine's packages has no " + DefaultSuite)
		}
		return mirror
	}
	t.Skip("this machine's sources of packages name no mirror of Debian")
	return ""
}
