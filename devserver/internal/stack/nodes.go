package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/durable-dea/dea/devserver/internal/node"
	"github.com/durable-dea/dea/devserver/internal/ports"
	"github.com/durable-dea/dea/devserver/internal/process"
)

// startNodes starts every node and waits until all take work.
func (s *Stack) startNodes(ctx context.Context) error {
	if err := s.endDroppedNodes(ctx); err != nil {
		return err
	}
	if s.options.Nodes == 0 {
		return nil
	}
	s.spawner = process.NewSpawner()
	s.atEnd("", func(context.Context) error { s.spawner.Close(); return nil })
	if err := s.prepareNodes(); err != nil {
		return err
	}
	s.atEnd("containers", s.destroyContainers)
	s.atEnd("wardends", func(ctx context.Context) error { return s.stopEach(ctx, (*node.Node).StopWardend) })
	s.atEnd("workers", func(ctx context.Context) error { return s.stopEach(ctx, (*node.Node).StopWorker) })
	s.follow()

	found := make([]NodeAddress, len(s.nodes))
	group, ctx := errgroup.WithContext(ctx)
	for i, n := range s.nodes {
		group.Go(func() error {
			return s.step(fmt.Sprintf("node %d", n.Number()), func() error {
				address, err := s.startNode(ctx, n)
				found[i] = address
				return err
			})
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	s.addresses.Nodes = found
	return nil
}

func (s *Stack) startNode(ctx context.Context, n *node.Node) (NodeAddress, error) {
	if err := n.StartWardend(ctx); err != nil {
		return NodeAddress{}, err
	}
	begun := time.Now()
	if err := n.StartWorker(); err != nil {
		return NodeAddress{}, err
	}
	status, err := n.WaitReady(ctx, s.temporal, s.keyring, begun)
	if err != nil {
		return NodeAddress{}, err
	}
	worker, wardend := n.PIDs()
	return NodeAddress{
		ID: status.Node, WardenSocket: n.Socket(), FilesURL: status.FilesURL, WorkerPID: worker, WardendPID: wardend,
	}, nil
}

func (s *Stack) prepareNodes() error {
	memoryMB, diskMB, err := s.options.resources(s.dir.Path())
	if err != nil {
		return err
	}
	networks, err := carve(s.options.Network, s.options.Nodes)
	if err != nil {
		return err
	}
	// Only real containers have users of their own.
	letPass := s.options.Backend != "process" && s.options.RootFS != "" && os.Geteuid() == 0
	if letPass {
		if err := s.dir.LetPass(); err != nil {
			return err
		}
	}
	temporal := s.temporalConfig()
	for i := range s.options.Nodes {
		number := i + 1
		socket, err := s.dir.Socket(number)
		if err != nil {
			return err
		}
		start, size := s.row.Pool(i)
		prepared, err := node.Prepare(node.Options{
			Number: number, Dir: s.dir.Node(number), Socket: socket,
			WorkerLog:  s.dir.Log(workerLog(number)),
			WardendLog: s.dir.Log(wardendLog(number)),
			Programs: node.Programs{
				Worker: s.options.program("worker"), Wardend: s.options.program("wardend"),
				Runner: s.options.program("dea-runner"),
			},
			Worker: node.WorkerOptions{
				MemoryMB: memoryMB, DiskMB: diskMB, Stack: s.options.Stack, RootFS: s.options.RootFS,
				Files: ports.Address(s.row.Files(i)), CloudController: s.controllerURL,
				NATS:     s.bus.URL(),
				Temporal: temporal.Address, Namespace: temporal.Namespace, KeyFile: temporal.EncryptionKeyFile,
				ExecKeys: s.dir.ExecAuthorizedKeys(),
				LogLevel: s.options.LogLevel,
			},
			Wardend: node.WardendOptions{
				Backend: s.options.Backend, RootFS: s.options.RootFS, PoolNetwork: networks[i].String(),
				PoolStart: start, PoolSize: size, LogLevel: s.options.LogLevel,
			},
			LetPass: letPass, Restart: s.options.Restart, OnExit: s.onExit,
		}, s.spawner)
		if err != nil {
			return err
		}
		s.nodes = append(s.nodes, prepared)
	}
	return nil
}

// onExit ends a start that is under way; afterwards it only tells.
func (s *Stack) onExit(exit process.Exit) {
	s.mu.Lock()
	ready := s.ready
	s.mu.Unlock()
	if !ready {
		s.died(errors.New(exit.String()))
		return
	}
	next := "it stays down (--restart=false)"
	if exit.Restart > 0 {
		next = "starting it again in " + exit.Restart.String()
	}
	s.say("!!! %s\n!!! %s", exit, next)
}

func (s *Stack) stopEach(ctx context.Context, stop func(*node.Node, context.Context)) error {
	var group errgroup.Group
	for _, n := range s.nodes {
		group.Go(func() error { stop(n, ctx); return nil })
	}
	return group.Wait()
}

// destroyContainers ends the containers of every node. Nobody asks for them any more: wardends and workers are gone.
func (s *Stack) destroyContainers(ctx context.Context) error {
	var group errgroup.Group
	for number := range s.options.Nodes {
		group.Go(func() error {
			return node.DestroyContainers(ctx, s.options.program("wardend"), s.dir.Node(number+1))
		})
	}
	if err := group.Wait(); err != nil {
		// Without the depots nobody could find or end what is left.
		s.dir.Keep()
		return fmt.Errorf("%w\n%s is kept: `wardend destroy-all` ends what is left", err, s.dir.Path())
	}
	return nil
}

// endDroppedNodes ends the containers of nodes that an earlier run had and this one does not: nothing would watch them.
func (s *Stack) endDroppedNodes(ctx context.Context) error {
	numbers, err := s.dir.NodesHere()
	if err != nil {
		return fmt.Errorf("look for nodes of an earlier run: %w", err)
	}
	slices.Sort(numbers)
	for _, number := range numbers {
		if number <= s.options.Nodes {
			continue
		}
		s.say("node %d: not part of this run, ending its containers", number)
		// What is left of them harms nothing of this run.
		if err := node.DestroyContainers(ctx, s.options.program("wardend"), s.dir.Node(number)); err != nil {
			s.say("!!! %v", err)
		}
	}
	return nil
}

func workerLog(number int) string  { return fmt.Sprintf("worker-%d", number) }
func wardendLog(number int) string { return fmt.Sprintf("wardend-%d", number) }

// follow copies the nodes' logs to Progress when that is asked for.
func (s *Stack) follow() {
	if !s.options.Verbose {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group errgroup.Group
	for _, n := range s.nodes {
		for _, name := range []string{workerLog(n.Number()), wardendLog(n.Number())} {
			group.Go(func() error {
				return process.Follow(ctx, s.dir.Log(name), name+" | ", s.options.Progress)
			})
		}
	}
	s.atEnd("", func(context.Context) error {
		cancel()
		return group.Wait()
	})
}

func (s *Stack) writeAddresses() error {
	url := func(port int) string { return "http://" + ports.Address(port) }
	nodes := s.addresses.Nodes
	if nodes == nil {
		nodes = []NodeAddress{}
	}
	s.addresses = Addresses{
		Temporal: ports.Address(s.row.Temporal()), UI: url(s.row.UI()), Codec: url(s.row.Codec()),
		CloudController: url(s.row.CloudController()), Router: s.routerURL(), NATS: ports.Address(s.row.NATS()), Nodes: nodes,
		Config: s.dir.Client(), Data: s.dir.Path(),
	}
	if err := saveClient(s.dir.Client(), s.addresses, s.dir.Key(), s.controllerURL, s.dir.ExecIdentity()); err != nil {
		return err
	}
	if err := s.addresses.save(s.dir.Addresses()); err != nil {
		return err
	}
	// Who finds the file may count on a devserver that runs, unless that one was killed.
	s.atEnd("", func(context.Context) error { return remove(s.dir.Addresses()) })
	return nil
}
