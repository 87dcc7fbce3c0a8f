package supervisor

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/containerpath"
	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

// oomEvent is the event with which Warden says that a container ran out of memory.
const oomEvent = "out of memory"

// Watch waits for the end of one instance's job.
type Watch struct {
	instance string
	job      uint32
	cancel   context.CancelFunc
	done     chan struct{}

	// exit is written before done is closed and never after.
	exit api.InstanceExit

	mu        sync.Mutex
	reporting bool
}

// Done is closed when the job has ended, or can no longer be found.
func (w *Watch) Done() <-chan struct{} { return w.done }

// Exit says how the job ended. It may be called once Done is closed.
func (w *Watch) Exit() api.InstanceExit { return w.exit }

// Watch begins to wait for the end of an instance's job, or returns the watch that does so already.
func (s *Supervisor) Watch(instance string, job uint32) *Watch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w, ok := s.watches[instance]; ok && w.job == job {
		return w
	}
	ctx, cancel := context.WithCancel(s.ctx)
	w := &Watch{instance: instance, job: job, cancel: cancel, done: make(chan struct{})}
	if old, ok := s.watches[instance]; ok {
		old.cancel()
	}
	s.watches[instance] = w
	s.running.Go(func() { s.await(ctx, w) })
	return w
}

// Report has the end of the watched instance told to its workflow, also when it has ended already.
func (s *Supervisor) Report(instance string) {
	s.mu.Lock()
	w, ok := s.watches[instance]
	s.mu.Unlock()
	if !ok {
		return
	}
	w.mu.Lock()
	first := !w.reporting
	w.reporting = true
	w.mu.Unlock()
	if !first {
		return
	}
	s.running.Go(func() {
		select {
		case <-w.done:
			s.tell(instance, w.exit)
		case <-s.ctx.Done():
		}
	})
}

// Forget ends the watch of an instance, whose container is about to go.
func (s *Supervisor) Forget(instance string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w, ok := s.watches[instance]; ok {
		w.cancel()
		delete(s.watches, instance)
	}
}

// await links the job until it is known how it ended. A Warden that is away is waited for: its jobs outlive it.
func (s *Supervisor) await(ctx context.Context, w *Watch) {
	pause := firstPause
	for {
		response, err := s.warden.Link(ctx, &wardenpb.LinkRequest{
			Handle: proto.String(w.instance), JobId: proto.Uint32(w.job),
		})
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			w.exit = describe(int(response.GetExitStatus()), response.GetInfo())
		case errors.Is(err, warden.ErrUnavailable):
			s.log.Debug("warden is away, linking again", "instance", w.instance, "error", err)
			if !sleep(ctx, pause) {
				return
			}
			pause = min(pause*2, longestPause)
			continue
		default:
			w.exit = s.exitOnRecord(ctx, w.instance)
		}
		close(w.done)
		return
	}
}

// exitOnRecord is how an instance ended whose job was linked by somebody else, or whose container has gone.
func (s *Supervisor) exitOnRecord(ctx context.Context, instance string) api.InstanceExit {
	info, err := s.warden.Info(ctx, &wardenpb.InfoRequest{Handle: proto.String(instance)})
	if err != nil {
		return api.InstanceExit{Status: unknownStatus, Description: api.ExitNotDetermined}
	}
	status, err := exitFile(info)
	if err != nil {
		status = unknownStatus
	}
	return describe(status, info)
}

// unknownStatus stands for an exit status that nobody knows any more.
const unknownStatus = -1

// describe puts an exit status into the words that users know.
func describe(status int, info *wardenpb.InfoResponse) api.InstanceExit {
	exit := api.InstanceExit{Status: status, Description: api.ExitAppExited}
	switch {
	case slices.Contains(info.GetEvents(), oomEvent):
		exit.Description = api.ExitOutOfMemory
	case status == runspec.ExitMissingCommand && hasFile(info, runspec.PathLaunchFault):
		exit.Description = api.ExitMissingCommand
	case status == unknownStatus:
		exit.Description = api.ExitNotDetermined
	}
	return exit
}

// exitFile reads what the runner wrote about the end of the app's process.
func exitFile(info *wardenpb.InfoResponse) (int, error) {
	root, err := os.OpenRoot(containerpath.Root(info.GetContainerPath()))
	if err != nil {
		return 0, err
	}
	defer root.Close()
	text, err := root.ReadFile(strings.TrimPrefix(runspec.PathExitStatus, "/"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func hasFile(info *wardenpb.InfoResponse, contract string) bool {
	root, err := os.OpenRoot(containerpath.Root(info.GetContainerPath()))
	if err != nil {
		return false
	}
	defer root.Close()
	_, err = root.Lstat(strings.TrimPrefix(contract, "/"))
	return err == nil
}

// sleep waits, and tells whether it was to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
