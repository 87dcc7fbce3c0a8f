package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// ownGrace is how long a process of an own node may take to end once it is told to.
const ownGrace = 30 * time.Second

// child is a process of an own node.
type child struct {
	command *exec.Cmd
	ended   chan struct{}
}

// run starts a program with its words in a log of the node's, which grows over its lives.
func (o *Own) run(name string, args ...string) (*child, error) {
	program, err := Bin(name)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(o.log(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	defer log.Close()
	c := &child{command: exec.Command(program, args...), ended: make(chan struct{})}
	c.command.Env = cleanEnvironment()
	c.command.Stdout, c.command.Stderr = log, log
	// As for the devserver: an interrupt is the test's, and a test that is killed takes its node with it.
	c.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := c.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s of node %d: %w", name, o.Number, err)
	}
	go func() {
		_ = c.command.Wait() // whoever needs to know that it ended looks at ended
		close(c.ended)
	}()
	return c, nil
}

func (o *Own) log(name string) string { return filepath.Join(o.dir(), name+".log") }

// running fails when the process has ended.
func (c *child) running() error {
	if c == nil {
		return ErrNotRunning
	}
	select {
	case <-c.ended:
		return fmt.Errorf("%s: %w: %s", filepath.Base(c.command.Path), ErrNotRunning, c.command.ProcessState)
	default:
		return nil
	}
}

// kill ends a process as -9 does, and waits for its end. One that has ended is no error.
func (c *child) kill() error {
	if c == nil {
		return nil
	}
	err := c.command.Process.Kill()
	<-c.ended
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// terminate tells a process to end. It fails when it does not.
func (c *child) terminate() error {
	if c == nil {
		return nil
	}
	_ = c.command.Process.Signal(syscall.SIGTERM) // it fails when the process has ended
	select {
	case <-c.ended:
		return nil
	case <-time.After(ownGrace):
		return errors.Join(fmt.Errorf("%s did not end within %s", filepath.Base(c.command.Path), ownGrace), c.kill())
	}
}

// StartWardend starts the node's wardend, and waits until it listens.
func (o *Own) StartWardend(ctx context.Context) error {
	if o.wardend.running() == nil {
		return errors.New("wardend runs already")
	}
	ports := cmp.Or(o.options.Ports, ownPool)
	flags := []string{
		"--socket", o.socket(), "--depot", o.depot(),
		"--port-pool", fmt.Sprintf("%d:%d", o.stack.firstPort+ownPools+(o.Number-1)*ownPool, ports),
		"--pool-network", fmt.Sprintf("10.254.%d.0/22", 4*(o.Number-1)),
	}
	if o.options.Rootfs != "" {
		flags = append(flags, "--backend", "oci", "--rootfs", o.options.Rootfs)
	} else {
		flags = append(flags, "--backend", "process")
	}
	var err error
	if o.wardend, err = o.run("wardend", flags...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, ownGrace)
	defer cancel()
	err = until(ctx, func() error {
		if err := o.wardend.running(); err != nil {
			cancel() // It does not come any more.
			return err
		}
		connection, err := (&net.Dialer{}).DialContext(ctx, "unix", o.socket())
		if err == nil {
			connection.Close()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("wardend does not listen: %w\n%s", err, o.Tail())
	}
	return nil
}

// StartWorker starts the node's worker. It does not wait until it takes work.
func (o *Own) StartWorker(ctx context.Context) error {
	if o.worker.running() == nil {
		return errors.New("the worker runs already")
	}
	// Temporal's clock is this machine's; a moment too early would let the worker before pass for this one.
	o.since = time.Now()
	var err error
	if o.worker, err = o.run("worker", append([]string{"--config", o.config()}, o.options.WorkerFlags...)...); err != nil {
		return err
	}
	return o.readID(ctx)
}

// SignalWorker sends the worker a signal.
func (o *Own) SignalWorker(s syscall.Signal) error { return o.worker.command.Process.Signal(s) }

// WorkerEnded is closed when the worker that was started last has ended.
func (o *Own) WorkerEnded() <-chan struct{} { return o.worker.ended }

// KillWorker ends the worker as -9 does.
func (o *Own) KillWorker() error { return o.worker.kill() }

// KillWardend ends wardend as -9 does. Its containers go on.
func (o *Own) KillWardend() error { return o.wardend.kill() }

// Stop ends the worker, wardend, and every container. It may be called again.
func (o *Own) Stop() error {
	failed := errors.Join(o.worker.terminate(), o.wardend.terminate())
	program, err := Bin("wardend")
	if err != nil {
		return errors.Join(failed, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	output, err := exec.CommandContext(ctx, program, "destroy-all", "--depot", o.depot()).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("destroy the containers of node %d: %w: %s", o.Number, err, output)
	}
	return errors.Join(failed, err)
}

// WorkerLog is what the node's workers have said, all of them.
func (o *Own) WorkerLog() (string, error) {
	content, err := os.ReadFile(o.log("worker"))
	return string(content), err
}

// Tail is the end of what the node's processes said, for the messages of failed tests.
func (o *Own) Tail() string {
	const most = 6 << 10
	said := ""
	for _, name := range []string{"worker", "wardend"} {
		content, err := os.ReadFile(o.log(name))
		if err != nil {
			content = []byte(err.Error())
		}
		said += "--- " + name + " of node " + strconv.Itoa(o.Number) + "\n" + string(content[max(0, len(content)-most):])
	}
	return said
}

// until waits until check gives no error, and fails with the last one when ctx ends before.
func until(ctx context.Context, check func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}
