package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/droplets"
	"github.com/durable-dea/dea/internal/fetch"
	"github.com/durable-dea/dea/internal/workspace"
)

// CloudControllerDeps is what CloudController works with.
type CloudControllerDeps struct {
	// URL is where completions are reported, with basic auth; empty to report to nobody.
	URL        string
	Workspaces *workspace.Store
	Droplets   *droplets.Store
	HTTP       *fetch.Client
	Log        hclog.Logger
}

// CloudController sends the outcome of a staging to the cloud controller.
type CloudController struct {
	url        string
	workspaces *workspace.Store
	droplets   *droplets.Store
	http       *fetch.Client
	log        hclog.Logger
}

// NewCloudController makes the activities that speak to the cloud controller.
func NewCloudController(deps CloudControllerDeps) *CloudController {
	return &CloudController{
		url: deps.URL, workspaces: deps.Workspaces, droplets: deps.Droplets, http: deps.HTTP,
		log: deps.Log.Named("cloud-controller"),
	}
}

// ReportParams is the outcome of a staging.
type ReportParams struct {
	Result api.StagingResult `json:"result"`
}

// Report posts the outcome of a staging. Below 300 is taken as heard; 404, 500 and above, and a controller that cannot be
// reached, are worth another try, which is the workflow's to make; what else it answers is final. Without a
// controller's URL there is nobody to tell.
//
// Run twice it is told twice, with the same task id, by which the controller knows it. Cancelled, it may have been
// told or not. It heartbeats.
func (c *CloudController) Report(ctx context.Context, params ReportParams) error {
	if c.url == "" {
		c.log.Warn("nobody is told of a staging's outcome: this node has no cc_url",
			"app", params.Result.AppID, "task", params.Result.TaskID)
		return nil
	}
	defer heartbeat(ctx)()
	body, err := json.Marshal(params.Result)
	if err != nil {
		return api.Final(api.ErrStager, "the outcome of the staging cannot be written as JSON", err)
	}
	target := strings.TrimSuffix(c.url, "/") + "/internal/dea/staging/" + url.PathEscape(params.Result.AppID) + "/completed"
	answer, err := c.http.Send(ctx, http.MethodPost, target, "application/json", body)
	const what = "the outcome of the staging"
	switch {
	case err != nil:
		return httpFault(err, api.ErrControllerUnreachable, what, target)
	case answer.Status < http.StatusMultipleChoices:
		c.log.Info("reported", "app", params.Result.AppID, "task", params.Result.TaskID)
		return nil
	}
	refused := &fetch.StatusError{Status: answer.Status, Host: fetch.Host(target)}
	if answer.Status == http.StatusNotFound {
		// A controller that restarts routes nothing at first.
		return api.Transient(api.ErrControllerUnreachable, "the cloud controller does not know the app yet", refused)
	}
	return httpFault(refused, api.ErrControllerUnreachable, what, target)
}

// uploadJob is the cloud controller's answer to an upload that it goes on with by itself.
type uploadJob struct {
	Metadata struct {
		GUID string `json:"guid"`
		URL  string `json:"url"`
	} `json:"metadata"`
	Entity struct {
		Status string `json:"status"`
	} `json:"entity"`
	// URL is where some releases had it.
	URL string `json:"url"`
}

// How an upload's job is asked about: at once, then after pollFirst, doubling to pollMost, until pollLimit is over.
const (
	pollFirst = 10 * time.Millisecond
	pollMost  = time.Second
	pollLimit = 300 * time.Second
)

var (
	errJobFailed  = errors.New("the cloud controller's upload job failed")
	errJobEndless = errors.New("the cloud controller's upload job did not end")
)

// finish waits for the end of what an upload's answer began. target is where the upload went.
func (c *CloudController) finish(ctx context.Context, answer fetch.Answer, target string) error {
	if answer.Status >= http.StatusMultipleChoices {
		return &fetch.StatusError{Status: answer.Status, Host: fetch.Host(target)}
	}
	job := parseJob(answer.Body)
	if job.url() == "" {
		return nil
	}
	poll, err := jobURL(target, job.url())
	if err != nil {
		return err
	}
	limit, cancel := context.WithTimeoutCause(ctx, pollLimit, errJobEndless)
	defer cancel()
	return c.poll(limit, poll, job.Entity.Status)
}

func (c *CloudController) poll(ctx context.Context, target, status string) error {
	pause := time.Duration(0)
	for {
		switch status {
		case "finished":
			return nil
		case "failed":
			return errJobFailed
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		pause = min(max(2*pause, pollFirst), pollMost)
		answer, err := c.http.Send(ctx, http.MethodGet, target, "", nil)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && !errors.Is(err, fetch.ErrBadURL):
			c.log.Debug("upload job not asked", "error", err)
		case err != nil:
			return err
		case answer.Status < http.StatusMultipleChoices:
			status = parseJob(answer.Body).Entity.Status
		case !isTransient(answer.Status):
			return &fetch.StatusError{Status: answer.Status, Host: fetch.Host(target)}
		}
	}
}

func (j uploadJob) url() string {
	if j.Metadata.URL != "" {
		return j.Metadata.URL
	}
	return j.URL
}

// parseJob reads an answer; one that is no job is the zero job, which has nothing to wait for.
func parseJob(body []byte) uploadJob {
	var job uploadJob
	if err := json.Unmarshal(body, &job); err != nil {
		return uploadJob{}
	}
	return job
}

// jobURL is where a job is asked about: its URL may be relative to the upload's, and is given the upload's credentials
// when it is on the same host and has none of its own.
func jobURL(upload, job string) (string, error) {
	base, err := url.Parse(upload)
	if err != nil {
		return "", fetch.ErrBadURL
	}
	to, err := base.Parse(job)
	if err != nil {
		return "", fetch.ErrBadURL
	}
	if to.User == nil && to.Host == base.Host && to.Scheme == base.Scheme {
		to.User = base.User
	}
	return to.String(), nil
}

// withQuery adds a parameter to a URL that may have others, such as a signature over them, whose order stays.
func withQuery(rawURL, parameter string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", fetch.ErrBadURL
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += parameter
	return u.String(), nil
}

// jobFault is httpFault for what an upload's job can end with too: the controller's last word, and no more a matter of time.
func jobFault(err error, what, target string) error {
	host := fetch.Host(target)
	switch {
	case errors.Is(err, errJobFailed):
		return api.Final(api.ErrStager, fmt.Sprintf("the cloud controller at %s could not store %s", host, what), err)
	case errors.Is(err, errJobEndless):
		return api.Final(api.ErrStager, fmt.Sprintf("the cloud controller at %s took too long to store %s", host, what), err)
	}
	return httpFault(err, api.ErrStager, what, target)
}
