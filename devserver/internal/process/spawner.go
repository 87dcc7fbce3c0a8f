package process

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// Spawner starts processes that end with this one. Close it after the last of them has ended.
type Spawner struct {
	starts chan start
	once   sync.Once
	ended  chan struct{}
}

type start struct {
	cmd    *exec.Cmd
	result chan<- error
}

// NewSpawner makes a spawner with a thread of its own.
func NewSpawner() *Spawner {
	s := &Spawner{starts: make(chan start), ended: make(chan struct{})}
	go s.serve()
	return s
}

// Close ends the spawner's thread and, with it, every process that still runs.
func (s *Spawner) Close() {
	s.once.Do(func() { close(s.starts) })
	<-s.ended
}

func (s *Spawner) serve() {
	defer close(s.ended)
	// Never unlocked: the thread ends with this goroutine, and no other goroutine can end it before.
	runtime.LockOSThread()
	for request := range s.starts {
		request.result <- request.cmd.Start()
	}
}

// start starts a command in this process's group, so that one signal to the group reaches all.
func (s *Spawner) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	result := make(chan error, 1)
	s.starts <- start{cmd, result}
	return <-result
}
