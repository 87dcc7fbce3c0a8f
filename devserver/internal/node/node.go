package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/durable-dea/dea/devserver/internal/data"
	"github.com/durable-dea/dea/devserver/internal/process"
	"github.com/durable-dea/dea/devserver/internal/wait"
	"github.com/durable-dea/dea/warden"
	"github.com/durable-dea/dea/warden/wardenpb"
)

const (
	workerGrace  = 15 * time.Second
	wardendGrace = 5 * time.Second
	// destroyGrace is enough for a node full of containers whose processes do not listen to TERM.
	destroyGrace = 2 * time.Minute
)

// Programs are the paths of what a node runs.
type Programs struct{ Worker, Wardend, Runner string }

// Options say what a node is.
type Options struct {
	// Number is from 1 and tells the nodes of a devserver apart.
	Number int
	// Dir is the node's directory, Socket where its wardend listens.
	Dir, Socket string
	// WorkerLog and WardendLog are files.
	WorkerLog, WardendLog string
	Programs              Programs
	Worker                WorkerOptions
	Wardend               WardendOptions
	// LetPass lets containers' users pass through to their roots in the depot.
	LetPass bool
	// Restart starts a process again that died.
	Restart bool
	// OnExit is told of a process that ended unasked.
	OnExit func(process.Exit)
}

// WardendOptions are for wardend alone.
type WardendOptions struct {
	// Backend is auto, oci or process.
	Backend string
	// RootFS is the directory of the root file system; may be empty.
	RootFS string
	// PoolNetwork is the CIDR that containers take their addresses from.
	PoolNetwork string
	// PoolStart and PoolSize are the ports that containers take theirs from.
	PoolStart, PoolSize int
	LogLevel            string
}

// Node is a node that runs, or is about to.
type Node struct {
	options Options
	spawner *process.Spawner

	mu              sync.Mutex
	worker, wardend *process.Child
}

// Prepare makes the node's directories and writes its dea.yml.
func Prepare(options Options, spawner *process.Spawner) (*Node, error) {
	n := &Node{options: options, spawner: spawner}
	for _, dir := range []string{options.Dir, n.depot(), n.base()} {
		mode := fs.FileMode(0o700)
		if options.LetPass && dir != n.base() {
			mode = data.Passable
		}
		if err := errors.Join(os.MkdirAll(dir, mode), os.Chmod(dir, mode)); err != nil {
			return nil, fmt.Errorf("make the directories of node %d: %w", options.Number, err)
		}
	}
	return n, n.writeConfig()
}

// Socket is where the node's wardend listens.
func (n *Node) Socket() string { return n.options.Socket }

// Number tells the nodes of a devserver apart, from 1.
func (n *Node) Number() int { return n.options.Number }

func (n *Node) base() string   { return filepath.Join(n.options.Dir, "base") }
func (n *Node) depot() string  { return Depot(n.options.Dir) }
func (n *Node) config() string { return filepath.Join(n.options.Dir, "dea.yml") }

// Depot is where the wardend of the node in this directory keeps its containers.
func Depot(dir string) string { return filepath.Join(dir, "depot") }

// StartWardend starts wardend and waits until it answers.
func (n *Node) StartWardend(ctx context.Context) error {
	options := n.options.Wardend
	args := []string{
		"--socket", n.options.Socket,
		"--depot", n.depot(),
		"--backend", options.Backend,
		"--pool-network", options.PoolNetwork,
		"--port-pool", fmt.Sprintf("%d:%d", options.PoolStart, options.PoolSize),
		"--log-level", options.LogLevel,
	}
	if options.RootFS != "" {
		args = append(args, "--rootfs", options.RootFS)
	}
	child, err := n.start(process.Spec{
		Name: fmt.Sprintf("wardend of node %d", n.options.Number),
		Path: n.options.Programs.Wardend, Args: args, Log: n.options.WardendLog,
	})
	if err != nil {
		return err
	}
	n.set(&n.wardend, child)
	return n.waitWardend(ctx)
}

func (n *Node) waitWardend(ctx context.Context) error {
	client := warden.NewClient(n.options.Socket)
	defer func() { _ = client.Close() }()
	err := wait.For(ctx, 20*time.Millisecond, func(ctx context.Context) error {
		_, err := client.Ping(ctx, &wardenpb.PingRequest{})
		return err
	})
	if err != nil {
		return fmt.Errorf("wait for wardend of node %d: %w", n.options.Number, err)
	}
	return nil
}

// StartWorker starts the worker. WaitReady tells when the node takes work.
func (n *Node) StartWorker() error {
	child, err := n.start(process.Spec{
		Name: fmt.Sprintf("worker of node %d", n.options.Number),
		Path: n.options.Programs.Worker, Args: []string{"--config", n.config()}, Env: workerEnvironment(),
		Log: n.options.WorkerLog,
	})
	if err != nil {
		return err
	}
	n.set(&n.worker, child)
	return nil
}

func (n *Node) start(spec process.Spec) (*process.Child, error) {
	spec.Restart, spec.OnExit = n.options.Restart, n.options.OnExit
	return n.spawner.Start(spec)
}

func (n *Node) set(field **process.Child, child *process.Child) {
	n.mu.Lock()
	defer n.mu.Unlock()
	*field = child
}

func (n *Node) children() (worker, wardend *process.Child) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.worker, n.wardend
}

// PIDs are the processes' ids, 0 for one that does not run at the moment.
func (n *Node) PIDs() (worker, wardend int) {
	workerChild, wardendChild := n.children()
	if workerChild != nil {
		worker = workerChild.PID()
	}
	if wardendChild != nil {
		wardend = wardendChild.PID()
	}
	return worker, wardend
}

// StopWorker ends the worker, gently and then, or when ctx ends, by force. Containers and wardend stay.
func (n *Node) StopWorker(ctx context.Context) {
	worker, _ := n.children()
	stop(ctx, worker, workerGrace)
}

// StopWardend is StopWorker for wardend.
func (n *Node) StopWardend(ctx context.Context) {
	_, wardend := n.children()
	stop(ctx, wardend, wardendGrace)
}

func stop(ctx context.Context, child *process.Child, grace time.Duration) {
	if child == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	child.Stop(ctx)
}

// DestroyContainers ends every container of a node whose wardend does not run. dir is the node's directory; nothing is
// done where there is no depot, or nothing in it.
func DestroyContainers(ctx context.Context, wardend, dir string) error {
	depot := Depot(dir)
	entries, err := os.ReadDir(depot)
	if errors.Is(err, os.ErrNotExist) || (err == nil && len(entries) == 0) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, destroyGrace)
	defer cancel()
	command := exec.CommandContext(ctx, wardend, "destroy-all", "--depot", depot)
	// What it starts may have its output, and outlive it when it is killed.
	command.WaitDelay = time.Second
	output, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("destroy the containers of node %s: %w: %s", filepath.Base(dir), err, lastPart(output))
	}
	return nil
}

// lastPart bounds what an error quotes.
func lastPart(output []byte) string {
	const most = 1000
	return string(output[max(0, len(output)-most):])
}
