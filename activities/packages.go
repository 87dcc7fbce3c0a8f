package activities

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/internal/buildpackstore"
	"github.com/durable-dea/dea/internal/fetch"
	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/internal/workspace"
)

// PackagesDeps is what Packages works with.
type PackagesDeps struct {
	Config     *config.Node
	Workspaces *workspace.Store
	Buildpacks *buildpackstore.Store
	HTTP       *fetch.Client
	Log        hclog.Logger
}

// Packages fetches what a staging needs into the node's workspace.
type Packages struct {
	config     *config.Node
	workspaces *workspace.Store
	buildpacks *buildpackstore.Store
	http       *fetch.Client
	log        hclog.Logger
}

// NewPackages makes the activities of one node's workspaces.
func NewPackages(deps PackagesDeps) *Packages {
	return &Packages{
		config: deps.Config, workspaces: deps.Workspaces, buildpacks: deps.Buildpacks, http: deps.HTTP,
		log: deps.Log.Named("packages"),
	}
}

// FetchParams says what is to be staged.
type FetchParams struct {
	Request api.StagingRequest `json:"request"`
}

// FetchResult says what came.
type FetchResult struct {
	// PackageBytes and CacheBytes are sizes; CacheBytes is 0 when there is no cache.
	PackageBytes int64 `json:"package_bytes"`
	CacheBytes   int64 `json:"cache_bytes,omitempty"`
	// Buildpacks is how many are at hand.
	Buildpacks int `json:"buildpacks"`
}

// Fetch brings the buildpacks, the app's package and the last staging's buildpack cache to the node, all at once, and
// then writes the runner's order. A cache that cannot be had is logged and done without.
//
// Run twice it keeps what is whole already and resumes what is not. Cancelled it leaves the parts for the next
// attempt; Discard takes them away. It heartbeats each second.
func (p *Packages) Fetch(ctx context.Context, params FetchParams) (FetchResult, error) {
	request := params.Request
	choice, err := usableBuildpacks(request)
	if err != nil {
		return FetchResult{}, err
	}
	space, err := p.workspaces.Create(request.TaskID)
	if err != nil {
		return FetchResult{}, nodeFault("the staging's directory cannot be made", err)
	}
	result := FetchResult{Buildpacks: len(choice.Buildpacks)}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, b := range choice.Buildpacks {
		if b.Git == nil { // the container clones the others
			group.Go(func() error { return p.buildpack(groupCtx, b.Admin) })
		}
	}
	group.Go(func() error {
		var err error
		result.PackageBytes, err = p.file(groupCtx, request.DownloadURI, space.Package())
		return httpFault(err, api.ErrStaging, "the app's package", request.DownloadURI)
	})
	group.Go(func() error {
		result.CacheBytes = p.cache(groupCtx, request, space)
		return nil
	})
	if err := group.Wait(); err != nil {
		return FetchResult{}, err
	}
	if err := ctx.Err(); err != nil {
		return FetchResult{}, err
	}
	if err := p.order(request, choice).Write(space.Spec()); err != nil {
		return FetchResult{}, nodeFault("the staging's order cannot be written", err)
	}
	p.log.Info("fetched", "app", request.AppID, "task", request.TaskID,
		"package_bytes", result.PackageBytes, "cache_bytes", result.CacheBytes, "buildpacks", result.Buildpacks)
	return result, nil
}

// DiscardParams names a staging.
type DiscardParams struct {
	TaskID string `json:"task_id"`
}

// Discard removes a staging's workspace with all that is in it.
//
// Run twice it does nothing the second time. Cancelled it finishes all the same. It heartbeats nothing.
func (p *Packages) Discard(_ context.Context, params DiscardParams) error {
	if err := p.workspaces.Remove(params.TaskID); err != nil {
		return nodeFault("the staging's directory cannot be removed", err)
	}
	return nil
}

// usableBuildpacks are those that the staging may use, in the order of detection or of running.
func usableBuildpacks(request api.StagingRequest) (api.BuildpackChoice, error) {
	choice := request.Choice()
	if len(choice.Buildpacks) == 0 {
		return choice, api.Final(api.ErrNoAppDetected, runspec.WordsNoAppDetected, errors.New("no buildpack is installed"))
	}
	return choice, nil
}

// stagingSeconds is max_staging_duration in whole seconds, rounded up: 0 would be no limit of ours.
func stagingSeconds(node *config.Node) int {
	return int((node.Staging.MaxStagingDuration + time.Second - 1) / time.Second)
}

func (p *Packages) order(request api.StagingRequest, choice api.BuildpackChoice) runspec.Spec {
	limits := p.config.Staging.Limits
	spec := runspec.Spec{
		SkipDetect:       !choice.Detect,
		StartCommand:     request.Properties.Meta.Command,
		TimeoutSeconds:   stagingSeconds(p.config),
		MaxUnpackedBytes: limits.UnpackedMB * bytesPerMB,
		MaxEntries:       int(limits.Entries),
		MaxLogBytes:      limits.LogMB * bytesPerMB,
	}
	for n, b := range choice.Buildpacks {
		if b.Git == nil {
			spec.Buildpacks = append(spec.Buildpacks, runspec.Buildpack{Key: b.Admin.Key, Dir: runspec.PathBuildpack(n)})
			continue
		}
		spec.Buildpacks = append(spec.Buildpacks, runspec.Buildpack{
			Key: b.Git.Shown(), Dir: runspec.PathClone(n), Git: &runspec.Git{URL: b.Git.URL, Ref: b.Git.Ref},
		})
	}
	return spec
}

func (p *Packages) buildpack(ctx context.Context, b api.AdminBuildpack) error {
	_, err := p.buildpacks.Ensure(ctx, b.Key, b.URL)
	what := fmt.Sprintf("the buildpack %q", b.Key)
	switch {
	case errors.Is(err, buildpackstore.ErrNotBuildpack):
		return api.Final(api.ErrStager, what+" is none: it has no program bin/compile", err)
	case errors.Is(err, buildpackstore.ErrUnpack):
		return api.Final(api.ErrStager, what+" is no zip that can be unpacked", err)
	}
	return httpFault(err, api.ErrStager, what, b.URL)
}

// cache gives the size of the buildpack cache, 0 when there is none.
func (p *Packages) cache(ctx context.Context, request api.StagingRequest, space workspace.Workspace) int64 {
	url := request.BuildpackCacheDownloadURI
	if url == "" {
		return 0
	}
	size, err := p.file(ctx, url, space.Cache())
	var answer *fetch.StatusError
	switch {
	case err == nil:
		return size
	case errors.As(err, &answer) && answer.Status == http.StatusNotFound:
		p.log.Debug("no buildpack cache", "task", request.TaskID)
	default:
		p.log.Warn("staging without the buildpack cache", "task", request.TaskID, "error", err)
	}
	return 0
}

// file downloads to a path, unless it is there.
func (p *Packages) file(ctx context.Context, url, path string) (int64, error) {
	if info, err := os.Lstat(path); err == nil {
		return info.Size(), nil
	}
	done, err := p.http.Get(ctx, fetch.Download{URL: url, To: path})
	return done.Size, err
}

// nodeFault is the error of an activity that the node's own disk failed.
func nodeFault(words string, err error) error { return api.Transient(api.ErrStager, words, err) }
