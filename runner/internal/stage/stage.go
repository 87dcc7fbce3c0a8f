package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/internal/runspec"
)

// Stager stages the app in one container.
type Stager struct {
	// Root is the container's root directory; empty in a container that has its own.
	Root string
	// Stderr receives what cannot be written into the container's output directory.
	Stderr io.Writer
}

// ErrStopped is the cause of a context that ends because the staging was stopped from outside.
var ErrStopped = errors.New("the staging was stopped")

// errTimeExpired is the cause of the context's end when the spec's timeout passes.
var errTimeExpired = errors.New("the staging's time expired")

// Run stages and gives the exit status. When ctx ends, what runs is killed and the result says that staging was
// stopped. A second run in the same container does nothing.
func (s Stager) Run(ctx context.Context) int {
	claim, err := s.claim()
	if err != nil {
		fmt.Fprintln(s.Stderr, "dea-runner stage:", err)
		if errors.Is(err, errStarted) {
			return runspec.ExitAlreadyStarted
		}
		return runspec.ExitInternal
	}
	defer claim.Close()
	spec, err := runspec.ReadSpec(s.in(runspec.FileSpec))
	if err != nil {
		return s.conclude(runspec.Result{Error: asFault(platformFault("the staging's order cannot be read", err))})
	}
	log, err := openLog(s.out(runspec.FileLog), spec.LogBytes())
	if err != nil {
		return s.conclude(runspec.Result{Error: asFault(platformFault("the staging's log cannot be written", err))})
	}
	defer log.Close()
	b := &build{stager: s, log: log, spec: spec}
	if err := b.run(ctx); err != nil {
		b.fail(err)
	}
	return s.conclude(b.result)
}

// errStarted: somebody stages in this container, or has.
var errStarted = errors.New("this container has staged already, or does")

// claim makes sure that this container stages only once. Two runs that begin at the same moment are told apart by the
// lock, later ones by what the first has written; the claim lasts as long as the file is open.
func (s Stager) claim() (*os.File, error) {
	file, err := os.OpenFile(s.out(runspec.FileStarted), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("take the staging: %w", err)
	}
	if err := claimed(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func claimed(file *os.File) error {
	err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errStarted
	}
	if err != nil {
		return fmt.Errorf("take the staging: %w", err)
	}
	info, err := file.Stat()
	if err == nil && info.Size() > 0 {
		return errStarted
	}
	if err == nil {
		_, err = file.WriteString("started\n")
	}
	if err != nil {
		return fmt.Errorf("take the staging: %w", err)
	}
	return nil
}

func (s Stager) conclude(result runspec.Result) int {
	err := result.Write(s.out(runspec.FileResult))
	if err != nil {
		fmt.Fprintln(s.Stderr, "dea-runner stage:", err)
	}
	switch {
	case result.Error != nil: // known by its status, also when the result could not be written
		return result.Error.Type.ExitStatus()
	case err != nil:
		return runspec.ExitInternal
	default:
		return runspec.ExitOK
	}
}

func (s Stager) path(contract string) string { return runspec.Beneath(s.Root, contract) }

func (s Stager) in(file string) string { return filepath.Join(s.path(runspec.PathIn), file) }

func (s Stager) out(file string) string { return filepath.Join(s.path(runspec.PathOut), file) }

// build is one staging under way.
type build struct {
	stager Stager
	log    *log
	spec   runspec.Spec
	// suppliers are the buildpacks that work before the one that builds, and used is that one, once they are known.
	suppliers []buildpack
	used      buildpack
	result    runspec.Result
}

func (b *build) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, b.spec.Timeout(), errTimeExpired)
	defer cancel()
	steps := []struct {
		name string
		run  func(context.Context) error
		// needed is asked when the step's turn has come; nil for one that always is.
		needed func() bool
	}{
		{runspec.PhaseClone, b.clone, b.fromGit},
		{runspec.PhaseUnpack, b.unpack, nil},
		{runspec.PhaseDetect, b.detect, nil},
		{runspec.PhaseSupply, b.supply, b.supplies},
		{runspec.PhaseCompile, b.compile, nil},
		{runspec.PhaseRelease, b.release, nil},
		{runspec.PhasePack, b.pack, nil},
		{runspec.PhaseCache, b.keepCache, nil},
	}
	for _, step := range steps {
		if step.needed != nil && !step.needed() {
			continue
		}
		if err := b.timed(ctx, step.name, step.run); err != nil {
			return err
		}
	}
	return nil
}

// timed runs a phase and notes how long it took. Whatever a phase says when its context has ended, the context's
// end is the reason.
func (b *build) timed(ctx context.Context, name string, run func(context.Context) error) error {
	begun := time.Now()
	err := run(ctx)
	b.result.Phases = append(b.result.Phases, runspec.Phase{
		Name: name, Milliseconds: time.Since(begun).Milliseconds(),
	})
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return b.blameDisk(name, err)
}

// fail turns the result into that of a failure. What a part of the staging found out stays in it.
func (b *build) fail(err error) {
	b.result.Error = asFault(err)
	b.result.DropletSHA1, b.result.DropletSize, b.result.CacheSize = "", 0, 0
	b.log.line("Staging failed: %s", b.result.Error.Message)
	info := runspec.StagingInfo{StagingError: &runspec.StagingFault{
		Type: b.result.Error.Type, Message: b.result.Error.Message,
	}}
	// The result says it already; the file is for whoever looks into the container.
	_ = b.writeInfo(info)
}
