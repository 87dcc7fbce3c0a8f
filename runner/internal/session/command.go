package session

import (
	"encoding/json"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/execwire"
	"github.com/durable-dea/dea/runner/internal/shell"
)

// script sets up the environment and becomes the command, or a shell that reads its commands.
const script = shell.Profile + `if [ -n "$1" ]; then exec "$BASH" -c "$1"; fi
exec "$BASH"`

// running is a command that runs. Its processes, whoever begot them, are this process's children in the end.
type running struct {
	*shell.Processes
	// stdin is where input goes; terminal is nil without one, and stdin then is a pipe.
	stdin    *os.File
	terminal *os.File
	outputs  []output
	input    *input
}

// output is a file to be read for a kind of frames.
type output struct {
	kind execwire.Kind
	file *os.File
}

// begin starts the command.
func begin(command execwire.Command, dir string, environment []string) (*running, error) {
	r, theirs, err := ends(command.Terminal)
	defer closeAll(theirs)
	if err != nil {
		return nil, err
	}
	r.Processes, err = shell.Start(&os.ProcAttr{
		Dir: dir, Env: environment, Files: theirs, Sys: &syscall.SysProcAttr{Setsid: true, Setctty: r.terminal != nil},
	}, "-c", script, "dea-session", command.Line)
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// ends makes both ends of what a command reads and writes. theirs are to be closed, also after an error.
func ends(terminal *execwire.Terminal) (r *running, theirs []*os.File, err error) {
	r = &running{input: newInput()}
	if terminal != nil {
		ours, tty, err := pty.Open()
		if err != nil {
			return nil, nil, err
		}
		r.terminal, r.stdin, r.outputs = ours, ours, []output{{execwire.Stdout, ours}}
		r.resize(terminal.Size)
		return r, []*os.File{tty, tty, tty}, nil
	}
	for _, kind := range []execwire.Kind{execwire.Stdin, execwire.Stdout, execwire.Stderr} {
		read, write, err := os.Pipe()
		if err != nil {
			r.close()
			return nil, theirs, err
		}
		if kind == execwire.Stdin {
			r.stdin, theirs = write, append(theirs, read)
		} else {
			r.outputs, theirs = append(r.outputs, output{kind, read}), append(theirs, write)
		}
	}
	return r, theirs, nil
}

func (r *running) resize(size execwire.Size) {
	if r.terminal != nil && size.Rows > 0 && size.Cols > 0 {
		_ = pty.Setsize(r.terminal, &pty.Winsize{Rows: size.Rows, Cols: size.Cols})
	}
}

func (r *running) close() {
	if r.stdin != nil {
		_ = r.stdin.Close()
	}
	for _, out := range r.outputs {
		_ = out.file.Close()
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// hear does what the worker says, until the connection ends; then it closes left. It returns when all input has gone its way:
// a command that does not read is ended by who hears of left, and the input with it.
func (r *running) hear(from io.Reader, to *execwire.Writer, left chan<- struct{}) {
	var writing sync.WaitGroup
	writing.Go(func() { r.input.copyTo(r.stdin, r.terminal != nil, to) })
	defer writing.Wait()
	defer close(left)
	defer r.input.end()
	for {
		kind, payload, err := execwire.Read(from)
		if err != nil {
			return
		}
		switch kind {
		case execwire.Stdin:
			if !r.input.add(payload) {
				return // it sends more than it may
			}
		case execwire.StdinEnd:
			r.input.end()
		case execwire.Resize:
			var size execwire.Size
			if json.Unmarshal(payload, &size) == nil {
				r.resize(size)
			}
		case execwire.Signal:
			r.signal(string(payload))
		}
	}
}

// signal sends a signal to the command's processes that are not in groups of their own; with a terminal, to those in its
// foreground.
func (r *running) signal(name string) {
	number := unix.SignalNum("SIG" + name)
	if number == 0 {
		return
	}
	group := r.Leader
	if r.terminal != nil {
		group = r.foreground(group)
	}
	_ = unix.Kill(-group, number)
}

// foreground is the process group that the terminal is with, or another one where there is none.
func (r *running) foreground(otherwise int) int {
	// Fd would have the terminal block for good, whom no deadline and no Close wakes then.
	raw, err := r.terminal.SyscallConn()
	if err != nil {
		return otherwise
	}
	group := otherwise
	_ = raw.Control(func(fd uintptr) {
		if found, err := unix.IoctlGetInt(int(fd), unix.TIOCGPGRP); err == nil && found > 0 { //nolint:gosec // a descriptor
			group = found
		}
	})
	return group
}
