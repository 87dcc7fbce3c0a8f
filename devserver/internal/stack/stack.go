package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.temporal.io/sdk/client"

	"github.com/durable-dea/dea/devserver/internal/bus"
	"github.com/durable-dea/dea/devserver/internal/data"
	"github.com/durable-dea/dea/devserver/internal/node"
	"github.com/durable-dea/dea/devserver/internal/ports"
	"github.com/durable-dea/dea/devserver/internal/process"
	"github.com/durable-dea/dea/internal/codec"
)

const (
	namespace = "default"
	// startTimeout is for everything; a machine that is busy compiling needs some of it.
	startTimeout = 3 * time.Minute
)

// Stack is what runs.
type Stack struct {
	options Options
	dir     *data.Dir
	row     ports.Row
	keyring *codec.Keyring
	log     hclog.Logger
	spawner *process.Spawner
	// temporal is a client with the codec.
	temporal  client.Client
	nodes     []*node.Node
	addresses Addresses
	bus       *bus.Server
	// controllerURL is the cloud controller with its credentials.
	controllerURL string
	// started is when Start began: what is older belongs to an earlier life.
	started time.Time
	// died ends the start when a process dies before all is ready.
	died context.CancelCauseFunc

	mu    sync.Mutex
	ready bool
	// ends undo what was begun; the last comes first.
	ends []end
}

type end struct {
	name string
	do   func(context.Context) error
}

// Start starts everything and returns when all of it answers. When it fails, or ctx ends, nothing is left running.
func Start(ctx context.Context, options Options) (*Stack, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	options.Progress = &lockedWriter{out: options.Progress}
	s := &Stack{options: options, started: time.Now()}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errTooLong)
	defer cancel()
	ctx, s.died = context.WithCancelCause(ctx)
	defer s.died(nil)
	if err := s.start(ctx); err != nil {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if left := s.Stop(stopping); left != nil {
			err = errors.Join(err, &leftoverError{left})
		}
		return nil, err
	}
	s.mu.Lock()
	s.ready = true
	s.mu.Unlock()
	return s, nil
}

// leftoverError is what could not be ended after a start that failed.
type leftoverError struct{ cause error }

func (e *leftoverError) Error() string {
	return "afterwards, not all could be ended: " + e.cause.Error()
}
func (e *leftoverError) Unwrap() error { return e.cause }

// Leftover is the part of an error of Start that says what was left running or lying about; nil when nothing was.
func Leftover(err error) error {
	var left *leftoverError
	if errors.As(err, &left) {
		return left
	}
	return nil
}

var errTooLong = fmt.Errorf("not everything was ready within %s", startTimeout)

func (s *Stack) start(ctx context.Context) error {
	if err := s.open(); err != nil {
		return err
	}
	if err := s.options.checkPrograms(); err != nil {
		return err
	}
	if err := s.takePorts(); err != nil {
		return err
	}
	if err := s.startServices(ctx); err != nil {
		return err
	}
	if err := s.startNodes(ctx); err != nil {
		return err
	}
	return s.writeAddresses()
}

// open locks the data and makes or loads the key.
func (s *Stack) open() error {
	dir, err := data.Open(s.options.Data)
	if err != nil {
		return err
	}
	s.dir = dir
	s.atEnd("", func(context.Context) error { return dir.Close() })
	if err := s.loadKey(); err != nil {
		return err
	}
	if err := makeExecKey(s.dir.ExecIdentity(), s.dir.ExecAuthorizedKeys()); err != nil {
		return err
	}
	return s.openLog()
}

// loadKey loads the key, or makes it with the database. With a new key for an old database every workflow in it would
// be stuck, and nothing would say why.
func (s *Stack) loadKey() error {
	load := codec.CreateKeyFile
	if _, err := os.Stat(s.dir.Database()); err == nil {
		load = codec.LoadKeyring
	}
	var err error
	if s.keyring, err = load(s.dir.Key()); err != nil {
		return fmt.Errorf("the key of what is in %s: %w", s.dir.Path(), err)
	}
	return nil
}

// takePorts lays out the row of ports and looks at all of them before anything listens.
func (s *Stack) takePorts() error {
	last := s.dir.PortBase()
	take := s.takeNamedRow
	if s.options.PortBase == 0 {
		take = s.takeFreeRow
	}
	if err := take(last); err != nil {
		return err
	}
	if last != 0 && s.row.Temporal() != last {
		// Their workflows know the URLs of package and droplet, and whose port is in them.
		s.say("!!! this data was last used with --port-base %d: apps of that time look for their droplets there; "+
			"push them again, or use those ports", last)
	}
	return s.dir.KeepPortBase(s.row.Temporal())
}

func (s *Stack) takeFreeRow(last int) error {
	runtime, err := data.RuntimeDir()
	if err != nil {
		return err
	}
	free, err := ports.Find(runtime, last, s.options.Nodes, s.options.InstancePorts)
	if err != nil {
		return err
	}
	s.row = free.Row
	s.atEnd("", func(context.Context) error { return free.Close() })
	return nil
}

func (s *Stack) takeNamedRow(int) error {
	row, err := ports.NewRow(s.options.PortBase, s.options.Nodes, s.options.InstancePorts)
	if err != nil {
		return err
	}
	s.row = row
	if err := row.Check(); err != nil {
		return fmt.Errorf("ports are in use; stop what uses them or choose others with --port-base:\n%w", err)
	}
	return nil
}

// Addresses are where everything answers.
func (s *Stack) Addresses() Addresses { return s.addresses }

// Stop ends everything that was begun, in reverse order, containers included. What does not end by itself when ctx does
// is killed.
func (s *Stack) Stop(ctx context.Context) error {
	s.mu.Lock()
	ends := s.ends
	s.ends = nil
	s.mu.Unlock()
	var failed []error
	for i := len(ends) - 1; i >= 0; i-- {
		begun := time.Now()
		if err := ends[i].do(ctx); err != nil {
			failed = append(failed, err)
		} else if ends[i].name != "" {
			s.say("%s: ended (%s)", ends[i].name, since(begun))
		}
	}
	return errors.Join(failed...)
}

// atEnd adds what Stop does. A name is told when it was done.
func (s *Stack) atEnd(name string, do func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = append(s.ends, end{name, do})
}

// step does one thing of the start and tells how long it took.
func (s *Stack) step(name string, do func() error) error {
	begun := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.say("%s: ready (%s)", name, since(begun))
	return nil
}

func (s *Stack) say(format string, args ...any) {
	fmt.Fprintf(s.options.Progress, format+"\n", args...)
}

func since(begun time.Time) string { return time.Since(begun).Round(time.Millisecond).String() }

// lockedWriter keeps lines of several goroutines apart.
type lockedWriter struct {
	mu  sync.Mutex
	out io.Writer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}
