package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"github.com/durable-dea/dea/config"
	"github.com/durable-dea/dea/controller"
	"github.com/durable-dea/dea/internal/codec"
	"github.com/durable-dea/dea/internal/connection"
)

const (
	// readyTimeout is longer than a devserver's own, whose error says more.
	readyTimeout = 200 * time.Second
	// stopTimeout is how long it may take to end, containers included.
	stopTimeout = 60 * time.Second
	// leftoverTimeout is how long what was told to end may still be seen.
	leftoverTimeout = 10 * time.Second
)

// Options say what to start.
type Options struct {
	// Nodes is the number of nodes; 0 means 1, -1 none.
	Nodes int
	// Data is the data directory, kept by Stop; empty means a temporary one, which Stop removes.
	Data string
	// Flags are further ones of the devserver.
	Flags []string
	// Output takes what the devserver says beside its addresses; nil means nowhere.
	Output io.Writer
}

// Addresses is what a devserver prints when it is ready.
type Addresses struct {
	Temporal        string `json:"temporal"`
	UI              string `json:"ui"`
	Codec           string `json:"codec"`
	CloudController string `json:"cloud_controller"`
	// Router is the URL of the router, NATS host:port by which it hears of instances.
	Router string `json:"router"`
	NATS   string `json:"nats"`
	Nodes  []Node `json:"nodes"`
	// Config is the file that starter is given with --config.
	Config string `json:"config"`
	Data   string `json:"data"`
}

// Node is one node of a devserver.
type Node struct {
	ID           string `json:"id"`
	WardenSocket string `json:"warden_socket"`
	FilesURL     string `json:"files_url"`
}

// Stack is a running devserver and the clients that speak to it.
type Stack struct {
	Addresses
	// Control and Temporal are clients with the stack's key.
	Control  *controller.Client
	Temporal client.Client
	// Client is the configuration that a starter of this stack has.
	Client *config.Client

	// command runs the devserver; ended is closed when it has ended, with exit set before.
	command             *exec.Cmd
	ended               chan struct{}
	exit                error
	output              *tail
	owned               bool
	firstPort, lastPort int
	// sockets are those that listened in the row of ports when the stack was told to end.
	sockets []socket
	// flags are the devserver's further ones, portBase its --port-base.
	flags    []string
	portBase int
	// own are the nodes of the test's own; ports is the lock of the row of ports when it is not the devserver's.
	own   []*Own
	ports *os.File
}

// Start starts a devserver on free ports and waits until it is ready. When that fails nothing of it is left.
func Start(ctx context.Context, options Options) (*Stack, error) {
	devserver, err := Bin("devserver")
	if err != nil {
		return nil, err
	}
	s := &Stack{ended: make(chan struct{}), output: &tail{copy: options.Output}, flags: options.Flags}
	s.Data = options.Data
	if s.Data == "" {
		if s.Data, err = os.MkdirTemp("", "dea"); err != nil {
			return nil, fmt.Errorf("make the data directory: %w", err)
		}
		s.owned = true
	}
	nodes := max(options.Nodes, 0)
	if options.Nodes == 0 {
		nodes = 1
	}
	if err := s.start(ctx, devserver, nodes); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Stack) start(ctx context.Context, devserver string, nodes int) error {
	s.command = exec.Command(devserver, append([]string{
		"--data", s.Data, "--nodes", strconv.Itoa(nodes), "--port-base", strconv.Itoa(s.portBase), "--output", "json",
	}, s.flags...)...)
	// A group of its own: an interrupt at the terminal is for the test, which then stops the stack. A test that cannot,
	// killed or at its time's end, takes the stack with it all the same.
	s.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	ready := &firstLine{arrived: make(chan []byte, 1)}
	s.command.Stdout, s.command.Stderr = ready, s.output
	if err := s.command.Start(); err != nil {
		return fmt.Errorf("start the devserver: %w", err)
	}
	go func() {
		s.exit = s.command.Wait()
		close(s.ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	select {
	case line := <-ready.arrived:
		if err := json.Unmarshal(line, &s.Addresses); err != nil {
			return fmt.Errorf("read the devserver's addresses %q: %w", line, err)
		}
		return s.connect(ctx)
	case <-s.ended:
		return fmt.Errorf("the devserver ended before it was ready: %w\n%s", s.exit, s.output)
	case <-ctx.Done():
		return fmt.Errorf("the devserver is not ready: %w\n%s", ctx.Err(), s.output)
	}
}

// connect makes the clients, with the configuration that the devserver wrote for starters.
func (s *Stack) connect(ctx context.Context) error {
	if err := s.findPorts(); err != nil {
		return err
	}
	cfg, err := config.LoadClient(config.LoadOptions{File: s.Config, Env: func(string) string { return "" }})
	if err != nil {
		return fmt.Errorf("read the client's configuration: %w", err)
	}
	s.Client = cfg
	ring, err := codec.LoadKeyring(cfg.Temporal.EncryptionKeyFile)
	if err != nil {
		return fmt.Errorf("load the keys: %w", err)
	}
	if s.Temporal, err = connection.Dial(ctx, cfg.Temporal, hclog.NewNullLogger()); err != nil {
		return err
	}
	s.Control = controller.New(s.Temporal, ring, controller.WithNamespace(cfg.Temporal.Namespace))
	return nil
}

// findPorts notes the row of ports that Stop looks at: from Temporal's own to the end of the last node's pool.
func (s *Stack) findPorts() error {
	const perNode, shared = 210, 20
	u, err := url.Parse("tcp://" + s.Addresses.Temporal)
	if err != nil {
		return fmt.Errorf("read Temporal's address: %w", err)
	}
	if s.firstPort, err = strconv.Atoi(u.Port()); err != nil {
		return fmt.Errorf("read Temporal's address: %w", err)
	}
	s.lastPort = max(s.lastPort, s.firstPort+shared+perNode*len(s.Nodes)-1)
	return nil
}

// Stop interrupts the devserver, waits for its end, and fails when it did not end with status 0 or something of it is
// left. It may be called again.
func (s *Stack) Stop() error {
	if s.Temporal != nil {
		s.Temporal.Close()
	}
	var failed error
	if s.command != nil && s.command.Process != nil {
		var err error
		s.sockets, err = listening(s.firstPort, s.lastPort)
		failed = errors.Join(err, s.stopOwn(), s.interrupt(), s.Leftovers())
	}
	if s.ports != nil {
		s.ports.Close()
	}
	if s.owned {
		failed = errors.Join(failed, os.RemoveAll(s.Data))
	}
	return failed
}

// stopOwn ends the nodes of the test's own, all at once.
func (s *Stack) stopOwn() error {
	var group errgroup.Group
	for _, o := range s.own {
		group.Go(o.Stop)
	}
	return group.Wait()
}

func (s *Stack) interrupt() error {
	_ = s.command.Process.Signal(os.Interrupt) // it fails when the devserver has ended
	select {
	case <-s.ended:
	case <-time.After(stopTimeout):
		_ = s.command.Process.Kill()
		<-s.ended
		return fmt.Errorf("the devserver did not end within %s\n%s", stopTimeout, s.output)
	}
	if s.exit != nil {
		return fmt.Errorf("the devserver ended badly: %w\n%s", s.exit, s.output)
	}
	return nil
}

// Kill ends the devserver at once, as a power cut would. What it started and does not end with it is left.
func (s *Stack) Kill() error {
	if s.Temporal != nil {
		s.Temporal.Close()
	}
	err := s.command.Process.Kill()
	<-s.ended
	return err
}

// Leftovers fails when, after a short while, a process, a listening port or a container of the stack is still there,
// and says which.
func (s *Stack) Leftovers() error {
	deadline := time.Now().Add(leftoverTimeout)
	for {
		err := s.leftovers()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *Stack) leftovers() error {
	var left []error
	processes, err := processesOf(s.Data)
	left = append(left, err)
	for _, p := range processes {
		left = append(left, fmt.Errorf("process left: %s", p))
	}
	still, err := listening(s.firstPort, s.lastPort)
	left = append(left, err)
	for _, one := range still {
		if slices.Contains(s.sockets, one) {
			left = append(left, fmt.Errorf("port left listening: %d", one.port))
		}
	}
	containers, err := s.Containers()
	left = append(left, err)
	for _, container := range containers {
		left = append(left, fmt.Errorf("container left: %s", container))
	}
	return errors.Join(left...)
}

// Containers are the directories of containers in the depots of all nodes.
func (s *Stack) Containers() ([]string, error) { return s.inNodes("depot", "containers", "*") }

// inNodes are the files of all nodes, the devserver's and the test's own, that match a pattern.
func (s *Stack) inNodes(pattern ...string) ([]string, error) {
	var all []string
	for _, nodes := range []string{"nodes", "own"} {
		found, err := filepath.Glob(filepath.Join(append([]string{s.Data, nodes, "*"}, pattern...)...))
		if err != nil {
			return nil, fmt.Errorf("look into the nodes: %w", err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// Processes are all processes of the stack but the devserver itself.
func (s *Stack) Processes() ([]Process, error) {
	all, err := processesOf(s.Data)
	if err != nil {
		return nil, err
	}
	var others []Process
	for _, p := range all {
		if p.PID != s.command.Process.Pid {
			others = append(others, p)
		}
	}
	return others, nil
}

// Worker is the worker's process of the node with this number, from 1.
func (s *Stack) Worker(number int) (Process, error) {
	return s.program("worker", filepath.Join(s.Data, "nodes", strconv.Itoa(number))+"/")
}

// Wardend is the wardend's process of the node with this number, from 1.
func (s *Stack) Wardend(number int) (Process, error) {
	return s.program("wardend", filepath.Join(s.Data, "nodes", strconv.Itoa(number))+"/")
}

// ErrNotRunning is in the error when a program that is asked for does not run at the moment.
var ErrNotRunning = errors.New("not running")

func (s *Stack) program(name, mention string) (Process, error) {
	all, err := s.Processes()
	if err != nil {
		return Process{}, err
	}
	for _, p := range all {
		isInit := len(p.Args) > 1 && p.Args[1] == "init" // the small process in a container is wardend's program, too
		if filepath.Base(p.Exe) == name && !isInit && mentions(p.Args, mention) {
			return p, nil
		}
	}
	return Process{}, fmt.Errorf("%s of %s: %w", name, mention, ErrNotRunning)
}

func mentions(args []string, part string) bool {
	return bytes.Contains([]byte(joinArgs(args)), []byte(part))
}

func joinArgs(args []string) string {
	var joined bytes.Buffer
	for _, arg := range args {
		joined.WriteString(arg)
		joined.WriteByte('/')
	}
	return joined.String()
}

// Warnings are the lines of all logs that say that something is not well, for the messages of failed tests.
func (s *Stack) Warnings() string {
	logs, err := filepath.Glob(filepath.Join(s.Data, "logs", "*.log"))
	if err != nil {
		return err.Error()
	}
	for _, o := range s.own {
		logs = append(logs, o.log("worker"), o.log("wardend"))
	}
	var found strings.Builder
	for _, log := range logs {
		content, err := os.ReadFile(log)
		if err != nil {
			fmt.Fprintln(&found, err)
		}
		for line := range strings.Lines(string(content)) {
			if strings.Contains(line, "[WARN]") || strings.Contains(line, "[ERROR]") || strings.Contains(line, "panic") {
				fmt.Fprintf(&found, "%s: %s", strings.TrimPrefix(log, s.Data), line)
			}
		}
	}
	return found.String()
}
