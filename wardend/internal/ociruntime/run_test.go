package ociruntime

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestAContainer(t *testing.T) {
	for _, name := range runtimes() {
		t.Run(name, func(t *testing.T) {
			r := find(t, name)
			before := mountsOf(t, "/proc/self/mountinfo")
			run := container(t, r, "report", "more")
			// What a careless stack might hold: a disk of the machine's, readable by all.
			device := filepath.Join(run.Bundle, "rootfs", "device")
			require.NoError(t, unix.Mknod(device, unix.S_IFBLK|0o666, hostDisk(t)))
			require.NoError(t, os.Chmod(device, 0o666)) //nolint:gosec // the point
			log, err := os.Create(filepath.Join(t.TempDir(), "log"))
			require.NoError(t, err)
			defer log.Close()
			run.Log = log
			file, err := os.Open(tempFile(t, "from a file"))
			require.NoError(t, err)
			defer file.Close()

			s, pid := start(t, r, run, file)

			assert.Equal(t, []string{"/init", "report", "more"}, s.Args)
			assert.Subset(t, s.Env, []string{"GOMAXPROCS=1", "GOGC=50"})
			for _, e := range s.Env {
				assert.Regexp(t, "^(GOMAXPROCS|GOGC|HOME|PATH|_)=", e, "nothing of the machine's")
			}
			assert.Equal(t, "/", s.Dir)
			assert.Equal(t, "host-"+run.ID, s.Hostname)
			assert.Equal(t, "from a file", s.FromFile)
			checkFiles(t, s, log.Name())
			checkPrivileges(t, s)
			checkNamespaces(t, s, pid)
			checkMounts(t, s)
			checkAttempts(t, s)
			checkDevices(t, s, pid)
			assert.Equal(t, before, mountsOf(t, "/proc/self/mountinfo"), "the machine's mounts stay")
			assert.Equal(t, before, mountsOf(t, "/proc/1/mountinfo"))
			require.NoError(t, r.Delete(t.Context(), run.ID))
			assert.True(t, ended(pid))
		})
	}
}

func hostDisk(t *testing.T) int {
	t.Helper()
	disks, err := filepath.Glob("/sys/block/*/dev")
	require.NoError(t, err)
	if len(disks) == 0 {
		t.Skip("no block device to try")
	}
	raw, err := os.ReadFile(disks[0])
	require.NoError(t, err)
	major, minor, ok := strings.Cut(strings.TrimSpace(string(raw)), ":")
	require.True(t, ok)
	a, err := strconv.ParseUint(major, 10, 32)
	require.NoError(t, err)
	b, err := strconv.ParseUint(minor, 10, 32)
	require.NoError(t, err)
	return int(unix.Mkdev(uint32(a), uint32(b))) //nolint:gosec // a device
}

func tempFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// checkFiles: the container has what it was given, and nothing else, such as the runtime's log.
func checkFiles(t *testing.T, s said, log string) {
	t.Helper()
	assert.Equal(t, log, s.Files["1"])
	assert.Equal(t, log, s.Files["2"])
	assert.Contains(t, s.Files["0"], "null")
	assert.Contains(t, s.Files["3"], "pipe:")
	for fd, link := range s.Files {
		if n, err := strconv.Atoi(fd); assert.NoError(t, err) && n > 4 {
			assert.Contains(t, link, "anon_inode", "%s is left open", fd) // its own
		}
	}
}

func checkPrivileges(t *testing.T, s said) {
	t.Helper()
	assert.Equal(t, "1", s.Status["NoNewPrivs"])
	assert.Equal(t, "2", s.Status["Seccomp"])
	assert.Equal(t, "1", s.Status["Seccomp_filters"])
	assert.Equal(t, "0\t0\t0\t0", s.Status["Uid"])
	assert.Empty(t, s.Status["Groups"], "no group of the machine's")
	const caps = 1<<unix.CAP_AUDIT_WRITE | 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER |
		1<<unix.CAP_FSETID | 1<<unix.CAP_KILL | 1<<unix.CAP_MKNOD | 1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_SETFCAP |
		1<<unix.CAP_SETGID | 1<<unix.CAP_SETPCAP | 1<<unix.CAP_SETUID | 1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_SYS_RESOURCE
	for field, want := range map[string]uint64{"CapBnd": caps, "CapPrm": caps, "CapEff": caps, "CapInh": 0, "CapAmb": 0} {
		got, err := strconv.ParseUint(s.Status[field], 16, 64)
		require.NoError(t, err)
		assert.Equal(t, want, got, field)
	}
}

func checkNamespaces(t *testing.T, s said, pid int) {
	t.Helper()
	require.Len(t, s.Links, 7)
	for kind, link := range s.Links {
		mine, err := os.Readlink("/proc/self/ns/" + kind)
		require.NoError(t, err)
		assert.NotEqual(t, mine, link, kind)
		its, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/" + kind)
		require.NoError(t, err)
		assert.Equal(t, its, link, "the pid is right")
	}
	assert.Equal(t, "1", s.Status["Pid"])
	for _, file := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		fields := strings.Fields(s.Text[file])
		require.Len(t, fields, 3)
		assert.Equal(t, "0", fields[0])
		assert.Equal(t, "65536", fields[2])
		host, err := strconv.Atoi(fields[1])
		require.NoError(t, err)
		assert.Greater(t, host, 1_900_000_000)
	}
	assert.NotContains(t, s.Text["/proc/self/cgroup"], "wardend", "its cgroup is the top to it")
	assert.Equal(t, 3, strings.Count(s.Text["/proc/net/dev"], "\n"), "only the loopback device: %s", s.Text["/proc/net/dev"])
}

func checkMounts(t *testing.T, s said) {
	t.Helper()
	for _, path := range []string{"/proc/keys", "/proc/timer_list"} {
		assert.Empty(t, s.Text[path], "%s is masked", path)
	}
	assert.True(t, s.Text["/proc/kcore"] == "" || strings.HasPrefix(s.Text["/proc/kcore"], "error"), "masked or missing")
	mounts := s.Text["/proc/self/mountinfo"]
	assert.NotContains(t, mounts, "cgroup")
	for _, line := range strings.Split(strings.TrimSpace(mounts), "\n") {
		fields := strings.Fields(line)
		point, flags := fields[4], fields[5]
		switch point {
		case "/sys":
			assert.Contains(t, flags, "ro,")
		case "/dev":
			assert.Contains(t, line, "mode=755")
		case "/dev/shm":
			assert.Contains(t, line, "size=65536k")
		case "/proc/sys", "/proc/bus":
			assert.Contains(t, flags, "ro,")
		case "/":
			assert.Contains(t, flags, "rw,")
		}
		assert.NotContains(t, line, "shared:", "nothing goes to the machine")
	}
}

func checkAttempts(t *testing.T, s said) {
	t.Helper()
	for _, works := range []string{
		"write /file", "write /dev/null", "write /dev/shm", "chown", "socket tcp", "prlimit", "start as another user",
		"prlimit of another user's", "kill another user's",
	} {
		require.Contains(t, s.Errors, works)
		assert.Empty(t, s.Errors[works], works)
	}
	for _, refused := range []string{"mount", "unshare user", "sethostname", "socket raw", "mknod block"} {
		assert.Equal(t, "operation not permitted", s.Errors[refused], refused)
	}
	assert.NotEmpty(t, s.Errors["mknod character"])
	assert.NotEmpty(t, s.Errors["socket alg"])
	assert.NotEmpty(t, s.Errors["write sysctl"])
	assert.NotEmpty(t, s.Errors["write sysrq"])
	assert.Equal(t, "function not implemented", s.Errors["clone3"], "so that a libc takes clone")
}

// checkDevices: on cgroup v1 the rules of the hierarchy of devices hold for process 1, and for a job, which is put into
// other cgroups of other hierarchies and stays here.
func checkDevices(t *testing.T, s said, pid int) {
	t.Helper()
	if _, err := os.Stat("/sys/fs/cgroup/devices/devices.list"); errors.Is(err, fs.ErrNotExist) {
		t.Log("no hierarchy of devices")
		return
	}
	assert.Contains(t, s.Text["/device"], "operation not permitted", "a disk of the machine's")
	path := devicesOf(t, pid)
	job := "/sys/fs/cgroup/pids" + path + "-job"
	require.NoError(t, os.Mkdir(job, 0o755)) //nolint:gosec // as cgroups are
	defer func() { assert.Eventually(t, func() bool { return os.Remove(job) == nil }, wait, tick) }()
	require.NoError(t, os.WriteFile(filepath.Join(job, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0))
	defer kill(t, pid)
	assert.Equal(t, path, devicesOf(t, pid))
	rules, err := os.ReadFile("/sys/fs/cgroup/devices" + path + "/devices.list")
	require.NoError(t, err)
	assert.NotContains(t, string(rules), "a *:*")
	for _, rule := range strings.Split(strings.TrimSpace(string(rules)), "\n") {
		if strings.HasPrefix(rule, "b ") {
			assert.Equal(t, "b *:* m", rule, "none can be opened")
		}
	}
}

// devicesOf is a process's cgroup in the hierarchy of devices.
func devicesOf(t *testing.T, pid int) string {
	t.Helper()
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	require.NoError(t, err)
	for _, line := range strings.Split(string(raw), "\n") {
		if _, path, ok := strings.Cut(line, ":devices:"); ok {
			return path
		}
	}
	require.Fail(t, "no such hierarchy")
	return ""
}

func TestRunIsRefused(t *testing.T) {
	for _, name := range runtimes() {
		t.Run(name, func(t *testing.T) {
			r := find(t, name)
			run := container(t, r, "wait")
			raw, err := os.ReadFile(filepath.Join(run.Bundle, configName))
			require.NoError(t, err)
			bad := strings.Replace(string(raw), `"/init"`, `"/no/such/program"`, 1)
			require.NoError(t, os.WriteFile(filepath.Join(run.Bundle, configName), []byte(bad), 0o600))
			_, err = r.Run(t.Context(), run)
			var failed *CommandError
			require.ErrorAs(t, err, &failed)
			require.ErrorContains(t, err, "/no/such/program")
			require.NotContains(t, failed.Words, "level=")
			require.NotContains(t, failed.Words, `"msg"`)
			require.Contains(t, list(t, r), run.ID, "it is the caller's to delete")
			require.NoError(t, r.Delete(t.Context(), run.ID))
			require.NotContains(t, list(t, r), run.ID)

			require.NoError(t, os.WriteFile(filepath.Join(run.Bundle, configName), raw, 0o600))
			_, err = r.Run(t.Context(), run)
			require.NoError(t, err)
			_, err = r.Run(t.Context(), run)
			require.ErrorIs(t, err, ErrExists)

			for _, id := range []string{"", ".", "..", "a/b", "-x", "a b", strings.Repeat("x", 81), "\x00"} {
				_, err := r.Run(t.Context(), Run{ID: id, Bundle: run.Bundle})
				require.Error(t, err)
				require.Error(t, r.Delete(t.Context(), id))
			}
			_, err = r.Run(t.Context(), Run{ID: "elsewhere", Bundle: "/no/such/bundle"})
			require.ErrorAs(t, err, &failed)
			require.NotEmpty(t, failed.Words)
			require.NoError(t, r.Delete(t.Context(), "elsewhere"))
		})
	}
}

func TestRunGivenUp(t *testing.T) {
	needRoot(t)
	r := &Runtime{path: script(t, "sleep 1000 & echo $! >&2; wait"), version: "slow", dir: stateDir(t), log: nullLog()}
	for _, name := range []string{runtimeName, recordsName} {
		require.NoError(t, os.Mkdir(filepath.Join(r.dir, name), dirMode))
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	defer log.Close()
	ctx, cancel := context.WithCancel(t.Context())
	child := make(chan int, 1)
	go func() {
		assert.Eventually(t, func() bool {
			raw, err := os.ReadFile(log.Name())
			pid, _ := strconv.Atoi(strings.TrimSpace(string(raw)))
			if err == nil && pid > 0 {
				child <- pid
			}
			return pid > 0
		}, wait, tick)
		cancel()
	}()
	_, err = r.Run(ctx, Run{ID: "x", Bundle: t.TempDir(), Log: log})
	require.ErrorIs(t, err, context.Canceled)
	pid := <-child
	require.Eventually(t, func() bool { return ended(pid) }, wait, tick, "with what the runtime started")
}

// TestRunAtOnce: many at a time, also with a mount namespace for each.
func TestRunAtOnce(t *testing.T) {
	for _, name := range runtimes() {
		t.Run(name, func(t *testing.T) {
			r := find(t, name)
			main, err := os.Readlink("/proc/self/ns/mnt")
			require.NoError(t, err)
			const many = 12
			errs := make(chan error, many)
			for range many {
				run := container(t, r, "wait")
				go func() {
					pid, err := r.Run(context.Background(), run)
					if err == nil && ended(pid) {
						err = errors.New("it has ended")
					}
					errs <- errors.Join(err, r.Delete(context.Background(), run.ID))
				}()
			}
			for range many {
				require.NoError(t, <-errs)
			}
			require.Empty(t, list(t, r))
			require.Eventually(t, func() bool {
				threads, err := filepath.Glob("/proc/self/task/*/ns/mnt")
				require.NoError(t, err)
				for _, thread := range threads {
					if link, err := os.Readlink(thread); err == nil && link != main {
						return false
					}
				}
				return true
			}, wait, tick, "no thread is left elsewhere")
		})
	}
}

// TestHiddenSeesWhatIsMountedLater: a mount made after Find is there in the run.
func TestHiddenSeesWhatIsMountedLater(t *testing.T) {
	for _, name := range runtimes() {
		t.Run(name, func(t *testing.T) {
			r := find(t, name)
			run := container(t, r, "report")
			root := filepath.Join(run.Bundle, "rootfs")
			require.NoError(t, unix.Mount(root, root, "", unix.MS_BIND, ""))
			// As a container's overlay is mounted.
			require.NoError(t, unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID|unix.MS_NODEV, ""))
			at := filepath.Join(root, "mnt")
			require.NoError(t, os.Mkdir(at, 0o755)) //nolint:gosec // as mount points are
			require.NoError(t, unix.Mount("later", at, "tmpfs", 0, ""))
			t.Cleanup(func() {
				require.NoError(t, unix.Unmount(at, unix.MNT_DETACH))
				require.NoError(t, unix.Unmount(root, unix.MNT_DETACH))
			})
			s, _ := start(t, r, run)
			require.Contains(t, s.Text["/proc/self/mountinfo"], " /mnt ")
			require.NoError(t, r.Delete(t.Context(), run.ID))
			require.NoError(t, unix.Unmount(at, 0), "nothing keeps it busy")
			require.NoError(t, unix.Mount("later", at, "tmpfs", 0, ""))
		})
	}
}

func list(t *testing.T, r *Runtime) []string {
	t.Helper()
	ids, err := r.IDs(t.Context())
	require.NoError(t, err)
	return ids
}

func TestReason(t *testing.T) {
	for log, want := range map[string]string{
		"":                                   "",
		"\n \n":                              "",
		"plain\nwords":                       "plain; words",
		`{"level":"error","msg":"a"}` + "\n": "a",
		`{"level":"error","msg":"a"}` + "\n" + `{"level":"error","msg":"b"}`: "b",
		`{"level":"warning","msg":"w"}`:                                      "w",
		`{"level":"warning","msg":"w"}` + "\ntext":                           "text",

		`{"level":"error"`:              `{"level":"error"`,
		strings.Repeat("x", 2*maxWords): strings.Repeat("x", maxWords),
		"\xff\xfe":                      "",
	} {
		require.Equal(t, want, reason([]byte(log)))
	}
}
