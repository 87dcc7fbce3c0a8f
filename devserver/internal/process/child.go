package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// settle is how long a death waits for Stop before it counts as unasked: Ctrl-C reaches all at the same time.
	settle     = 250 * time.Millisecond
	firstPause = time.Second
	longPause  = 15 * time.Second
	// healthy is how long a process must have lived for its next pause to be the first again.
	healthy = 30 * time.Second
)

// Spec says what to run.
type Spec struct {
	// Name is for people.
	Name string
	Path string
	Args []string
	// Env is the environment; nil means this process's.
	Env []string
	// Log takes standard output and error; it is appended to.
	Log string
	// Restart starts the process again when it ended unasked.
	Restart bool
	// OnExit is told of each unasked end, before the restart. It must return soon.
	OnExit func(Exit)
}

// Exit is an unasked end.
type Exit struct {
	Name string
	// How is the exit status or the signal, in words.
	How string
	// Lines are the last that the process wrote.
	Lines []string
	// Restart is when the process starts again, 0 for never.
	Restart time.Duration
}

// String says what happened in one line, followed by the process's last lines.
func (e Exit) String() string {
	first := fmt.Sprintf("%s ended unasked: %s", e.Name, e.How)
	return strings.Join(append([]string{first}, e.Lines...), "\n  | ")
}

// Child is a process that is kept running.
type Child struct {
	spec    Spec
	spawner *Spawner
	// stop is closed by Stop, ended when nothing runs any more.
	stop, ended chan struct{}
	once        sync.Once

	mu      sync.Mutex
	process *os.Process
}

// Start starts a process. It fails when the first start does; later ones are tried again.
func (s *Spawner) Start(spec Spec) (*Child, error) {
	child := &Child{spec: spec, spawner: s, stop: make(chan struct{}), ended: make(chan struct{})}
	running, err := child.launch()
	if err != nil {
		return nil, err
	}
	go child.keep(running)
	return child, nil
}

// PID is the process's id, 0 while none runs.
func (c *Child) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return 0
	}
	return c.process.Pid
}

// Stop asks the process to end and waits until it has; when ctx ends first it is killed. It may be called several
// times.
func (c *Child) Stop(ctx context.Context) {
	c.once.Do(func() { close(c.stop) })
	c.signal(syscall.SIGTERM)
	select {
	case <-c.ended:
	case <-ctx.Done():
		c.signal(syscall.SIGKILL)
		<-c.ended
	}
}

func (c *Child) signal(signal os.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process != nil {
		_ = c.process.Signal(signal) // it fails when the process has just ended
	}
}

// running is one life of the process.
type running struct {
	cmd *exec.Cmd
	log *os.File
	// from is where this life's output begins in the log.
	from  int64
	since time.Time
}

func (c *Child) launch() (*running, error) {
	log, err := os.OpenFile(c.spec.Log, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", c.spec.Name, err)
	}
	info, err := log.Stat()
	if err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("look at the log of %s: %w", c.spec.Name, err)
	}
	// A file, not a pipe: what the process leaves behind may write for longer than either lives.
	cmd := exec.Command(c.spec.Path, c.spec.Args...) //nolint:noctx // ended by Stop, gently first
	cmd.Env = c.spec.Env
	cmd.Stdout, cmd.Stderr = log, log

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped() {
		_ = log.Close()
		return nil, context.Canceled
	}
	if err := c.spawner.start(cmd); err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("start %s: %w", c.spec.Name, err)
	}
	c.process = cmd.Process
	return &running{cmd, log, info.Size(), time.Now()}, nil
}

func (c *Child) stopped() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// keep waits for each end and starts the next life, until Stop.
func (c *Child) keep(life *running) {
	defer close(c.ended)
	pause := firstPause
	for {
		how := c.wait(life)
		if !c.sleep(settle) {
			_ = life.log.Close()
			return
		}
		if time.Since(life.since) > healthy {
			pause = firstPause
		}
		c.tell(life, how, pause)
		if !c.spec.Restart {
			<-c.stop
			return
		}
		next, err := c.relaunch(&pause)
		if err != nil {
			return
		}
		life = next
	}
}

// wait returns when the process has ended, with the words for how.
func (c *Child) wait(life *running) string {
	_ = life.cmd.Wait() // ProcessState says more
	c.mu.Lock()
	c.process = nil
	c.mu.Unlock()
	return life.cmd.ProcessState.String()
}

// relaunch pauses and starts, as often as it takes; it fails only when stopped.
func (c *Child) relaunch(pause *time.Duration) (*running, error) {
	for {
		if !c.sleep(*pause - settle) {
			return nil, context.Canceled
		}
		*pause = min(2*(*pause), longPause)
		next, err := c.launch()
		if err == nil || c.stopped() {
			return next, err
		}
		if c.spec.OnExit != nil {
			c.spec.OnExit(Exit{Name: c.spec.Name, How: err.Error(), Restart: *pause})
		}
	}
}

func (c *Child) tell(life *running, how string, pause time.Duration) {
	lines := lastLines(life.log, life.from)
	_ = life.log.Close()
	if c.spec.OnExit == nil {
		return
	}
	exit := Exit{Name: c.spec.Name, How: how, Lines: lines}
	if c.spec.Restart {
		exit.Restart = pause
	}
	c.spec.OnExit(exit)
}

// sleep pauses; false when Stop came.
func (c *Child) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.stop:
		return false
	case <-timer.C:
		return true
	}
}
