package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/containerpath"
	"github.com/durable-dea/dea/internal/pause"
	"github.com/durable-dea/dea/internal/regular"
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
	// ctx ends with the watch; done is closed when the job has ended.
	ctx    context.Context //nolint:containedctx // the watch's own life, which no caller has
	cancel context.CancelFunc
	done   chan struct{}
	// stirred holds an element when there may be other news for who waits to tell some.
	stirred chan struct{}

	// exit is written before done is closed and never after.
	exit api.InstanceExit

	// watchers hear what becomes of the instance.
	watchers []Watcher

	// mu guards what follows. Who holds it takes no other lock but the watchers'.
	mu sync.Mutex
	// adopted is set once the instance is looked after, and about is what is known of it.
	adopted bool
	about   Instance
	news    news
	// routes are those that came before the instance was looked after, nil when none did.
	routes *routes
	// hidden is set when the watchers know that the instance is gone.
	hidden bool
}

// Job is Warden's id of the job.
func (w *Watch) Job() uint32 { return w.job }

// Done is closed when the job has ended, or can no longer be found.
func (w *Watch) Done() <-chan struct{} { return w.done }

// Exit says how the job ended. It may be called once Done is closed.
func (w *Watch) Exit() api.InstanceExit { return w.exit }

// Watch begins to wait for the end of an instance's job, or returns the watch that does so already. Nobody is told of
// the end before LookAfter.
func (s *Supervisor) Watch(instance string, job uint32) *Watch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watch(instance, job)
}

// watch is Watch for who holds mu.
func (s *Supervisor) watch(instance string, job uint32) *Watch {
	if w, ok := s.watches[instance]; ok {
		if w.job == job {
			return w
		}
		s.drop(w)
	}
	ctx, cancel := context.WithCancel(s.ctx)
	w := &Watch{
		instance: instance, job: job, ctx: ctx, cancel: cancel, done: make(chan struct{}), stirred: make(chan struct{}, 1),
		watchers: s.watchers,
	}
	if one, ok := s.searches[instance]; ok {
		w.routes = one.routes
	}
	s.watches[instance] = w
	s.running.Go(func() { s.await(w) })
	return w
}

// Watched is the watch of an instance, nil when there is none.
func (s *Supervisor) Watched(instance string) *Watch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watches[instance]
}

// Forget ends the watch of an instance, whose container is about to go, its checks and the search for it.
func (s *Supervisor) Forget(instance string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one, ok := s.searches[instance]; ok {
		one.cancel()
		delete(s.searches, instance)
	}
	if w, ok := s.watches[instance]; ok {
		s.drop(w)
	}
}

// drop ends a watch and its checks. Its caller holds mu.
func (s *Supervisor) drop(w *Watch) {
	w.cancel()
	w.mu.Lock()
	w.hide()
	w.mu.Unlock()
	s.checks.Remove(w.instance)
	delete(s.watches, w.instance)
}

// await links the job until it is known how it ended. A Warden that is away is waited for: its jobs outlive it.
func (s *Supervisor) await(w *Watch) {
	s.insist(w.ctx, w.instance, func() error {
		response, err := s.warden.Link(w.ctx, &wardenpb.LinkRequest{
			Handle: proto.String(w.instance), JobId: proto.Uint32(w.job),
		})
		var exit api.InstanceExit
		switch {
		case err == nil:
			exit = Describe(response)
		case errors.Is(err, warden.ErrNoSuchJob), errors.Is(err, warden.ErrUnknownHandle):
			exit, err = s.ExitOnRecord(w.ctx, w.instance)
		}
		if err == nil {
			s.ended(w, exit)
		}
		return err
	})
}

// ended tells the workflow before anything else.
func (s *Supervisor) ended(w *Watch, exit api.InstanceExit) {
	w.end(exit)
	s.deliver(w)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watches[w.instance] == w {
		s.checks.Remove(w.instance)
	}
}

// insist does something again until it works or ctx ends.
func (s *Supervisor) insist(ctx context.Context, instance string, do func() error) {
	for wait := firstPause; ; wait = min(wait*2, longestPause) {
		err := do()
		if err == nil || ctx.Err() != nil {
			return
		}
		if wait == firstPause { // Of an outage each instance speaks once.
			s.log.Warn("an instance's job cannot be waited for, trying on", "instance", instance, "error", err)
		}
		if !pause.For(ctx, wait) {
			return
		}
	}
}

// ExitOnRecord is how an instance ended whose job was linked by somebody else, or whose container has gone. It fails
// when Warden cannot be asked.
func (s *Supervisor) ExitOnRecord(ctx context.Context, instance string) (api.InstanceExit, error) {
	info, err := s.warden.Info(ctx, &wardenpb.InfoRequest{Handle: proto.String(instance)})
	if errors.Is(err, warden.ErrUnknownHandle) {
		return api.InstanceExit{Status: unknownStatus, Description: api.ExitNotDetermined}, nil
	}
	if err != nil {
		return api.InstanceExit{}, fmt.Errorf("look for the exit status: %w", err)
	}
	return describe(recorded(info), info), nil
}

// unknownStatus stands for an exit status that nobody knows any more.
const unknownStatus = -1

// signalledStatus is what Warden gives for a job that a signal ended, and for one that went with its container.
const signalledStatus = 255

// Describe is how a job ended that was linked. The runner puts down every end of its app: where there is only Warden's
// word, the runner itself was ended, as by a machine that lost its power.
func Describe(linked *wardenpb.LinkResponse) api.InstanceExit {
	status, info := int(linked.GetExitStatus()), linked.GetInfo()
	if status == signalledStatus && !outOfMemory(info) {
		status = recorded(info)
	}
	return describe(status, info)
}

func outOfMemory(info *wardenpb.InfoResponse) bool {
	return slices.Contains(info.GetEvents(), oomEvent)
}

// recorded is the status that the runner has put down, unknownStatus when there is none.
func recorded(info *wardenpb.InfoResponse) int {
	status, err := exitFile(info)
	if err != nil {
		return unknownStatus
	}
	return status
}

// describe puts an exit status into the words that users know.
func describe(status int, info *wardenpb.InfoResponse) api.InstanceExit {
	exit := api.InstanceExit{Status: status, Description: api.ExitAppExited}
	switch {
	case outOfMemory(info):
		exit.Description = api.ExitOutOfMemory
	case status == runspec.ExitMissingCommand && hasFile(info, runspec.PathLaunchFault):
		exit.Description = api.ExitMissingCommand
	case status == unknownStatus:
		exit.Description = api.ExitNotDetermined
	}
	return exit
}

// maxExitStatus is more bytes than an exit status takes, which is from 0 to 255.
const maxExitStatus = 16

// exitFile reads what the runner wrote about the end of the app's process, unless the app has put something else there.
func exitFile(info *wardenpb.InfoResponse) (int, error) {
	root, err := containerpath.Open(info.GetContainerPath())
	if err != nil {
		return 0, err
	}
	defer root.Close()
	file, _, err := regular.Open(root, containerpath.Beneath(runspec.PathExitStatus))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxExitStatus))
	if err != nil {
		return 0, err
	}
	status, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 8)
	return int(status), err
}

// Launched is the job of the app in a container, of those that Info names: hooks and the droplet's unpacking are jobs
// too, and may have outlived the worker that asked for them, and the app. It is 0 when the app's job has ended; launched is
// false when it was never begun.
func Launched(info *wardenpb.InfoResponse) (job uint32, launched bool) {
	if !hasFile(info, runspec.PathLaunched) {
		return 0, false
	}
	if _, err := exitFile(info); err == nil {
		return 0, true
	}
	return oldestJob(info), true
}

// appJob is the app's of an instance that its workflow believes to run; 0 when it has ended. A session's may have outlived both
// the app and the worker.
func appJob(running api.RunningInstance, info *wardenpb.InfoResponse) uint32 {
	if running.Job != 0 && !slices.Contains(info.GetJobIds(), uint64(running.Job)) {
		return 0
	}
	return cmp.Or(running.Job, oldestJob(info))
}

// oldestJob is the app's in a container in which it was launched: those of after_start, before_stop and sessions come after
// it. It is 0 when there is none.
func oldestJob(info *wardenpb.InfoResponse) uint32 {
	if jobs := info.GetJobIds(); len(jobs) > 0 {
		return uint32(slices.Min(jobs))
	}
	return 0
}

func hasFile(info *wardenpb.InfoResponse, contract string) bool {
	root, err := containerpath.Open(info.GetContainerPath())
	if err != nil {
		return false
	}
	defer root.Close()
	_, err = root.Lstat(containerpath.Beneath(contract))
	return err == nil
}
