package ociruntime

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// CommandError is a command of the runtime's that failed.
type CommandError struct {
	// Runtime is the runtime's name and version, Command what it was to do.
	Runtime, Command string
	// Words are the runtime's own, in at most about a thousand bytes; empty if it said nothing.
	Words string
	// Err is the exit status, or why the runtime could not be run, or why it was ended.
	Err error
}

// Error is the runtime's words, or else the cause.
func (e *CommandError) Error() string {
	if e.Words == "" {
		return fmt.Sprintf("%s %s: %v", e.Runtime, e.Command, e.Err)
	}
	return fmt.Sprintf("%s %s: %s", e.Runtime, e.Command, e.Words)
}

// Unwrap is the cause.
func (e *CommandError) Unwrap() error { return e.Err }

// call is one run of the runtime's program.
type call struct {
	// args are the command and its arguments, after the global options.
	args []string
	// plain leaves the global options out.
	plain bool
	// files are file descriptors 3 and up.
	files []*os.File
	// held is a file that all processes of the runtime's keep open, and the container's does not; or nil.
	held *os.File
	// output gets both output streams; nil returns them.
	output *os.File
}

const (
	firstFile = 3
	maxWords  = 1000
	maxOutput = 1 << 20
)

// command runs the program until it ends, or kills it at the end of ctx, with all that it has not moved to a session of
// its own. It is killed too when this process is.
//
// Neither output nor log is a pipe: a process that is left behind would keep a pipe open, and this waiting.
func (r *Runtime) command(ctx context.Context, c call) ([]byte, error) {
	fail := func(words string, err error) error {
		return &CommandError{Runtime: r.version, Command: c.args[0], Words: words, Err: err}
	}
	log, err := memory("runtime-log")
	if err != nil {
		return nil, fail("", err)
	}
	defer log.Close()
	output, from := c.output, int64(0)
	if output == nil {
		if output, err = memory("runtime-output"); err != nil {
			return nil, fail("", err)
		}
		defer output.Close()
	} else if info, err := output.Stat(); err == nil {
		from = info.Size()
	}
	cmd := r.prepare(ctx, c, log, output)
	if err := onThread(r.hide, cmd.Run); err != nil {
		if ctx.Err() != nil {
			return nil, fail("", context.Cause(ctx))
		}
		words := reason(read(log, 0))
		if words == "" {
			words = reason(read(output, from))
		}
		return nil, fail(words, err)
	}
	if c.output != nil {
		return nil, nil
	}
	return read(output, 0), nil
}

func (r *Runtime) prepare(ctx context.Context, c call, log, output *os.File) *exec.Cmd {
	var args []string
	if !c.plain {
		// Beyond the files that a container gets, so that the runtime closes it there.
		logPath := "/proc/self/fd/" + strconv.Itoa(firstFile+len(c.files))
		args = []string{"--root", r.root(), "--log", logPath, "--log-format", "json"}
	}
	cmd := exec.CommandContext(ctx, r.path, append(args, c.args...)...) //nolint:gosec // the operator's choice
	cmd.Dir = "/"
	// Nothing of this process's: NOTIFY_SOCKET and LISTEN_FDS would change what a runtime does.
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.ExtraFiles = append(append(cmd.ExtraFiles, c.files...), log)
	if c.held != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, c.held)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error {
		// A runtime's helpers are in its process group until they are the container's.
		return errors.Join(cmd.Process.Kill(), ignoreGone(unix.Kill(-cmd.Process.Pid, unix.SIGKILL)))
	}
	return cmd
}

func ignoreGone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// memory is a file that is nowhere.
func memory(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// read is what was written to a file since it had the length from; nothing if it cannot be read.
func read(f *os.File, from int64) []byte {
	// A log is often open for writing alone.
	again, err := os.Open("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		return nil
	}
	defer again.Close()
	if info, err := again.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	raw, err := io.ReadAll(io.NewSectionReader(again, from, maxOutput))
	if err != nil {
		return nil
	}
	return raw
}

// reason is why a runtime gave up: in a log, the last of its errors, since those before it are what it noticed on the
// way; else all that it wrote.
func reason(log []byte) string {
	var text []string
	var last, lastError string
	for line := range strings.Lines(string(log)) {
		line = strings.TrimSpace(line)
		var entry struct{ Level, Msg string }
		switch {
		case line == "":
		case json.Unmarshal([]byte(line), &entry) != nil || entry.Msg == "":
			text = append(text, line)
		case entry.Level == "error" || entry.Level == "fatal":
			lastError = entry.Msg
		default:
			last = entry.Msg
		}
	}
	words := cmp.Or(lastError, strings.Join(text, "; "), last)
	return strings.ToValidUTF8(words[:min(len(words), maxWords)], "")
}
