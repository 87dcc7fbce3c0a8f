package scratch

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// point is a system call at which a server dies; command is that of an ioctl.
type point struct{ call, command uint32 }

func points() map[string]point {
	ioctl := func(command uintptr) point { return point{unix.SYS_IOCTL, uint32(command)} }
	return map[string]point{
		"mkdir":                {unix.SYS_MKDIRAT, 0},
		"truncate":             {unix.SYS_FTRUNCATE, 0},
		"read of the template": {unix.SYS_PREAD64, 0},
		"wait for mkfs":        {unix.SYS_WAITID, 0},
		"rename":               {unix.SYS_RENAMEAT, 0},
		"remove":               {unix.SYS_UNLINKAT, 0},
		"chmod":                {unix.SYS_FCHMODAT, 0},
		"mount":                {unix.SYS_MOUNT, 0},
		"unmount":              {unix.SYS_UMOUNT2, 0},
		"quotactl":             {unix.SYS_QUOTACTL_FD, 0},
		"setxattr":             {unix.SYS_SETXATTR, 0},
		"LOOP_CTL_GET_FREE":    ioctl(unix.LOOP_CTL_GET_FREE),
		"LOOP_CONFIGURE":       ioctl(unix.LOOP_CONFIGURE),
		"SUBVOL_CREATE":        ioctl(btrfsIoctl(ioWrite, 14, 4096)),
		"SNAP_DESTROY":         ioctl(btrfsIoctl(ioWrite, 15, 4096)),
		"QUOTA_CTL":            ioctl(btrfsIoctl(ioRead|ioWrite, 40, 16)),
		"FSSETXATTR":           ioctl(setAttributes),
		"QGROUP_LIMIT":         ioctl(btrfsIoctl(ioRead, 43, 48)),
	}
}

// phases are what a server does; each begins where the one before ended.
func phases() []string { return []string{"open", "make", "limit", "remove", "close"} }

// deaths are all system calls of each phase that change something.
func deaths() map[string]map[string][]string {
	return map[string]map[string][]string{
		KindBtrfs: {
			"open": {
				"mkdir", "truncate", "wait for mkfs", "rename", "LOOP_CTL_GET_FREE", "LOOP_CONFIGURE", "mount", "QUOTA_CTL",
			},
			"make":   {"SUBVOL_CREATE", "chmod"},
			"limit":  {"QGROUP_LIMIT"},
			"remove": {"SNAP_DESTROY"},
			"close":  {"unmount", "remove"},
		},
		KindImage: {
			"open": {"mkdir", "truncate", "wait for mkfs", "rename"},
			"make": {
				"mkdir", "truncate", "read of the template", "LOOP_CTL_GET_FREE", "LOOP_CONFIGURE", "mount", "remove", "chmod",
			},
			"limit":  {"setxattr"},
			"remove": {"unmount", "remove"},
			"close":  {"remove"},
		},
		KindQuota: {
			"open":   {"mkdir", "FSSETXATTR", "quotactl", "remove"},
			"make":   {"mkdir", "quotactl", "FSSETXATTR"},
			"limit":  {"quotactl"},
			"remove": {"quotactl", "remove"},
			"close":  {"remove"},
		},
	}
}

// A server dies at a system call, and the next one finds, or makes again, whatever there was.
func TestKilledAnywhere(t *testing.T) {
	for kind, ofKind := range deaths() {
		for phase, name := range phases() {
			for _, at := range ofKind[name] {
				t.Run(kind+"/"+name+"/"+at, func(t *testing.T) {
					t.Parallel()
					needRoot(t)
					dir := plain
					if kind == KindQuota {
						dir = ext4WithProjectQuotas()
					}
					s := &testStore{options: Options{Dir: dir(t), Kind: kind, Size: imgSize, Instance: "test"}}
					die(t, fmt.Sprintf("%s %s %d %s", kind, s.options.Dir, phase, strings.ReplaceAll(at, " ", "-")))
					findAgain(t, s, name)
				})
			}
		}
	}
}

// die runs a child, which has to be killed.
func die(t *testing.T, what string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), childVariable+"="+what)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "it has ended by itself: %s", out)
	status, ok := exit.Sys().(syscall.WaitStatus)
	require.True(t, ok && status.Signaled() && status.Signal() == unix.SIGSYS, "%v %s", err, out)
}

// findAgain is the next server's part.
func findAgain(t *testing.T, s *testStore, phase string) {
	t.Helper()
	ctx := t.Context()
	s.open(t)
	ids, err := s.IDs(ctx)
	require.NoError(t, err)
	if phase == "limit" {
		require.Equal(t, []string{"a"}, ids)
		dir, err := s.Open(ctx, "a")
		require.NoError(t, err)
		require.FileExists(t, filepath.Join(dir, "file"))
	}
	if len(ids) != 0 {
		// It cannot be told from a whole one, or is none: both are fine, and it goes.
		_, err := s.Open(ctx, "a")
		if phase != "make" && phase != "remove" {
			require.NoError(t, err)
		}
		_, err = s.Make(ctx, "a")
		require.ErrorIs(t, err, ErrExists)
		require.NoError(t, s.Remove(ctx, "a"))
	}
	dir := s.make(t, "a")
	require.NoError(t, s.Limit(ctx, "a", 2*mib, 0))
	_, err = fill(t, filepath.Join(dir, "file"), 4*mib)
	requireFull(t, err)
	s.destroy(t)
}

// child is a server that dies in a phase. It exits with 0 when the phase does not come to the point.
func child(what string) int {
	var kind, dir, at string
	var phase int
	if _, err := fmt.Sscan(what, &kind, &dir, &phase, &at); err != nil {
		return fail(err)
	}
	var s Store
	var root string
	steps := []func() error{
		func() (err error) {
			s, err = Open(context.Background(), Options{Dir: dir, Kind: kind, Size: imgSize, Instance: "test"})
			return err
		},
		func() (err error) { root, err = s.Make(context.Background(), "a"); return err },
		func() error { return s.Limit(context.Background(), "a", 8*mib, 0) },
		func() error { return s.Remove(context.Background(), "a") },
		func() error { return s.Close() },
	}
	for i, step := range steps[:phase+1] {
		if i == phase {
			if err := dieAt(points()[strings.ReplaceAll(at, "-", " ")]); err != nil {
				return fail(err)
			}
		}
		if err := step(); err != nil {
			return fail(err)
		}
		if i == 1 {
			if err := os.WriteFile(filepath.Join(root, "file"), make([]byte, mib), fileMode); err != nil {
				return fail(err)
			}
		}
	}
	return 0
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// dieAt has the kernel kill the whole process instead of doing the system call.
func dieAt(p point) error {
	const callAt, commandAt = 0, 24 // in struct seccomp_data
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	unless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: skip}
	}
	answer := func(value uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value} }
	filter := []unix.SockFilter{load(callAt)}
	if p.command != 0 {
		filter = append(filter, unless(p.call, 3), load(commandAt), unless(p.command, 1))
	} else {
		filter = append(filter, unless(p.call, 1))
	}
	filter = append(filter, answer(unix.SECCOMP_RET_KILL_PROCESS), answer(unix.SECCOMP_RET_ALLOW))
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	return nil
}
