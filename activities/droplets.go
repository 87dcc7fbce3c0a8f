package activities

import (
	"context"
	"crypto/sha1" //nolint:gosec // the wire's digest of a droplet
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/go-hclog"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/durable-dea/dea/api"
	"github.com/durable-dea/dea/internal/diskuse"
	"github.com/durable-dea/dea/internal/droplets"
	"github.com/durable-dea/dea/internal/fetch"
	"github.com/durable-dea/dea/internal/share"
	"github.com/durable-dea/dea/warden"
)

// WorkflowStarter is the part of a Temporal client that starts workflows, and waits for those that others have started.
type WorkflowStarter interface {
	ExecuteWorkflow(ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any) (client.WorkflowRun, error)
	GetWorkflow(ctx context.Context, workflowID, runID string) client.WorkflowRun
}

// DropletsDeps is what Droplets works with.
type DropletsDeps struct {
	// Node is this node's id.
	Node     string
	Temporal WorkflowStarter
	Cache    *droplets.Store
	// MaxBytes is how large a droplet may be that is downloaded; 0 is without bound.
	MaxBytes int64
	// Keep says which droplets stay that nobody uses.
	Keep droplets.Keep
	// Disk is how full the disk may be before they go all the same; see Relieve.
	Disk diskuse.Threshold
	// Warden knows which instances are on the node, whatever the ledger says.
	Warden *warden.Client
	HTTP   *fetch.Client
	Log    hclog.Logger
}

// Droplets brings droplets to the node's cache.
type Droplets struct {
	node     string
	temporal WorkflowStarter
	cache    *droplets.Store
	most     int64
	keep     droplets.Keep
	disk     diskuse.Threshold
	warden   *warden.Client
	http     *fetch.Client
	log      hclog.Logger
	// waits are at Temporal, by SHA-1; each gives the URL that the droplet was fetched from, as far as that is known.
	waits share.Group[string, string]
}

// NewDroplets makes the activities of one node's droplet cache.
func NewDroplets(deps DropletsDeps) *Droplets {
	return &Droplets{
		node: deps.Node, temporal: deps.Temporal, cache: deps.Cache, most: deps.MaxBytes, keep: deps.Keep, disk: deps.Disk,
		warden: deps.Warden, http: deps.HTTP, log: deps.Log.Named("droplets"),
	}
}

// DropletParams names a droplet.
type DropletParams struct {
	// SHA1 is its digest, 40 hexadecimal digits.
	SHA1 string `json:"sha1"`
	// URI is where it is. Basic auth may stand in it.
	URI string `json:"uri"`
}

// DropletResult says what is in the cache.
type DropletResult struct {
	// Bytes is the droplet's size.
	Bytes int64 `json:"bytes"`
	// Cached is set when it was there already.
	Cached bool `json:"cached,omitempty"`
	// ResumedBytes is how much of it an earlier attempt had fetched.
	ResumedBytes int64 `json:"resumed_bytes,omitempty"`
}

// Await waits until a droplet is in the node's cache. It starts the workflow FetchDroplet, or joins the one that is
// under way; however many wait on this node for one droplet, there is one download at a time and one wait at Temporal.
//
// Each start message brings a URL of its own, which may be signed and expire: a download that failed for good with
// another one's URL says nothing of this one, and is followed by one with this one. It is done when ctx ends, and leaves
// the others that wait, and the download, alone.
func (d *Droplets) Await(ctx context.Context, params DropletParams) error {
	params.SHA1 = strings.ToLower(params.SHA1)
	for {
		if result, err := d.look(params.SHA1); err != nil || result.Cached {
			return err
		}
		from, err := d.waits.Do(ctx, params.SHA1, func(ctx context.Context) (string, error) { return d.wait(ctx, params) })
		switch {
		case err == nil:
			return d.mustHave(params.SHA1)
		case ctx.Err() != nil, !isFinal(err), from == params.URI:
			return err
		}
		d.log.Info("a droplet could not be fetched for another instance, trying this one's URL", "sha1", params.SHA1)
	}
}

// mustHave fails for a droplet that was fetched and is not here.
func (d *Droplets) mustHave(sha1 string) error {
	if _, ok := d.cache.Has(sha1); ok {
		return nil
	}
	return api.Transient(api.ErrDroplet, droplets.ErrGone.Error(),
		fmt.Errorf("%w: it was fetched, and has been taken away", droplets.ErrGone))
}

func isFinal(err error) bool {
	var failed *temporal.ApplicationError
	return errors.As(err, &failed) && failed.NonRetryable()
}

// wait gives the URL that the droplet is fetched from: none for a workflow that was under way, which an earlier worker of
// the node may have started.
func (d *Droplets) wait(ctx context.Context, params DropletParams) (from string, err error) {
	id := api.DropletWorkflowID(d.node, params.SHA1)
	run, err := d.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                                       id,
		TaskQueue:                                api.TaskQueue,
		WorkflowIDConflictPolicy:                 enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		WorkflowIDReusePolicy:                    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowTaskTimeout:                      api.WorkflowTaskTimeout,
		StaticSummary:                            "Fetches a droplet to node " + d.node,
		TypedSearchAttributes: temporal.NewSearchAttributes(
			api.SearchKind.ValueSet(string(api.KindDroplet)),
			api.SearchNode.ValueSet(d.node),
		),
	}, api.WorkflowFetchDroplet, api.FetchDropletInput{Node: d.node, SHA1: params.SHA1, URI: params.URI})
	from = params.URI
	var other *serviceerror.WorkflowExecutionAlreadyStarted
	if errors.As(err, &other) {
		from, run, err = "", d.temporal.GetWorkflow(ctx, id, other.RunId), nil
	}
	if err == nil {
		err = run.Get(ctx, nil)
	}
	return from, dropletFault(ctx, err)
}

// dropletFault carries the outcome of FetchDroplet over to whoever waits for it. A workflow that failed has had its own
// retries; one that was ended by an operator, or of which nothing is known, is worth another try.
func dropletFault(ctx context.Context, err error) error {
	var failed *temporal.ApplicationError
	var refused *serviceerror.InvalidArgument
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &failed), errors.As(err, &refused):
		info := api.Explain(err, api.ErrDroplet)
		return api.Final(info.Type, info.Message, err)
	default:
		return api.Transient(api.ErrDroplet, "the droplet could not be fetched", err)
	}
}

// Download fetches a droplet into the node's cache. Its SHA-1 is made as it comes; a droplet that has another one is
// thrown away and fails with api.ErrDroplet.
//
// Run twice at once, the second ends the first and goes on from what came. Cancelled, or after a death, that stays, and the
// next attempt goes on from there. It heartbeats.
func (d *Droplets) Download(ctx context.Context, params DropletParams) (DropletResult, error) {
	params.SHA1 = strings.ToLower(params.SHA1)
	if result, err := d.look(params.SHA1); err != nil || result.Cached {
		return result, err
	}
	result, err := d.download(ctx, params)
	if errors.Is(err, errWrongDigest) {
		return DropletResult{}, api.Final(api.ErrDroplet,
			"the droplet is not the one that was asked for: its SHA-1 is wrong", err)
	}
	if err != nil {
		d.makeRoom(ctx, err)
		return DropletResult{}, httpFault(err, api.ErrDroplet, "the droplet", params.URI)
	}
	d.log.Info("downloaded", "sha1", params.SHA1, "bytes", result.Bytes, "resumed_bytes", result.ResumedBytes)
	return result, nil
}

// errWrongDigest: what came is not what the SHA-1 names.
var errWrongDigest = errors.New("wrong SHA-1")

func (d *Droplets) download(ctx context.Context, params DropletParams) (DropletResult, error) {
	result, err := d.downloadOnce(ctx, params)
	if errors.Is(err, errWrongDigest) && result.ResumedBytes > 0 {
		// The part may have been of another version of the file; only a whole download tells.
		d.log.Warn("resumed droplet is wrong, fetching all of it", "sha1", params.SHA1)
		result, err = d.downloadOnce(ctx, params)
	}
	return result, err
}

func (d *Droplets) downloadOnce(ctx context.Context, params DropletParams) (DropletResult, error) {
	part, err := d.cache.Part(params.SHA1)
	if err != nil {
		return DropletResult{}, cacheFault("the droplet cannot be stored", err)
	}
	whole := part + ".whole"
	digest := sha1.New() //nolint:gosec // the wire's digest of a droplet
	done, err := d.http.Get(ctx, fetch.Download{
		URL: params.URI, To: whole, Part: part, AnyVersion: true, Hash: digest, Limit: d.most,
		Accept: func() error {
			if got := hex.EncodeToString(digest.Sum(nil)); got != params.SHA1 {
				return fmt.Errorf("%w: %s came, %s was asked for", errWrongDigest, got, params.SHA1)
			}
			return nil
		},
	})
	result := DropletResult{Bytes: done.Size, ResumedBytes: done.Resumed}
	if err != nil {
		return result, err
	}
	if err := d.cache.Move(params.SHA1, whole); err != nil {
		return result, cacheFault("the droplet cannot be stored", err)
	}
	return result, nil
}

// look answers from the cache; Cached is set when the droplet is there.
func (d *Droplets) look(sha1 string) (DropletResult, error) {
	if err := droplets.Check(sha1); err != nil {
		return DropletResult{}, cacheFault("", err)
	}
	size, ok := d.cache.Has(sha1)
	return DropletResult{Bytes: size, Cached: ok}, nil
}

// cacheFault is the error of an activity that the node's cache has failed: words are for the user where it is the node's
// fault, and not that of a request that names no droplet.
func cacheFault(words string, err error) error {
	if errors.Is(err, droplets.ErrBadDigest) {
		return api.Final(api.ErrDroplet, "the droplet's SHA-1 must be 40 hexadecimal digits", err)
	}
	return nodeFault(words, err)
}
