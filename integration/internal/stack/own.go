package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.yaml.in/yaml/v4"

	"github.com/durable-dea/dea/api"
)

// The ports behind a devserver's own 20, which its lock keeps from other devservers too.
const (
	ownFiles = 90
	ownPools = 100
	ownPool  = 40
	// ownMost is how many nodes have room there.
	ownMost = 10
	// ownBlock is what a devserver's lock stands for.
	ownBlock = 500
)

// OwnOptions say what a node of a test's own is. It offers OwnStack, which all do, and OwnStackOf its number.
type OwnOptions struct {
	// MemoryMB and DiskMB are what it gives out; 0 for enough for one staging at a time.
	MemoryMB, DiskMB int64
	// CloudController is its cc_url; empty for the devserver's.
	CloudController string
	// NodeGrace and OrphanReap are node_grace and intervals.orphan_reap; 0 for the defaults.
	NodeGrace, OrphanReap time.Duration
	// Staging are keys of dea.yml's section of that name.
	Staging map[string]any
	// Ports is how many the node's containers have; 0 for 40. Where it is not 0 the node is the only one.
	Ports int
	// Rootfs has containers made by an OCI runtime, of this directory; empty for plain processes.
	Rootfs string
	// Keys are further ones of dea.yml, WorkerFlags of the worker's command line.
	Keys        map[string]any
	WorkerFlags []string
}

// OwnStack is a root file system that every node of a test's own offers.
const OwnStack = "own"

// OwnStackOf is a root file system that only the node with this number offers: who asks for it asks for the node.
func OwnStackOf(number int) string { return OwnStack + "-" + strconv.Itoa(number) }

// Own is a node that nobody but the test starts, kills and ends: a wardend with plain processes as containers and a
// worker, in <Data>/own/<number>.
type Own struct {
	// Number is from 1; ID is the node's name.
	Number int
	ID     string

	stack           *Stack
	options         OwnOptions
	worker, wardend *child
	// since is when the worker that runs was started.
	since time.Time
}

// StartOwn starts a node beside the stack's own. It does not wait until the node takes work: Ready does.
func (s *Stack) StartOwn(ctx context.Context, options OwnOptions) (*Own, error) {
	o := &Own{Number: len(s.own) + 1, stack: s, options: options}
	if o.Number > ownMost || len(s.Nodes) > 0 {
		return nil, fmt.Errorf("own nodes are for devservers without nodes, and %d of them at most", ownMost)
	}
	mode := os.FileMode(0o700)
	if options.Rootfs != "" {
		mode = 0o711 // Containers' users pass through, as they do through the directory of the data.
		if err := os.Chmod(s.Data, mode); err != nil {
			return nil, fmt.Errorf("open the data to containers' users: %w", err)
		}
	}
	for _, dir := range []string{o.Base(), o.depot()} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return nil, fmt.Errorf("make the node's directory: %w", err)
		}
	}
	if err := o.writeConfig(); err != nil {
		return nil, err
	}
	s.own = append(s.own, o)
	s.lastPort = s.firstPort/ownBlock*ownBlock + ownBlock - 1
	if err := o.StartWardend(ctx); err != nil {
		return nil, err
	}
	return o, o.StartWorker(ctx)
}

func (o *Own) dir() string { return filepath.Join(o.stack.Data, "own", strconv.Itoa(o.Number)) }

// Base is the worker's base_dir.
func (o *Own) Base() string { return filepath.Join(o.dir(), "base") }

// Container is the directory of a container in the node's depot; it may or may not exist.
func (o *Own) Container(handle string) string { return filepath.Join(o.depot(), "containers", handle) }

// Workspace is the directory of a staging on the node, as long as it goes on.
func (o *Own) Workspace(task string) string { return filepath.Join(o.Base(), "staging", task) }

func (o *Own) depot() string  { return filepath.Join(o.dir(), "depot") }
func (o *Own) socket() string { return filepath.Join(o.dir(), "warden.sock") }
func (o *Own) config() string { return filepath.Join(o.dir(), "dea.yml") }

func (o *Own) writeConfig() error {
	runner, err := Bin("dea-runner")
	if err != nil {
		return err
	}
	const roomForOne, diskForOne = 1536, 3072 // a staging takes 1024 and 2048 at least
	cc, reap, grace := o.options.CloudController, o.options.OrphanReap, o.options.NodeGrace
	if cc == "" {
		cc = o.stack.Client.CloudController.Reveal()
	}
	stacks := []any{map[string]any{"name": OwnStack}, map[string]any{"name": OwnStackOf(o.Number)}}
	if o.options.Rootfs != "" {
		for _, stack := range stacks {
			stack.(map[string]any)["package_path"] = o.options.Rootfs
		}
	}
	content := map[string]any{
		"base_dir": o.Base(), "warden_socket": o.socket(), "runner": runner, "index": o.Number, "cc_url": cc,
		"resources": map[string]any{
			"memory_mb": max(o.options.MemoryMB, roomForOne), "disk_mb": max(o.options.DiskMB, diskForOne),
		},
		"stacks":           stacks,
		"directory_server": map[string]any{"listen": o.address(ownFiles + o.Number - 1)},
		"temporal": map[string]any{
			"address": o.stack.Addresses.Temporal, "namespace": o.stack.Client.Temporal.Namespace,
			"encryption_key_file": o.stack.Client.Temporal.EncryptionKeyFile,
		},
	}
	if len(o.options.Staging) > 0 {
		content["staging"] = o.options.Staging
	}
	if reap > 0 {
		content["intervals"] = map[string]any{"orphan_reap": reap.String()}
	}
	if grace > 0 {
		content["node_grace"] = grace.String()
	}
	maps.Copy(content, o.options.Keys)
	text, err := yaml.Marshal(content)
	if err != nil {
		return fmt.Errorf("write dea.yml: %w", err)
	}
	if err := os.WriteFile(o.config(), text, 0o600); err != nil {
		return fmt.Errorf("write dea.yml: %w", err)
	}
	return nil
}

func (o *Own) address(offset int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(o.stack.firstPort+offset))
}

// readID waits for the name that the worker gives its node at its very first start.
func (o *Own) readID(ctx context.Context) error {
	return until(ctx, func() error {
		text, err := os.ReadFile(filepath.Join(o.Base(), "node_id"))
		if err != nil {
			return errors.Join(err, o.worker.running())
		}
		o.ID = strings.TrimSpace(string(text))
		return nil
	})
}

// viewAge is longer than the placements of all workers keep what they have seen of the nodes.
const viewAge = 2500 * time.Millisecond

// Ready waits until the worker that runs now has taken its node over and every placement that begins from then on sees the
// node: Temporal notices late that a worker was killed, and what a placement sees may be some seconds old.
func (o *Own) Ready(ctx context.Context) error {
	if err := until(ctx, func() error { return o.supervised(ctx) }); err != nil {
		return fmt.Errorf("node %d is not supervised: %w\n%s", o.Number, err, o.Tail())
	}
	seen := time.Now()
	err := until(ctx, func() error {
		if err := o.listed(ctx); err != nil {
			seen = time.Now()
			return err
		}
		if time.Since(seen) < viewAge {
			return errors.New("it has only just been listed")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("node %d is not seen: %w\n%s", o.Number, err, o.Tail())
	}
	return nil
}

// supervised fails unless the worker that runs now has begun to supervise the node, and the ledger knows.
func (o *Own) supervised(ctx context.Context) error {
	described, err := o.stack.Temporal.DescribeWorkflowExecution(ctx, api.NodeWorkflowID(o.ID), "")
	if err != nil {
		return fmt.Errorf("describe the node: %w", err)
	}
	for _, pending := range described.GetPendingActivities() {
		if pending.GetState() == enumspb.PENDING_ACTIVITY_STATE_STARTED && pending.GetLastStartedTime().AsTime().After(o.since) {
			status, err := o.stack.Control.Node(ctx, o.ID)
			if err == nil && status.State != api.NodeReady {
				err = fmt.Errorf("it is %s", status.State)
			}
			return err
		}
	}
	return errors.New("no supervision has begun since the worker was started")
}

// listed fails unless the node is among those that take work.
func (o *Own) listed(ctx context.Context) error {
	answer, err := o.stack.Temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
		Namespace: o.stack.Client.Temporal.Namespace,
		Query: fmt.Sprintf("WorkflowId = '%s' AND ExecutionStatus = 'Running' AND %s = '%s'",
			api.NodeWorkflowID(o.ID), api.SearchState.GetName(), api.NodeReady),
	})
	if err != nil {
		return fmt.Errorf("list the node: %w", err)
	}
	if len(answer.GetExecutions()) == 0 {
		return errors.New("it is not listed")
	}
	return nil
}

// InUse is Stack.InUse of this node alone, downloads that are there by half included; but not those of buildpacks, which
// are for any staging that wants the same.
func (o *Own) InUse(ctx context.Context) error {
	var left []error
	for what, pattern := range map[string]string{"container": o.Container("*"), "workspace": o.Workspace("*")} {
		found, err := filepath.Glob(pattern)
		left = append(left, err, leftover(what, found))
	}
	err := filepath.WalkDir(o.Base(), func(path string, entry os.DirEntry, err error) error {
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil
		case err == nil && entry.IsDir() && path == o.buildpackParts():
			return filepath.SkipDir
		case strings.HasSuffix(path, ".part"), strings.HasSuffix(path, ".part.version"), strings.HasSuffix(path, ".new"):
			left = append(left, fmt.Errorf("part left: %s", path))
		}
		return err
	})
	return errors.Join(append(left, err, o.stack.reserved(ctx, o.ID))...)
}

func (o *Own) buildpackParts() string { return filepath.Join(o.Base(), "admin_buildpacks", ".parts") }

// BuildpackParts are the files of buildpacks that are there by half.
func (o *Own) BuildpackParts() ([]string, error) {
	return filepath.Glob(filepath.Join(o.buildpackParts(), "*"))
}
