package launch

import (
	"context"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/runner/internal/shell"
)

// app is a running app: a process group, whose orphans fall to us.
type app struct {
	*shell.Processes
	out *output
}

// begin starts the app.
func begin(command, dir string, env []string, out *output) (*app, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	stdout, stderr, err := out.pipes()
	if err != nil {
		return nil, err
	}
	processes, err := shell.Start(&os.ProcAttr{
		Dir:   dir,
		Env:   env,
		Files: []*os.File{null, stdout, stderr},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	}, "-c", script, command)
	_, _ = stdout.Close(), stderr.Close()
	if err != nil {
		return nil, err
	}
	return &app{Processes: processes, out: out}, nil
}

// await passes signals on until the app has ended, and gives its exit status. An app whose first process ends has
// ended: what it leaves behind goes with the container. Only one that was told to end gets the time to do it whole.
func (a *app) await(ctx context.Context, signals <-chan os.Signal, grace time.Duration) int {
	var late <-chan time.Time
	told := false
	for {
		select {
		case status := <-a.Ended:
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
			status := <-a.Ended
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
	case <-a.Gone:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (a *app) signal(s os.Signal) {
	if number, ok := s.(syscall.Signal); ok {
		// The group may be gone: then there is nobody to tell.
		_ = unix.Kill(-a.Leader, number)
	}
}
