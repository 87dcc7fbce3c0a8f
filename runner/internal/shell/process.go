package shell

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/runner/internal/phase"
)

// Processes are a program that was started, and all that it has begun since, whoever begot them.
type Processes struct {
	// Leader is the id of the program's first process.
	Leader int
	// Ended has the leader's exit status, 128+n when signal n ended it; Gone is closed when no process is left.
	Ended <-chan int
	Gone  <-chan struct{}
}

// Start starts bash with these arguments. From then on this process reaps every child, also those that others have left
// behind: so it can tell when all of them are gone. It is to have no others, and is to be called once.
func Start(attributes *os.ProcAttr, arguments ...string) (*Processes, error) {
	bash, err := find()
	if err != nil {
		return nil, err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, err
	}
	process, err := os.StartProcess(bash, append([]string{bash}, arguments...), attributes)
	if err != nil {
		return nil, err
	}
	ended, gone := make(chan int, 1), make(chan struct{})
	started := &Processes{Leader: process.Pid, Ended: ended, Gone: gone}
	_ = process.Release()
	go reap(started.Leader, ended, gone)
	return started, nil
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
