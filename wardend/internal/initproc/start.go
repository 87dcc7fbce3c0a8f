package initproc

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/proctree"
)

// Start starts an init with the state directory dir, which is made. Command is the program that calls Main, with its
// arguments. The init belongs to no terminal and no process group of the caller's; it lives until it is told to end.
func Start(dir string, command []string) error {
	if err := os.MkdirAll(filepath.Join(dir, jobsName), dirMode); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	control, err := listen(dir)
	if err != nil {
		return err
	}
	defer func() { _ = control.Close() }()
	logFile, err := os.OpenFile(filepath.Join(dir, logName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, fileMode)
	if err != nil {
		return fmt.Errorf("open log of init: %w", err)
	}
	defer func() { _ = logFile.Close() }()

	cmd := exec.Command(command[0], command[1:]...) //nolint:gosec,noctx // wardend itself; it outlives who starts it
	cmd.Args[0] = "wardend"
	cmd.Dir = dir
	cmd.Env = Environment()
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.ExtraFiles = []*os.File{control}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start init: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	return nil
}

func listen(dir string) (*os.File, error) {
	if err := os.Remove(filepath.Join(dir, socketName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	var control *os.File
	err := withShortPath(dir, func(path string) error {
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return err
		}
		listener.SetUnlinkOnClose(false)
		control, err = listener.File()
		return errors.Join(err, listener.Close())
	})
	if err != nil {
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	return control, nil
}

// withShortPath calls f with a path to the control socket in dir that is short, however long dir is: the kernel allows
// 108 bytes.
func withShortPath(dir string, f func(path string) error) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer func() { _ = unix.Close(fd) }()
	return f("/proc/self/fd/" + strconv.Itoa(fd) + "/" + socketName)
}

// Kill ends an init that Start has started and that does not do as it is told, and all processes beneath it, by
// signals. It is no error when the init is gone already; what it had beneath it then hangs somewhere else. It refuses
// the init of a container, which is for who started the container to end: what that one has written of itself is not
// to be believed.
func Kill(dir string) error {
	state, err := openState(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find init: %w", err)
	}
	defer func() { _ = state.Close() }()
	var record pidRecord
	if err := state.readJSON(pidName, &record); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("find init: %w", err)
	}
	if record.PID <= 1 {
		return fmt.Errorf("find init: %w", errInContainer)
	}
	const rounds = 400
	for range rounds {
		stat, err := proctree.Read(record.PID)
		if errors.Is(err, proctree.ErrGone) || (err == nil && (stat.Start != record.Start || stat.State == 'Z')) {
			return nil
		}
		if err != nil {
			return err
		}
		pids, err := proctree.Descendants(record.PID)
		if err != nil {
			return err
		}
		if !killAlive(pids) {
			_ = unix.Kill(record.PID, unix.SIGKILL)
		}
		time.Sleep(killPause)
	}
	return fmt.Errorf("init %d does not end", record.PID)
}

var errInContainer = errors.New("it is process 1 of a container")

const killPause = 5 * time.Millisecond

// killAlive says whether there was a process to kill. Those that have ended stay in the list until the init reaps
// them, which one that is stopped does not.
func killAlive(pids []int) bool {
	killed := false
	for _, pid := range pids {
		if stat, err := proctree.Read(pid); err == nil && stat.State != 'Z' {
			killed = true
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	return killed
}
