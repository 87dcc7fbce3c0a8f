package ociruntime

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/durable-dea/dea/wardend/internal/idmap"
)

// Options say where to look for a runtime, and how to try it.
type Options struct {
	// Path is a runtime's program, as a path or a name to be found on the PATH. Empty: crun, then runc.
	Path string
	// StateDir is an absolute path, and this wardend's alone; it is made. Every directory above it lets every user
	// pass (mode o+x): the root file system of the container that is tried lies in it.
	StateDir string
	// InitBinary is the program that this container runs, with the arguments "init --probe", upon which it exits
	// with 0 at once. It is linked statically. Empty: this program.
	InitBinary string
	// IDs are this container's on the machine; the zero Range is one far from users' ids.
	IDs idmap.Range
	// Log hears what was tried; nil says nothing.
	Log hclog.Logger
}

// Attempt is a runtime that did not work.
type Attempt struct {
	// Runtime is the program's name and version, or only its name. Hidden: with the cgroup v2 mount hidden.
	Runtime string
	Hidden  bool
	Err     error
}

// UnusableError is that no runtime works.
type UnusableError struct {
	// Tried are the runtimes in the order in which they were tried; none, if Reason is why it was not worth it.
	Tried  []Attempt
	Reason error
}

// Error says what was tried, what came of it, and what to do.
func (e *UnusableError) Error() string {
	if e.Reason != nil {
		return fmt.Sprintf("no OCI runtime can be used: %v", e.Reason)
	}
	var b strings.Builder
	b.WriteString("no OCI runtime works here; install crun or runc. Tried: ")
	for i, a := range e.Tried {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(a.Runtime)
		if a.Hidden {
			b.WriteString(" with the cgroup v2 mount hidden")
		}
		b.WriteString(": " + strings.TrimPrefix(a.Err.Error(), a.Runtime+" "))
	}
	return b.String()
}

// Unwrap gives all causes.
func (e *UnusableError) Unwrap() []error {
	errs := make([]error, 0, len(e.Tried)+1)
	for _, a := range e.Tried {
		errs = append(errs, a.Err)
	}
	if e.Reason != nil {
		errs = append(errs, e.Reason)
	}
	return errs
}

var (
	errNotRoot = errors.New("wardend does not run as root, which a container with ids of its own takes; run it as root")
	errDynamic = errors.New("it is not linked statically, so that it cannot be a container's first process; build it with CGO_ENABLED=0")
)

// tryTimeout bounds each try of a runtime, and again the removal of what the try has left.
const tryTimeout = 10 * time.Second

// farIDs is above what adduser, subuid and systemd give out by default.
var farIDs = idmap.Range{Host: 2_000_000_000, Size: 65536}

// Find finds a runtime that works here, by running a container like ours with it. What each try made is gone
// afterwards, and so is what one has left that was killed in the midst. The error is an [*UnusableError], or ctx's, or
// says why Options are of no use.
func Find(ctx context.Context, opts Options) (*Runtime, error) {
	if opts.Log == nil {
		opts.Log = hclog.NewNullLogger()
	}
	f := &finder{opts: opts, timeout: tryTimeout}
	return f.find(ctx)
}

type finder struct {
	opts    Options
	timeout time.Duration
	tried   []Attempt
}

func (f *finder) find(ctx context.Context) (*Runtime, error) {
	if os.Geteuid() != 0 {
		return nil, &UnusableError{Reason: errNotRoot}
	}
	if err := f.setup(); err != nil {
		return nil, fmt.Errorf("look for an OCI runtime: %w", err)
	}
	if err := checkPass(f.opts.StateDir); err != nil {
		return nil, &UnusableError{Reason: err}
	}
	hide, err := leftovers()
	if err != nil {
		return nil, fmt.Errorf("look for an OCI runtime: %w", err)
	}
	names := []string{"crun", "runc"}
	if f.opts.Path != "" {
		names = []string{f.opts.Path}
	}
	for _, name := range names {
		r, err := f.candidate(ctx, name, hide)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("look for an OCI runtime: %w", context.Cause(ctx))
		}
		if err == nil && r != nil {
			return r, nil
		}
	}
	return nil, &UnusableError{Tried: f.tried}
}

// setup checks the options, and makes the directories.
func (f *finder) setup() error {
	if f.opts.IDs == (idmap.Range{}) {
		f.opts.IDs = farIDs
	}
	if err := f.opts.IDs.Validate(); err != nil {
		return err
	}
	if f.opts.InitBinary == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		f.opts.InitBinary = self
	}
	if err := checkStatic(f.opts.InitBinary); err != nil {
		return fmt.Errorf("%s: %w", f.opts.InitBinary, err)
	}
	if !filepath.IsAbs(f.opts.StateDir) {
		return fmt.Errorf("the directory for its state, %q, is no absolute path", f.opts.StateDir)
	}
	for _, name := range []string{runtimeName, recordsName} {
		if err := os.MkdirAll(filepath.Join(f.opts.StateDir, name), dirMode); err != nil {
			return err
		}
	}
	return os.Chmod(f.opts.StateDir, passMode)
}

// checkStatic tells what the kernel would say of a program without its loader: no such file.
func checkStatic(path string) error {
	program, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer program.Close()
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			return errDynamic
		}
	}
	return nil
}

// checkPass tells what a runtime would say in words that name no directory: the container's root is no one's owner and
// of no group here.
func checkPass(dir string) error {
	for ; dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode()&othersPass == 0 {
			return fmt.Errorf("%s does not let other users pass, so that no container can be run beneath it; chmod o+x it, or use another directory", dir)
		}
	}
	return nil
}

const othersPass = 0o001

// candidate tries one program, as it is and then with hide hidden. It notes what does not work.
func (f *finder) candidate(ctx context.Context, name string, hide []string) (*Runtime, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return nil, f.failed(Attempt{Runtime: name, Err: err})
	}
	version, err := f.version(ctx, path)
	if err != nil {
		return nil, f.failed(Attempt{Runtime: name, Err: err})
	}
	ways := [][]string{nil}
	if len(hide) > 0 {
		ways = append(ways, hide)
	}
	for _, way := range ways {
		r := &Runtime{path: path, version: version, hide: way, dir: f.opts.StateDir, log: f.opts.Log}
		err = f.try(ctx, r)
		if err == nil {
			return r, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		err = f.failed(Attempt{Runtime: version, Hidden: way != nil, Err: err})
		if errors.Is(err, errHangs) {
			break // not for want of hiding
		}
	}
	return nil, err
}

func (f *finder) failed(a Attempt) error {
	f.opts.Log.Debug("an OCI runtime does not work", "runtime", a.Runtime, "hidden", a.Hidden, "error", a.Err)
	f.tried = append(f.tried, a)
	return a.Err
}

// version is what a program calls itself: "crun 1.8.1" of the line "crun version 1.8.1".
func (f *finder) version(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, errHangs)
	defer cancel()
	r := &Runtime{path: path, version: filepath.Base(path)}
	out, err := r.command(ctx, call{args: []string{"--version"}, plain: true})
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(string(out), "\n")
	name := strings.TrimSpace(strings.ReplaceAll(first, " version ", " "))
	if name == "" {
		return r.version, nil
	}
	const most = 60
	return strings.ToValidUTF8(name[:min(len(name), most)], ""), nil
}
