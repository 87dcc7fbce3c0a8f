package session

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/execwire"
)

const (
	// hangUpTime is how long processes may take that were told to hang up.
	hangUpTime = 2 * time.Second
	// killPause is between two looks for processes to kill: one may have begotten another meanwhile.
	killPause = 10 * time.Millisecond
	// drainTime is how long output is waited for when no process is left that writes: an app may have been given a descriptor.
	drainTime = 5 * time.Second
)

// wordsStopped is for a session whose container stops.
const wordsStopped = "the instance is being stopped"

// await copies output until the command has ended, or who asked for it has left, or ctx has ended; then nothing of it is left.
func (r *running) await(ctx context.Context, left <-chan struct{}, to *execwire.Writer) execwire.Ended {
	var copies sync.WaitGroup
	draining := &atomic.Bool{}
	for _, out := range r.outputs {
		copies.Go(func() {
			if err := to.Pump(out.kind, drain{out.file, draining}); err != nil {
				// Nobody reads any more, or, with EIO, no process has the terminal: what comes is dropped.
				_, _ = io.Copy(io.Discard, out.file)
			}
		})
	}
	ended := execwire.Ended{}
	select {
	case ended.Status = <-r.Ended:
		r.endAll()
	case <-left:
		r.endAll()
		ended.Status = <-r.Ended
	case <-ctx.Done():
		r.endAll()
		ended = execwire.Ended{Status: <-r.Ended, Words: wordsStopped}
	}
	draining.Store(true)
	for _, out := range r.outputs {
		_ = out.file.SetReadDeadline(time.Now().Add(drainTime))
	}
	copies.Wait()
	r.close()
	return ended
}

// drain reads output. Once draining is set each read has drainTime for itself: whoever reads slowly at the other end gets all
// that was written.
type drain struct {
	file     *os.File
	draining *atomic.Bool
}

func (d drain) Read(p []byte) (int, error) {
	if d.draining.Load() {
		_ = d.file.SetReadDeadline(time.Now().Add(drainTime))
	}
	return d.file.Read(p)
}

// endAll has every process of the session hang up, and kills those that do not.
func (r *running) endAll() {
	select { // Most leave nothing behind, and to look for it costs more than this.
	case <-r.Gone:
		return
	case <-time.After(killPause):
	}
	r.tell(unix.SIGHUP)
	r.tell(unix.SIGCONT)
	timer := time.NewTimer(hangUpTime)
	defer timer.Stop()
	select {
	case <-r.Gone:
		return
	case <-timer.C:
	}
	for {
		r.tell(unix.SIGKILL)
		select {
		case <-r.Gone:
			return
		case <-time.After(killPause):
		}
	}
}

// tell signals all descendants of this process.
func (r *running) tell(number unix.Signal) {
	for _, pid := range descendants(os.Getpid()) {
		_ = unix.Kill(pid, number)
	}
}

// descendants are the children of a process, their children, and so on, at one moment.
func descendants(of int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		pid, parent, ok := parentage(name)
		if ok {
			children[parent] = append(children[parent], pid)
		}
	}
	all := children[of]
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// parentage reads a process's id and its parent's. Its name, in parentheses, may hold anything.
func parentage(stat string) (pid, parent int, ok bool) {
	text, err := os.ReadFile(stat)
	if err != nil {
		return 0, 0, false
	}
	before, _, _ := strings.Cut(string(text), " ")
	_, after, _ := strings.Cut(string(text)[strings.LastIndexByte(string(text), ')')+1:], " ")
	fields := strings.Fields(after)
	if len(fields) < 2 {
		return 0, 0, false
	}
	pid, err = strconv.Atoi(before)
	if err != nil {
		return 0, 0, false
	}
	parent, err = strconv.Atoi(fields[1])
	return pid, parent, err == nil
}

// stopPause is how much later than its command a session may be told that its container stops.
const stopPause = 50 * time.Millisecond

// explain adds that the container stops, where that may be what has ended the command: all its processes are told at once, in
// no order.
func explain(ctx context.Context, ended *execwire.Ended) {
	if ended.Words != "" || ended.Status <= signalled {
		return
	}
	select {
	case <-ctx.Done():
		ended.Words = wordsStopped
	case <-time.After(stopPause):
	}
}

// signalled is what a status is above when a signal ended the command.
const signalled = 128
