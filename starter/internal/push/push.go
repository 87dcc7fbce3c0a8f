package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/starter/internal/cloudcontroller"
	"github.com/durable-dea/dea/starter/internal/pack"
	"github.com/durable-dea/dea/starter/internal/progress"
	"github.com/durable-dea/dea/starter/internal/size"
	"github.com/durable-dea/dea/starter/internal/stager"
	"github.com/durable-dea/dea/starter/internal/watch"
)

// nodesAppear is how long a node that has just joined may take to be listed.
const nodesAppear = 4 * time.Second

// Pusher pushes apps. All fields are required.
type Pusher struct {
	Controller *controller.Client
	Cloud      *cloudcontroller.Client
	Stager     *stager.Stager
	Watcher    *watch.Watcher
	Report     *progress.Reporter
}

// Outcome is how far a push came.
type Outcome struct {
	// App is the app, nil before it was run.
	App *api.AppStatus `json:"app,omitempty"`
	// Staging is how staging ended, nil before it was tried.
	Staging *api.StagingResult `json:"staging,omitempty"`
}

// Push pushes an app and waits until it runs. What it returns besides an error is how far it came.
func (p *Pusher) Push(ctx context.Context, o Options) (Outcome, error) {
	var out Outcome
	if err := o.Validate(); err != nil {
		return out, err
	}
	var err error
	if o.Stack, err = p.stack(ctx, o.Stack); err != nil {
		return out, err
	}
	buildpacks, err := p.Cloud.Buildpacks(ctx)
	if err != nil {
		return out, err
	}
	request, err := stagingRequest(o, uuid.NewString(), p.Cloud.URLs(o.Name), buildpacks)
	if err != nil {
		return out, err
	}
	if err := valid(o, request); err != nil {
		return out, err
	}
	if err := p.upload(ctx, o); err != nil {
		return out, err
	}
	p.Report.Linef("Staging %s", o.Name)
	result, err := p.Stager.Stage(ctx, request)
	if result.TaskID != "" {
		out.Staging = &result
	}
	if err != nil {
		return out, err
	}
	p.Report.Linef("Staged with buildpack %s, droplet %s", orNone(result.DetectedBuildpack), result.DropletSHA1)
	err = p.run(ctx, o, result.DropletSHA1, &out)
	return out, err
}

// valid checks all that the platform would check, before anything is uploaded.
func valid(o Options, request api.StagingRequest) error {
	if err := request.Validate(); err != nil {
		return usagef("%s", api.Explain(err, api.ErrInvalidRequest).Message)
	}
	// The droplet stands in for one that does not exist yet.
	spec := appSpec(o, request.TaskID, strings.Repeat("0", 40), request.DownloadURI)
	if err := spec.Validate(); err != nil {
		return usagef("%s", api.Explain(err, api.ErrInvalidRequest).Message)
	}
	return nil
}

// run starts what was staged and waits until it runs.
func (p *Pusher) run(ctx context.Context, o Options, sha1 string, out *Outcome) error {
	version := uuid.NewString()
	status, err := p.Controller.Run(ctx, appSpec(o, version, sha1, p.Cloud.DropletURL(o.Name, sha1)))
	if err != nil {
		return err
	}
	out.App = &status
	status, err = p.Watcher.Running(ctx, o.Name, version, o.Timeout)
	if status.AppID != "" {
		out.App = &status
	}
	if errors.Is(err, context.Canceled) {
		p.Report.Linef("Interrupted: %s goes on starting; `starter ps %s` shows how far it is", o.Name, o.Name)
	}
	return err
}

// upload packs the source and puts it at the cloud controller.
func (p *Pusher) upload(ctx context.Context, o Options) (err error) {
	packed, err := pack.Make(ctx, o.Source)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	defer func() { err = errors.Join(err, packed.Close()) }()
	if packed.Files > 0 {
		p.Report.Linef("Packed %d files of %s (%s)", packed.Files, o.Source, size.Bytes(packed.Size))
	}
	file, err := os.Open(packed.Path)
	if err != nil {
		return fmt.Errorf("open the package: %w", err)
	}
	defer func() { _ = file.Close() }() // only read from
	transfer := p.Report.Transfer("Uploading "+o.Name, packed.Size)
	err = p.Cloud.UploadPackage(ctx, o.Name, file, packed.Size, func(r io.Reader) io.Reader { return transfer.Reader(r) })
	transfer.Done(err != nil)
	return err
}

// stack finds the one stack that the nodes have where the user names none.
func (p *Pusher) stack(ctx context.Context, wanted string) (string, error) {
	if wanted != "" {
		return wanted, nil
	}
	nodes, err := p.nodes(ctx)
	if err != nil {
		return "", err
	}
	var stacks []string
	for _, n := range nodes {
		stacks = append(stacks, n.Stacks...)
	}
	slices.Sort(stacks)
	switch stacks = slices.Compact(stacks); len(stacks) {
	case 0:
		return "", &controller.Error{
			Kind: controller.ErrNoWorker, Words: "no node has joined the platform", Next: "start a worker, then push again",
		}
	case 1:
		return stacks[0], nil
	default:
		return "", usagef("the nodes have several stacks; name one with --stack: %s", strings.Join(stacks, ", "))
	}
}

// nodes waits a little for the first one: a listing lags.
func (p *Pusher) nodes(ctx context.Context) ([]api.NodeStatus, error) {
	limited, cancel := context.WithTimeout(ctx, nodesAppear)
	defer cancel()
	tick := time.NewTicker(nodesAppear / 8)
	defer tick.Stop()
	for {
		nodes, err := p.Controller.Nodes(ctx)
		if err != nil && len(nodes) == 0 {
			return nil, err
		}
		if len(nodes) > 0 {
			return nodes, nil
		}
		select {
		case <-tick.C:
		case <-limited.Done():
			return nil, ctx.Err()
		}
	}
}

func orNone(name string) string {
	if name == "" {
		return "(unnamed)"
	}
	return name
}
