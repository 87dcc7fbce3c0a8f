package launch

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/runner/internal/phase"
	"github.com/durable-dea/dea/runner/internal/shell"
)

// app is a running app: a process group, whose orphans fall to us.
type app struct {
	group int
	// ended has the exit status of the first process, gone is closed when no process of the app's is left.
	ended <-chan int
	gone  <-chan struct{}
	out   *output
}

// begin starts the app. From then on this process reaps every child, whoever begot it: so it can tell when a
// stopping app is wholly gone.
func begin(command, dir string, env []string, out *output) (*app, error) {
	bash, err := shell.Bash()
	if err != nil {
		return nil, err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	stdout, stderr, err := out.pipes()
	if err != nil {
		return nil, err
	}
	process, err := os.StartProcess(bash, []string{bash, "-c", script, command}, &os.ProcAttr{
		Dir:   dir,
		Env:   env,
		Files: []*os.File{null, stdout, stderr},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	_, _ = stdout.Close(), stderr.Close()
	if err != nil {
		return nil, err
	}
	ended, gone := make(chan int, 1), make(chan struct{})
	leader := process.Pid
	_ = process.Release()
	go reap(leader, ended, gone)
	return &app{group: leader, ended: ended, gone: gone, out: out}, nil
}

// reap waits for children until there are none.
func reap(leader int, ended chan<- int, gone chan<- struct{}) {
	defer close(gone)
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return
		case pid == leader:
			ended <- phase.Status(status)
		}
	}
}

// await passes signals on until the app has ended, and gives its exit status. An app whose first process ends has
// ended: what it leaves behind goes with the container. Only one that was told to end gets the time to do it whole.
func (a *app) await(ctx context.Context, signals <-chan os.Signal, grace time.Duration) int {
	var late <-chan time.Time
	told := false
	for {
		select {
		case status := <-a.ended:
			if told || toldTogether(status, signals) {
				a.awaitRest(ctx, grace)
			}
			a.out.drain()
			return status
		case s := <-signals:
			told = told || ends(s)
			if s != unix.SIGTERM {
				a.signal(s)
			} else if late == nil {
				late = time.After(grace)
			}
		case <-late:
			a.signal(unix.SIGTERM)
		case <-ctx.Done():
			a.signal(unix.SIGKILL)
			status := <-a.ended
			a.out.drain()
			return status
		}
	}
}

// ends tells the signals that ask an app to end.
func ends(s os.Signal) bool { return s == unix.SIGTERM || s == unix.SIGINT || s == unix.SIGQUIT }

// together bounds how far apart the app and launch hear of what a Warden tells them all.
const together = 100 * time.Millisecond

// toldTogether tells whether an app that has ended did so because it was told to, when launch has not heard yet that
// it was.
func toldTogether(status int, signals <-chan os.Signal) bool {
	wait := time.Millisecond
	if status == runspec.ExitSignalBase+int(unix.SIGTERM) || status == runspec.ExitSignalBase+int(unix.SIGINT) {
		wait = together
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case s := <-signals:
			if ends(s) {
				return true
			}
		case <-timer.C:
			return false
		}
	}
}

func (a *app) awaitRest(ctx context.Context, grace time.Duration) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-a.gone:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (a *app) signal(s os.Signal) {
	if number, ok := s.(syscall.Signal); ok {
		// The group may be gone: then there is nobody to tell.
		_ = unix.Kill(-a.group, number)
	}
}
