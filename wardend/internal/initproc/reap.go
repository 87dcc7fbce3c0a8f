package initproc

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/proctree"
)

// reap waits for every process beneath, jobs and orphans alike. A process is only taken off the kernel's table with
// the lock held, so that whoever holds it can signal a job's pid without hitting another process.
func (s *server) reap() {
	for {
		s.mu.Lock()
		forks := s.forks
		s.mu.Unlock()
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT|unix.WALL, nil)
		switch {
		case errors.Is(err, unix.ECHILD):
			s.rest(forks)
		case err == nil:
			s.collect()
		case !errors.Is(err, unix.EINTR):
			s.log.Printf("wait for processes: %v", err)
			return
		}
	}
}

// rest waits for the next process to be started, unless that has happened since the count was taken.
func (s *server) rest(forks uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forks != forks {
		return
	}
	select {
	case <-s.idle:
	default:
		close(s.idle)
	}
	for s.forks == forks {
		s.forked.Wait()
	}
}

func (s *server) collect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG|unix.WALL, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if j := s.byPID[pid]; j != nil {
			delete(s.byPID, pid)
			go s.finish(j, ws)
		}
	}
}

// stop ends every process beneath: TERM, then KILL after the grace, or KILL at once. It returns when none is left.
func (s *server) stop(kill bool, grace time.Duration) {
	if !kill {
		s.signalAll(unix.SIGTERM)
		if s.waitIdle(grace) {
			return
		}
	}
	const slowest = 50 * time.Millisecond
	for pause := time.Millisecond; ; pause = min(2*pause, slowest) {
		s.signalAll(unix.SIGKILL)
		if s.waitIdle(pause) {
			return
		}
	}
}

func (s *server) signalAll(signal syscall.Signal) {
	if s.contained {
		// All processes of the container but this one, while the kernel lets none fork: nothing can outrun it.
		if err := unix.Kill(-1, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			s.log.Printf("cannot end all processes: %v", err)
		}
		return
	}
	pids, err := proctree.Descendants(os.Getpid())
	if err != nil {
		s.log.Printf("cannot find all processes: %v", err)
	}
	grouped := map[int]bool{}
	s.mu.Lock()
	for pid := range s.byPID {
		_ = unix.Kill(-pid, signal)
		grouped[pid] = true
	}
	s.mu.Unlock()
	signalGroups(pids, signal, grouped)
}

// signalGroups signals processes with their groups, which a process that was forked while its parent was being listed
// is in as well: one by one, those that fork fast enough would never end. Done are groups that were signalled already.
func signalGroups(pids []int, signal syscall.Signal, done map[int]bool) {
	own := unix.Getpgrp()
	for _, pid := range pids {
		pgid, err := unix.Getpgid(pid)
		switch {
		case err != nil || pgid <= 1 || pgid == own:
			// A job's first moment, before it has a session of its own.
			_ = unix.Kill(pid, signal)
		case !done[pgid]:
			done[pgid] = true
			_ = unix.Kill(-pgid, signal)
		}
	}
}

// waitIdle says whether no process was left within the time.
func (s *server) waitIdle(d time.Duration) bool {
	s.mu.Lock()
	idle := s.idle
	s.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-idle:
		return true
	case <-timer.C:
		return false
	}
}

// killJob ends one job with all that it has started and that still hangs beneath it.
func (s *server) killJob(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byPID[j.status.PID] != j {
		return
	}
	pids, err := proctree.Descendants(j.status.PID)
	if err != nil {
		s.log.Printf("job %d: cannot find all its processes: %v", j.status.Job, err)
	}
	_ = unix.Kill(-j.status.PID, unix.SIGKILL)
	signalGroups(pids, unix.SIGKILL, map[int]bool{j.status.PID: true})
}
