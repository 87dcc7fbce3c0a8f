package initproc

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// forker starts processes, one at a time, with the server's lock held: nobody else waits for a process meanwhile.
type forker interface {
	fork(program string, args []string, attr *syscall.ProcAttr) (pid int, err error)
}

// directForker starts them from any thread, where the init itself is.
type directForker struct{}

func (directForker) fork(program string, args []string, attr *syscall.ProcAttr) (int, error) {
	return syscall.ForkExec(program, args, attr)
}

// threadForker starts them from a thread of its own, whose capabilities are bounded and which, on cgroup v1, is in the
// jobs' cgroups: a new process has those of the thread that forks it. The init's other threads stay where they are.
type threadForker struct {
	calls chan forkCall
	// ways are those that get a process into its cgroup, best first. The first ones may turn out not to work here.
	ways []forkWay
}

type forkCall struct {
	program string
	args    []string
	attr    *syscall.ProcAttr
	done    chan<- forkResult
}

type forkResult struct {
	pid int
	err error
}

type forkWay func(program string, args []string, attr *syscall.ProcAttr) (int, error)

func newThreadForker(o options) (*threadForker, error) {
	t := &threadForker{calls: make(chan forkCall), ways: forkWays(o.v2)}
	ready := make(chan error)
	go onThread(func() { t.run(o.v1, ready) })
	if err := <-ready; err != nil {
		return nil, err
	}
	for _, fd := range o.v1 {
		_ = unix.Close(fd)
	}
	return t, nil
}

// onThread calls f on a thread of its own that is not the main one. That one stands for the whole process: memory is
// charged to its cgroup, and want of memory there ends the process.
func onThread(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if unix.Gettid() != os.Getpid() {
		f()
		return
	}
	// While the main thread is locked to this goroutine, another one gets another thread.
	done := make(chan struct{})
	go func() {
		defer close(done)
		onThread(f)
	}()
	<-done
}

// run is the thread.
func (t *threadForker) run(tasks []int, ready chan<- error) {
	err := confineThread()
	for _, fd := range tasks {
		if err == nil {
			err = join(fd, 0)
		}
	}
	ready <- err
	if err != nil {
		return
	}
	for call := range t.calls {
		pid, err := t.start(call)
		// A child that becomes another user shares the init's memory until it runs its program, and the kernel then
		// makes that what fs.suid_dumpable says, which need not be 0.
		_ = hide()
		call.done <- forkResult{pid, err}
	}
}

// join puts a thread into the cgroup of a file, or this one when pid is 0.
func join(fd, pid int) error {
	if _, err := unix.Write(fd, []byte(strconv.Itoa(pid))); err != nil {
		return fmt.Errorf("enter the cgroup of the jobs: %w", err)
	}
	return nil
}

func (t *threadForker) fork(program string, args []string, attr *syscall.ProcAttr) (int, error) {
	done := make(chan forkResult, 1)
	t.calls <- forkCall{program, args, attr, done}
	r := <-done
	return r.pid, r.err
}

// start tries the ways from the best one on, and forgets those before the one that worked.
func (t *threadForker) start(call forkCall) (pid int, err error) {
	for i, way := range t.ways {
		if pid, err = way(call.program, call.args, call.attr); err == nil {
			t.ways = t.ways[i:]
			return pid, nil
		}
		if !mayBeTheWay(err) {
			break
		}
	}
	return 0, err
}

// mayBeTheWay says whether another way may succeed. The program may as well be what is not there or not allowed: then
// all fail alike. That there are too many processes must not be got round.
func mayBeTheWay(err error) bool {
	for _, refusal := range []error{unix.ENOSYS, unix.E2BIG, unix.EPERM, unix.EACCES, unix.ENOENT} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// forkWays are the ways of getting a process into a cgroup of version 2, in which a process has all its threads.
//
//  1. It is born there (CLONE_INTO_CGROUP), which takes no time. The usual seccomp profile forbids clone3, and a cgroup
//     namespace may forbid the cgroup.
//  2. It is stopped at its program's first instruction, by tracing it, and moved. That takes milliseconds.
//  3. It is moved while it starts and waits for its input: where no process may be traced.
func forkWays(v2 []int) []forkWay {
	if len(v2) == 0 {
		return []forkWay{syscall.ForkExec}
	}
	procs := v2[len(v2)-1]
	ways := []forkWay{
		func(program string, args []string, attr *syscall.ProcAttr) (int, error) {
			return forkStopped(program, args, attr, procs)
		},
		func(program string, args []string, attr *syscall.ProcAttr) (int, error) {
			pid, err := syscall.ForkExec(program, args, attr)
			if err != nil {
				return 0, err
			}
			return joinOrKill(pid, procs)
		},
	}
	if len(v2) == 1 {
		return ways
	}
	return append([]forkWay{func(program string, args []string, attr *syscall.ProcAttr) (int, error) {
		born := *attr.Sys
		born.UseCgroupFD, born.CgroupFD = true, v2[0]
		return syscall.ForkExec(program, args, &syscall.ProcAttr{Dir: attr.Dir, Env: attr.Env, Files: attr.Files, Sys: &born})
	}}, ways...)
}

func joinOrKill(pid, procs int) (int, error) {
	if err := join(procs, pid); err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		return 0, err
	}
	return pid, nil
}

// forkStopped moves the process while it is stopped right after exec, and lets it go.
func forkStopped(program string, args []string, attr *syscall.ProcAttr, procs int) (int, error) {
	traced := *attr.Sys
	traced.Ptrace = true
	pid, err := syscall.ForkExec(program, args, &syscall.ProcAttr{Dir: attr.Dir, Env: attr.Env, Files: attr.Files, Sys: &traced})
	if err != nil {
		return 0, err
	}
	if err := awaitTrap(pid); err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		return 0, fmt.Errorf("stop the new process: %w", err)
	}
	if _, err := joinOrKill(pid, procs); err != nil {
		return 0, err
	}
	// It may have been killed meanwhile, which is its end like any other's.
	if err := unix.PtraceDetach(pid); err != nil && !errors.Is(err, unix.ESRCH) {
		_ = unix.Kill(pid, unix.SIGKILL)
		return 0, fmt.Errorf("let the new process go: %w", err)
	}
	return pid, nil
}

// awaitTrap waits until the process has stopped because of exec. Other signals are passed on: their turn may come
// first. A process that has ended is left to be reaped.
func awaitTrap(pid int) error {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT|unix.WALL, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		const trapped = 4 // CLD_TRAPPED: stopped by the tracing
		if info.Code != trapped {
			return nil
		}
		var ws unix.WaitStatus
		if _, err := unix.Wait4(pid, &ws, unix.WALL|unix.WNOHANG, nil); err != nil {
			return err
		}
		if ws.StopSignal() == unix.SIGTRAP {
			return nil
		}
		if err := unix.PtraceCont(pid, int(ws.StopSignal())); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
}
