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
	"github.com/durable-dea/dea/internal/archive"
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

// NewPackages makes what fetches into one node's workspaces.
func NewPackages(deps PackagesDeps) *Packages {
	return &Packages{
		config: deps.Config, workspaces: deps.Workspaces, buildpacks: deps.Buildpacks, http: deps.HTTP,
		log: deps.Log.Named("packages"),
	}
}

// FetchResult says what came.
type FetchResult struct {
	// PackageBytes and CacheBytes are sizes; CacheBytes is 0 when there is no cache.
	PackageBytes int64 `json:"package_bytes"`
	CacheBytes   int64 `json:"cache_bytes,omitempty"`
	// Buildpacks are the admin buildpacks that are at hand, in the order in which they are asked or run.
	Buildpacks []FetchedBuildpack `json:"admin_buildpacks,omitempty"`
}

// FetchedBuildpack says which bytes an admin buildpack was made of.
type FetchedBuildpack struct {
	Key string `json:"key"`
	// SHA256 is that of the zip, in hex, and Bytes its size.
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
	// Fetched tells that it was not on the node before.
	Fetched bool `json:"fetched,omitempty"`
}

// Fetch brings the buildpacks, the app's package and the last staging's buildpack cache to the node, all at once, and
// then writes the runner's order. A cache that cannot be had is logged and done without. In the end it removes the
// buildpacks that nobody uses or names any more.
//
// Run twice it keeps what is whole already and resumes what is not. Cancelled it leaves the parts for the next attempt,
// or for Containers.CleanUp to take away.
func (p *Packages) Fetch(ctx context.Context, request api.StagingRequest) (FetchResult, error) {
	choice, err := usableBuildpacks(request)
	if err != nil {
		return FetchResult{}, err
	}
	space, err := p.workspaces.Create(request.TaskID)
	if err != nil {
		return FetchResult{}, nodeFault("the staging's directory cannot be made", err)
	}
	if err := p.claimBuildpacks(request, choice); err != nil {
		return FetchResult{}, nodeFault("the staging's use of buildpacks cannot be noted", err)
	}
	result, err := p.transfer(ctx, request, choice, space)
	if ctx.Err() != nil {
		return FetchResult{}, errors.Join(err, ctx.Err())
	}
	// After a failure, too: it may be the disk that is full.
	p.Reap(ctx)
	if err != nil {
		return FetchResult{}, err
	}
	if err := p.order(request, choice).Write(space.Spec()); err != nil {
		return FetchResult{}, nodeFault("the staging's order cannot be written", err)
	}
	p.log.Info("fetched", "app", request.AppID, "task", request.TaskID,
		"package_bytes", result.PackageBytes, "cache_bytes", result.CacheBytes, "buildpacks", len(choice.Buildpacks))
	return result, nil
}

// transfer brings everything at once. The container clones buildpacks from git.
func (p *Packages) transfer(
	ctx context.Context, request api.StagingRequest, choice api.BuildpackChoice, space workspace.Workspace,
) (FetchResult, error) {
	admin := adminBuildpacks(choice)
	result := FetchResult{Buildpacks: make([]FetchedBuildpack, len(admin))}
	all := &transfers{ctx: ctx}
	group, groupCtx := errgroup.WithContext(ctx)
	for n, b := range admin {
		progress := all.add()
		group.Go(func() error {
			defer progress.over()
			var err error
			result.Buildpacks[n], err = p.buildpack(groupCtx, b, progress)
			return err
		})
	}
	ofPackage, ofCache := all.add(), all.add()
	cache := beside(ctx, func(ctx context.Context) int64 {
		defer ofCache.over()
		return p.cache(ctx, request, space, ofCache)
	})
	group.Go(func() error {
		defer ofPackage.over()
		const what = "the app's package"
		var err error
		result.PackageBytes, err = p.file(groupCtx, request.DownloadURI, space.Package(), ofPackage)
		if errors.Is(err, fetch.ErrTooLarge) {
			return api.Final(api.ErrStaging, tooLarge(what, p.config.Staging.Limits.PackageMB), err)
		}
		return httpFault(err, api.ErrStaging, what, request.DownloadURI)
	})
	if err := group.Wait(); err != nil {
		cache.end()
		return result, err
	}
	result.CacheBytes = cache.await()
	return result, nil
}

// tooLarge are the words for what exceeds a limit of config.StagingLimits.
func tooLarge(what string, limitMB int64) string {
	return fmt.Sprintf("%s is larger than %d MB, the most that this node takes", what, limitMB)
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

func adminBuildpacks(choice api.BuildpackChoice) []api.AdminBuildpack {
	var admin []api.AdminBuildpack
	for _, b := range choice.Buildpacks {
		if b.Git == nil {
			admin = append(admin, b.Admin)
		}
	}
	return admin
}

// claimBuildpacks notes, before any of them is fetched, which buildpacks the staging uses and which its request names.
func (p *Packages) claimBuildpacks(request api.StagingRequest, choice api.BuildpackChoice) error {
	keys := func(buildpacks []api.AdminBuildpack) []string {
		keys := make([]string, len(buildpacks))
		for n, b := range buildpacks {
			keys[n] = b.Key
		}
		return keys
	}
	if err := p.buildpacks.Use(request.TaskID, keys(adminBuildpacks(choice))...); err != nil {
		return err
	}
	return p.buildpacks.Named(keys(request.AdminBuildpacks)...)
}

// Reap removes the buildpacks that no workspace's staging uses and that no request has named for a while. What fails is
// for the next time. It ends early when ctx does.
func (p *Packages) Reap(ctx context.Context) {
	everybody := func() ([]string, error) {
		return p.workspaces.Leftover(func(string) bool { return false })
	}
	reaped, err := p.buildpacks.Reap(ctx, everybody, p.config.Staging.BuildpackLifetime)
	if len(reaped) > 0 {
		p.log.Info("removed buildpacks that nobody uses", "buildpacks", reaped)
	}
	if err != nil && ctx.Err() == nil {
		p.log.Warn("unused buildpacks cannot be removed", "error", err)
	}
}

func (p *Packages) buildpack(ctx context.Context, b api.AdminBuildpack, progress *transfer) (FetchedBuildpack, error) {
	limits := p.config.Staging.Limits
	got, err := p.buildpacks.Ensure(ctx, buildpackstore.Order{
		Key: b.Key, URL: b.URL, Progress: progress.moved,
		MaxZip: limits.BuildpackMB * bytesPerMB, MaxBytes: limits.BuildpackUnpackedMB * bytesPerMB, MaxEntries: int(limits.Entries),
	})
	if err != nil {
		return FetchedBuildpack{}, p.buildpackFault(b, err)
	}
	progress.moved(got.Bytes, got.Bytes)
	if got.Came {
		p.log.Info("fetched a buildpack", "key", got.Key, "sha256", got.SHA256, "bytes", got.Bytes,
			"entries", got.Entries, "unpacked_bytes", got.UnpackedBytes)
	}
	return FetchedBuildpack{Key: got.Key, SHA256: got.SHA256, Bytes: got.Bytes, Fetched: got.Came}, nil
}

func (p *Packages) buildpackFault(b api.AdminBuildpack, err error) error {
	what, limits := fmt.Sprintf("the buildpack %q", b.Key), p.config.Staging.Limits
	var (
		none    *buildpackstore.NotBuildpackError
		refused *archive.Error
	)
	switch {
	case errors.As(err, &none):
		return api.Final(api.ErrStager, what+" "+none.Words, err)
	case errors.Is(err, fetch.ErrTooLarge):
		return api.Final(api.ErrStager, tooLarge(what, limits.BuildpackMB), err)
	case errors.Is(err, archive.ErrTooLarge):
		return api.Final(api.ErrStager, fmt.Sprintf("%s unpacks to more than %d MB or %d files, the most that this node takes",
			what, limits.BuildpackUnpackedMB, limits.Entries), err)
	case errors.As(err, &refused):
		return api.Final(api.ErrStager, what+" is no zip that can be unpacked: "+refused.Error(), err)
	}
	return httpFault(err, api.ErrStager, what, b.URL)
}

// cache gives the size of the buildpack cache, 0 when there is none.
func (p *Packages) cache(ctx context.Context, request api.StagingRequest, space workspace.Workspace, progress *transfer) int64 {
	url := request.BuildpackCacheDownloadURI
	if url == "" {
		return 0
	}
	size, err := p.file(ctx, url, space.Cache(), progress)
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

// file downloads a package or a cache to a path, unless it is there.
func (p *Packages) file(ctx context.Context, url, path string, progress *transfer) (int64, error) {
	if info, err := os.Lstat(path); err == nil {
		progress.moved(info.Size(), info.Size())
		return info.Size(), nil
	}
	done, err := p.http.Get(ctx, fetch.Download{
		URL: url, To: path, Limit: p.config.Staging.Limits.PackageMB * bytesPerMB, Progress: progress.moved,
	})
	return done.Size, err
}

// nodeFault is the error of an activity that the node's own disk failed.
func nodeFault(words string, err error) error { return api.Transient(api.ErrStager, words, err) }
