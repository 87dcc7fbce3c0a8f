package initproc

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// attack tries to get into a process in every way there is, and names those that worked.
func attack(target string) {
	pid, err := strconv.Atoi(target)
	if err != nil {
		fmt.Println(err)
		return
	}
	runtime.LockOSThread()
	try := func(name string, err error) {
		if err == nil {
			fmt.Println(name)
		}
	}
	at := func(name string, flags int) {
		path := filepath.Join("/proc", target, name)
		if strings.HasSuffix(name, "/..") || strings.HasSuffix(name, "/.") {
			path = "/proc/" + target + "/" + name
		}
		fd, err := unix.Open(path, flags|unix.O_NONBLOCK, 0)
		if err == nil {
			_ = unix.Close(fd)
		}
		try(name, err)
	}
	for _, dir := range []string{"cwd", "cwd/.", "cwd/..", "root", "root/.."} {
		at(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	}
	at("cwd", unix.O_PATH)
	at("cwd/"+pidName, unix.O_RDONLY)
	for _, file := range []string{"environ", "maps", "auxv", "ns/user"} {
		if raw, err := os.ReadFile(filepath.Join("/proc", target, file)); err == nil && len(raw) > 0 {
			fmt.Println(file)
		}
	}
	if maps, err := os.ReadDir(filepath.Join("/proc", target, "map_files")); err == nil && len(maps) > 0 {
		fmt.Println("map_files")
	}
	at("mem", unix.O_RDONLY)
	at("mem", unix.O_RDWR)
	for fd := range 20 {
		at("fd/"+strconv.Itoa(fd), unix.O_RDONLY)
		at("fd/"+strconv.Itoa(fd), unix.O_WRONLY)
		at("fd/"+strconv.Itoa(fd), unix.O_PATH)
	}
	for _, link := range []string{"cwd", "root", "exe", "fd/0", "ns/mnt"} {
		_, err := os.Readlink(filepath.Join("/proc", target, link))
		try("link "+link, err)
	}
	tasks, _ := os.ReadDir(filepath.Join("/proc", target, "task"))
	for _, task := range tasks {
		at("task/"+task.Name()+"/cwd", unix.O_PATH)
		at("task/"+task.Name()+"/fd/0", unix.O_PATH)
		at("task/"+task.Name()+"/mem", unix.O_RDONLY)
		tid, _ := strconv.Atoi(task.Name())
		if err := unix.PtraceSeize(tid); err == nil {
			fmt.Println("ptrace of a thread")
			_ = unix.PtraceDetach(tid)
		}
	}
	var local, remote [1]byte
	_, err = unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &local[0], Len: 1}}, []unix.RemoteIovec{{Base: 0x400000, Len: len(remote)}}, 0)
	try("process_vm_readv", err)
	if pidfd, err := unix.PidfdOpen(pid, 0); err == nil {
		_, err := unix.PidfdGetfd(pidfd, 0, 0)
		try("pidfd_getfd", err)
		try("setns", unix.Setns(pidfd, unix.CLONE_NEWNS))
	}
	try("prlimit", unix.Prlimit(pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil))
}

// TestJobsCannotLookIntoTheInit: its current directory is a directory of the machine.
func TestJobsCannotLookIntoTheInit(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		t.Helper()
		s := b.shell(t)
		attackAs := func(uid uint32, target string) string {
			spec := s.spec(uid, "")
			spec.Args = []string{b.program, attackCommand, target}
			_, stdout, stderr := run(t, s.Client, b.dir, s.ended, spec)
			require.Empty(t, stderr)
			return stdout
		}
		require.Empty(t, attackAs(0, "1"), "the container's root")
		require.Empty(t, attackAs(1000, "1"), "another user")

		// The same against another job succeeds.
		spawn(t, s.Client, s.spec(0, "sleep 1000"))
		victim := strconv.Itoa(jobs(t, s.Client)[s.next].PID)
		got := attackAs(0, victim)
		for _, way := range []string{"cwd\n", "root/..\n", "fd/0\n", "mem\n", "environ\n", "link cwd\n", "ptrace of a thread\n", "prlimit\n"} {
			require.Contains(t, got, way)
		}
	})
}

// TestEachThreadOfTheInitIsHidden: the one that forks has fewer capabilities than the others in reach, but no less held.
func TestEachThreadOfTheInitIsHidden(t *testing.T) {
	b := inNamespaces(t, boxOptions{})
	s := b.shell(t)
	require.Equal(t, "0\n", s.run(0, "id -u"))
	ours := uint64(0)
	for _, c := range jobCapabilities() {
		ours |= 1 << c
	}
	for _, thread := range threads(t, b.pid) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", b.pid, thread))
		require.NoError(t, err)
		_, text, _ := strings.Cut(string(status), "CapPrm:\t")
		permitted, err := strconv.ParseUint(text[:16], 16, 64)
		require.NoError(t, err)
		require.NotZero(t, permitted&^ours, "thread %s has nothing that a job has not", thread)
	}
}

// TestTheStateDirectoryIsAllOfTheMachine that an init has which was taken over.
func TestTheStateDirectoryIsAllOfTheMachine(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(shortDir(t), "state")
	in, err := Prepare(dir, testBase, testBase)
	require.NoError(t, err)
	defer in.Close()
	here, err := os.Stat(dir)
	require.NoError(t, err)
	for _, path := range []string{".", "..", "../../..", "jobs/../.."} {
		fd, err := unix.Openat(int(in.State.Fd()), path, unix.O_PATH|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		f := os.NewFile(uintptr(fd), path)
		there, err := f.Stat()
		require.NoError(t, err)
		require.True(t, os.SameFile(here, there), path)
		require.NoError(t, f.Close())
	}
}

// TestLinksThatLeadIntoTheInit: root of the container can put links of /proc where the init opens something for a job.
func TestLinksThatLeadIntoTheInit(t *testing.T) {
	eachBox(t, func(t *testing.T, b *box) {
		t.Helper()
		s := b.shell(t)
		s.run(0, "ln -s /proc/self/cwd /mnt/cwd; ln -s /proc/1/cwd /mnt/first; ln -s /proc/self/fd/3 /mnt/fd")
		for _, dir := range []string{"/mnt/cwd", "/mnt/cwd/jobs", "/mnt/first", "/proc/self/cwd", "", ".", "jobs", "../state"} {
			spec := s.spec(0, "pwd -P")
			spec.Dir = dir
			_, err := s.Spawn(t.Context(), spec)
			require.ErrorContains(t, err, "the job's directory", dir)
		}
		spec := s.spec(0, "")
		spec.Args = []string{"/mnt/cwd/jobs/1.out"}
		_, err := s.Spawn(t.Context(), spec)
		require.Error(t, err)
		require.Equal(t, "/mnt\n", func() string {
			spec := s.spec(1000, "pwd -P")
			spec.Dir = "/mnt/../mnt"
			_, stdout, _ := run(t, s.Client, b.dir, s.ended, spec)
			return stdout
		}())
	})
}
