package cloudcontroller

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
)

const (
	// jobSlots is how many jobs run at once: each is bound by one core or by the disk.
	jobSlots = 2
	// jobRetention is how long the outcome of a job can be asked for. Agents ask for 5 minutes.
	jobRetention = 24 * time.Hour
)

type jobStatus string

// The states of a job, as the package's comment draws them. Running is never on disk: after a crash it is queued.
const (
	jobQueued   jobStatus = "queued"
	jobRunning  jobStatus = "running"
	jobFinished jobStatus = "finished"
	jobFailed   jobStatus = "failed"
)

// job is an upload on its way into the store.
type job struct {
	GUID      string    `json:"guid"`
	CreatedAt time.Time `json:"created_at"`
	Status    jobStatus `json:"status"`
	// App is the app's directory and Upload the received file, both in the store.
	App    string `json:"app"`
	Upload string `json:"upload"`
	// SHA1 is known when Status is finished, Failure when it is failed.
	SHA1    string     `json:"sha1,omitempty"`
	Failure *errorBody `json:"failure,omitempty"`
}

func (j job) over() bool { return j.Status == jobFinished || j.Status == jobFailed }

func (j job) file() string { return path.Join(jobsDir, j.GUID+".json") }

// place puts an uploaded file into the store for an app and returns its SHA-1. It may run twice for one upload.
type place func(ctx context.Context, app, upload string) (sha1 string, err error)

// jobs runs them and remembers how they ended.
type jobs struct {
	store *store
	log   hclog.Logger
	place place
	slots chan struct{}
	//nolint:containedctx // The life of the server, which jobs share.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu  sync.Mutex
	all map[string]job
}

// loadJobs reads what an earlier run knew; nothing runs until resume.
func loadJobs(s *store, log hclog.Logger, place place) (*jobs, error) {
	js := &jobs{store: s, log: log, place: place, slots: make(chan struct{}, jobSlots), all: map[string]job{}}
	js.ctx, js.cancel = context.WithCancel(context.Background())
	entries, err := s.list(jobsDir)
	if err != nil {
		return nil, fmt.Errorf("list the jobs: %w", err)
	}
	for _, e := range entries {
		text, err := s.root.ReadFile(path.Join(jobsDir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read a job: %w", err)
		}
		var j job
		if err := json.Unmarshal(text, &j); err != nil || j.GUID != strings.TrimSuffix(e.Name(), ".json") {
			return nil, fmt.Errorf("%s is not a job of ours: remove it", path.Join(jobsDir, e.Name()))
		}
		js.all[j.GUID] = j
	}
	js.forget()
	return js, nil
}

// uploads are the files that unfinished jobs still need.
func (js *jobs) uploads() map[string]bool {
	js.mu.Lock()
	defer js.mu.Unlock()
	keep := map[string]bool{}
	for _, j := range js.all {
		if !j.over() {
			keep[j.Upload] = true
		}
	}
	return keep
}

// resume starts the jobs that an earlier run left.
func (js *jobs) resume() {
	js.mu.Lock()
	defer js.mu.Unlock()
	for _, j := range js.all {
		if !j.over() {
			js.wg.Go(func() { js.run(j) })
		}
	}
}

// submit takes over an upload. Once it returns, the job survives a crash.
func (js *jobs) submit(app, upload string) (job, error) {
	j := job{
		GUID: uuid.NewString(), CreatedAt: time.Now().UTC().Truncate(time.Second), Status: jobQueued,
		App: app, Upload: upload,
	}
	js.forget()
	js.mu.Lock()
	defer js.mu.Unlock()
	if js.closed() {
		return job{}, closing()
	}
	if err := js.store.putJSON(j.file(), j); err != nil {
		return job{}, fmt.Errorf("keep a job: %w", err)
	}
	js.all[j.GUID] = j
	js.wg.Go(func() { js.run(j) })
	return j, nil
}

func (js *jobs) get(guid string) (job, bool) {
	js.mu.Lock()
	defer js.mu.Unlock()
	j, ok := js.all[guid]
	return j, ok
}

func (js *jobs) set(j job) {
	js.mu.Lock()
	defer js.mu.Unlock()
	js.all[j.GUID] = j
}

// run takes a job to its end, or leaves it queued on disk when the server closes.
func (js *jobs) run(j job) {
	select {
	case js.slots <- struct{}{}:
		defer func() { <-js.slots }()
	case <-js.ctx.Done():
		return
	}
	j.Status = jobRunning
	js.set(j)
	sum, err := js.place(js.ctx, j.App, j.Upload)
	if err != nil && js.ctx.Err() != nil {
		return
	}
	j.Status, j.SHA1 = jobFinished, sum
	if err != nil {
		body := explain(err).body()
		j.Status, j.SHA1, j.Failure = jobFailed, "", &body
		js.log.Error("job failed", "job", j.GUID, "error", err)
	}
	js.settle(j)
}

// settle notes the outcome before anybody can see it. While it cannot be written, the upload stays for the next run.
func (js *jobs) settle(j job) {
	if err := js.store.putJSON(j.file(), j); err != nil {
		js.log.Error("a job's outcome cannot be kept; it runs again at the next start", "job", j.GUID, "error", err)
	} else if err := js.store.discard(j.Upload); err != nil {
		js.log.Warn("an upload stays until the next start", "job", j.GUID, "error", err)
	}
	js.set(j)
	js.log.Info("job over", "job", j.GUID, "status", j.Status, "sha1", j.SHA1)
}

// forget drops jobs that nobody will ask for any more.
func (js *jobs) forget() {
	js.mu.Lock()
	defer js.mu.Unlock()
	for guid, j := range js.all {
		if !j.over() || time.Since(j.CreatedAt) < jobRetention {
			continue
		}
		if err := js.store.discard(j.file()); err != nil {
			js.log.Warn("an old job cannot be removed", "job", guid, "error", err)
			continue
		}
		delete(js.all, guid)
	}
}

func (js *jobs) closed() bool { return js.ctx.Err() != nil }

// close ends what runs and waits for it; false when that was done before.
func (js *jobs) close() bool {
	js.mu.Lock()
	first := !js.closed()
	js.cancel()
	js.mu.Unlock()
	js.wg.Wait()
	return first
}
