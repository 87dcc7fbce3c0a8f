package phase

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// LeftBehind is how long the output of processes that outlive the program is waited for. Buildpacks pipe their
// output through sed and the like, and those end a little later; whoever stays longer is not worth waiting for.
const LeftBehind = 2 * time.Second

// Command is a program to run. It reads nothing: its stdin is empty.
type Command struct {
	// Path is the program, Args what follows it.
	Path string
	Args []string
	// Dir is the working directory.
	Dir string
	// Env is the environment; nil for this process's own. Of a name that is there twice the last counts.
	Env []string
	// Stdout and Stderr receive the output. When they are the same value, both go through one pipe and keep their
	// order. A writer that fails loses output and disturbs nothing.
	Stdout, Stderr io.Writer
}

// ErrNotStarted is in the error of a program that could not be begun.
var ErrNotStarted = errors.New("could not be started")

// Run runs the program and gives its exit status, 128+n when signal n ended it. When ctx ends first, its process
// group is killed and the error is ctx's cause. Afterwards nothing is left of the group, and nobody writes to
// Stdout and Stderr any more.
func (c Command) Run(ctx context.Context) (int, error) {
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	cmd := exec.Command(c.Path, c.Args...) //nolint:noctx // a context would kill the program alone, not its group
	cmd.Dir, cmd.Env = c.Dir, c.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := attach(cmd, c.Stdout, c.Stderr)
	if err != nil {
		return 0, err
	}
	err = cmd.Start()
	out.started()
	if err != nil {
		out.finish()
		return 0, fmt.Errorf("%s %w: %w", c.Path, ErrNotStarted, err)
	}
	group := &group{id: cmd.Process.Pid}
	stop := context.AfterFunc(ctx, group.kill)
	group.await()
	out.wait(ctx, LeftBehind)
	group.kill()
	stop()
	group.reap(cmd)
	out.finish()
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	return Status(cmd.ProcessState.Sys().(syscall.WaitStatus)), nil
}

// Status is a process's exit status as shells count it: 128+n when signal n ended it.
func Status(s syscall.WaitStatus) int {
	if s.Signaled() {
		const signalled = 128
		return signalled + int(s.Signal())
	}
	return s.ExitStatus()
}

// group is a process group whose leader is a child of ours. As long as the leader is not reaped, nobody else can
// get the group's number, so that a kill hits the right ones.
type group struct {
	id     int
	mu     sync.Mutex
	reaped bool
}

func (g *group) kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.reaped {
		_ = unix.Kill(-g.id, unix.SIGKILL)
	}
}

// await returns when the leader has ended, and leaves it to be reaped.
func (g *group) await() {
	for {
		err := unix.Waitid(unix.P_PID, g.id, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

func (g *group) reap(cmd *exec.Cmd) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = cmd.Wait() // what it says is in cmd.ProcessState
	g.reaped = true
}

// output copies what a program says.
type output struct {
	theirs []*os.File
	ours   []*os.File
	copies sync.WaitGroup
}

func attach(cmd *exec.Cmd, stdout, stderr io.Writer) (*output, error) {
	o := &output{}
	out, err := o.pipe(stdout)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = out, out
	if stdout == stderr {
		return o, nil
	}
	if out, err = o.pipe(stderr); err != nil {
		o.started()
		o.finish()
		return nil, err
	}
	cmd.Stderr = out
	return o, nil
}

func (o *output) pipe(to io.Writer) (*os.File, error) {
	ours, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o.ours, o.theirs = append(o.ours, ours), append(o.theirs, theirs)
	o.copies.Go(func() {
		// A writer that fails must not make the program die of a broken pipe.
		_, _ = io.Copy(lossy{to}, ours)
	})
	return theirs, nil
}

type lossy struct{ to io.Writer }

func (l lossy) Write(p []byte) (int, error) {
	_, _ = l.to.Write(p)
	return len(p), nil
}

// started gives up our copies of the program's ends: only its processes hold them now.
func (o *output) started() {
	for _, f := range o.theirs {
		_ = f.Close()
	}
}

// wait returns when all is copied, at the latest after limit or when ctx ends.
func (o *output) wait(ctx context.Context, limit time.Duration) {
	done := make(chan struct{})
	go func() {
		o.copies.Wait()
		close(done)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// finish ends the copying: what is in the pipes is still taken, whoever writes on is not heard.
func (o *output) finish() {
	for _, f := range o.ours {
		_ = f.SetReadDeadline(time.Now().Add(drain))
	}
	o.copies.Wait()
	for _, f := range o.ours {
		_ = f.Close()
	}
}

// drain is enough to take what is in a pipe, which is 64 KiB.
const drain = 100 * time.Millisecond
