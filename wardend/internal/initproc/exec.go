package initproc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// exec starts a job's process.
func (s *server) exec(spec *SpawnSpec, c *child) (pid int, err error) {
	attr := &syscall.ProcAttr{Dir: spec.Dir, Env: spec.Env, Files: c.fds(), Sys: &syscall.SysProcAttr{Setsid: true}}
	if s.contained {
		// None of the init's ids, of which one is another.
		attr.Sys.Credential = &syscall.Credential{NoSetGroups: true}
	}
	if u := spec.User; u != nil {
		if err := c.give(u); err != nil {
			return 0, explain(spec, err)
		}
		attr.Sys.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	if s.contained {
		dir, err := openDir(spec.Dir)
		if err != nil {
			return 0, err
		}
		defer func() { _ = dir.Close() }()
		attr.Dir = "/proc/self/fd/" + strconv.Itoa(int(dir.Fd()))
	}
	pid, err = s.forker.fork(spec.Args[0], spec.Args, attr)
	if err != nil {
		return 0, explain(spec, err)
	}
	return pid, nil
}

// openDir opens a job's directory. The way there must lead through none of /proc's links, which the container's root
// might have laid: while a process starts, /proc/self/cwd is still the init's state directory.
func openDir(dir string) (*os.File, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("the job's directory %q is not absolute", dir)
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, dir, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, fmt.Errorf("the job's directory %s: %w", dir, err)
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// explain says what it was about a job that could not be started. The kernel gives but a number.
func explain(spec *SpawnSpec, err error) error {
	switch {
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("start %s: the container has as many processes as it may have: %w", spec.Args[0], err)
	case errors.Is(err, unix.EINVAL) && spec.User != nil:
		if id, ok := unmapped(spec.User); ok {
			return fmt.Errorf("start %s: the container has no user or group with the id %d", spec.Args[0], id)
		}
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EACCES):
		if _, dirErr := os.Stat(spec.Dir); dirErr != nil && spec.Dir != "" {
			return fmt.Errorf("start %s: the job's directory: %w", spec.Args[0], dirErr)
		}
	}
	return fmt.Errorf("start %s in %s: %w", spec.Args[0], spec.Dir, err)
}

// unmapped finds an id of a user's that the init's user namespace does not have.
func unmapped(u *User) (id uint32, found bool) {
	for path, ids := range map[string][]uint32{"/proc/self/uid_map": {u.UID}, "/proc/self/gid_map": append([]uint32{u.GID}, u.Groups...)} {
		raw, err := os.ReadFile(path)
		if err != nil {
			return 0, false
		}
		for _, id := range ids {
			if !inMap(string(raw), uint64(id)) {
				return id, true
			}
		}
	}
	return 0, false
}

// inMap looks for an id in a map of ids, whose lines are: first id inside, first id outside, how many.
func inMap(text string, id uint64) bool {
	for line := range strings.Lines(text) {
		var first, outside, size uint64
		if n, _ := fmt.Sscan(line, &first, &outside, &size); n == 3 && id >= first && id-first < size { //nolint:mnd // of a line
			return true
		}
	}
	return false
}
