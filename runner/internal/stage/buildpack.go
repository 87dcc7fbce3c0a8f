package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/runner/internal/phase"
)

// buildpack is one that lies unpacked in the container.
type buildpack struct {
	key string
	// operators is set for one of the operator's, which the key names on the wire.
	operators bool
	// contract is its contract path, dir the machine's.
	contract, dir string
	// index names its directory among what buildpacks supply; cache is its cache directory, a contract path.
	index, cache string
}

func (b *build) candidate(n int) buildpack {
	s := b.spec.Buildpacks[n]
	return buildpack{
		key: s.Key, operators: s.Git == nil, contract: s.Dir, dir: b.stager.path(s.Dir),
		index: b.index(n), cache: b.cacheOf(n),
	}
}

// several tells whether more than one buildpack works on the app.
func (b *build) several() bool { return b.spec.SkipDetect && len(b.spec.Buildpacks) > 1 }

// index is a buildpack's position in as many digits as the number of those that work on the app has, so that their
// order is that of the names.
func (b *build) index(n int) string {
	if !b.several() {
		return "0"
	}
	count := len(b.spec.Buildpacks)
	return fmt.Sprintf("%0*d", len(fmt.Sprint(count)), n)
}

// has tells whether there is such a program, be it one that cannot be run.
func (p buildpack) has(program string) bool {
	info, err := os.Stat(filepath.Join(p.dir, "bin", program))
	return err == nil && !info.IsDir()
}

// program runs one of a buildpack's programs in the app's directory, with the app's directory and what follows as
// its arguments.
func (b *build) program(ctx context.Context, p buildpack, name string, stdout, stderr io.Writer, args ...string) (int, error) {
	app := b.stager.path(runspec.PathStagedApp)
	return phase.Command{
		Path:   filepath.Join(p.dir, "bin", name),
		Args:   append([]string{app}, args...),
		Dir:    app,
		Stdout: stdout,
		Stderr: stderr,
	}.Run(ctx)
}

// must runs a program that the droplet cannot do without, and gives a fault that says what became of it.
func (b *build) must(ctx context.Context, p buildpack, name string, args ...string) error {
	status, err := b.program(ctx, p, name, b.log, b.log, args...)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var what string
	switch {
	case err != nil:
		what = fmt.Sprintf("bin/%s %s", name, whyNotStarted(err))
	case status != 0:
		what = fmt.Sprintf("bin/%s ended with exit status %d", name, status)
	default:
		return nil
	}
	b.log.step("Buildpack %s: %s", p.key, what)
	words := runspec.WordsCompile
	if name != programCompile {
		// Those who know the classic sentence know no program but bin/compile.
		words += fmt.Sprintf(": buildpack %s: %s", p.key, what)
	}
	return newFault(runspec.ErrCompile, words, err)
}

// whyNotStarted says in the user's words why a program could not be run; the error itself has the machine's paths.
func whyNotStarted(err error) string {
	switch {
	case errors.Is(err, syscall.ENOENT):
		return "is not there, or its interpreter is not"
	case errors.Is(err, syscall.EACCES):
		return "is not executable"
	case errors.Is(err, syscall.ENOEXEC):
		return "is not a program and does not begin with #!"
	case errors.Is(err, phase.ErrNotStarted):
		return "could not be started"
	default:
		return "could not be run"
	}
}

// Programs of buildpacks.
const (
	programDetect   = "detect"
	programSupply   = "supply"
	programFinalize = "finalize"
	programCompile  = "compile"
	programRelease  = "release"
)
