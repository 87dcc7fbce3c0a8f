package stage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/runner/internal/phase"
)

// buildpack is one that lies unpacked in the container.
type buildpack struct {
	key string
	// contract is its contract path, dir the machine's.
	contract, dir string
}

func (b *build) candidates() []buildpack {
	packs := make([]buildpack, 0, len(b.spec.Buildpacks))
	for _, s := range b.spec.Buildpacks {
		packs = append(packs, buildpack{key: s.Key, contract: s.Dir, dir: b.stager.path(s.Dir)})
	}
	return packs
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

// Bounds of what is kept of a program's answer.
const (
	maxDetect  = 64 << 10
	maxRelease = 1 << 20
	maxName    = 200
)

// detect finds the buildpack that builds the app.
func (b *build) detect(ctx context.Context) error {
	for _, p := range b.candidates() {
		name, fits, err := b.ask(ctx, p)
		if err != nil {
			return err
		}
		if !fits && !b.spec.SkipDetect {
			continue
		}
		if name == "" {
			name = p.key
		}
		b.used = p
		b.result.BuildpackKey, b.result.DetectedBuildpack = p.key, name
		return nil
	}
	return newFault(runspec.ErrNoAppDetected, runspec.WordsNoAppDetected, nil)
}

// ask runs one buildpack's bin/detect. What it says is heard only when it fits, or when it broke: a buildpack that
// is not for this app has nothing to tell its user.
func (b *build) ask(ctx context.Context, p buildpack) (name string, fits bool, err error) {
	stdout, stderr := phase.NewCapture(maxDetect), phase.NewCapture(maxDetect)
	status, err := b.program(ctx, p, "detect", stdout, stderr)
	if cause := context.Cause(ctx); cause != nil {
		return "", false, cause
	}
	const no = 1
	switch {
	case err != nil:
		b.log.step("Buildpack %s: bin/detect %s", p.key, whyNotStarted(err))
		return "", false, nil
	case status == 0 || b.spec.SkipDetect:
		_, _ = b.log.Write(stderr.Bytes())
	case status != no:
		b.log.step("Buildpack %s: bin/detect ended with exit status %d", p.key, status)
		_, _ = b.log.Write(stderr.Bytes())
	}
	if status != 0 {
		return "", false, nil
	}
	name = firstLine(stdout.Bytes())
	b.log.step("Detected %s (buildpack %s)", cmp.Or(name, p.key), p.key)
	return name, true, nil
}

// compile builds the app in its directory.
func (b *build) compile(ctx context.Context) error {
	status, err := b.program(ctx, b.used, "compile", b.log, b.log, b.stager.path(runspec.PathCache))
	if err != nil {
		b.log.step("Buildpack %s: bin/compile %s", b.used.key, whyNotStarted(err))
		return newFault(runspec.ErrCompile, runspec.WordsCompile, err)
	}
	if status != 0 {
		b.log.step("Buildpack %s: bin/compile ended with exit status %d", b.used.key, status)
		return newFault(runspec.ErrCompile, runspec.WordsCompile, nil)
	}
	return nil
}

// release decides how the app is started: it asks the Procfile and the buildpack.
func (b *build) release(ctx context.Context) error {
	procfile, err := readProcfile(b.stager.path(runspec.PathStagedApp))
	if err != nil {
		return err
	}
	types, err := b.askRelease(ctx)
	if err != nil {
		return newFault(runspec.ErrRelease, runspec.WordsRelease+": "+err.Error(), nil)
	}
	if procfile != nil {
		types = procfile
	}
	b.result.Procfile = types
	b.result.StartCommand = cmp.Or(b.spec.StartCommand, types[webProcess])
	return nil
}

// askRelease runs bin/release. Its error is for the user.
func (b *build) askRelease(ctx context.Context) (processTypes, error) {
	stdout := phase.NewCapture(maxRelease)
	status, err := b.program(ctx, b.used, "release", stdout, b.log)
	switch {
	case err != nil:
		return nil, errors.New("bin/release " + whyNotStarted(err))
	case status != 0:
		return nil, fmt.Errorf("bin/release ended with exit status %d", status)
	case stdout.Full():
		return nil, fmt.Errorf("bin/release printed more than %d bytes", maxRelease)
	default:
		return parseRelease(stdout.Bytes())
	}
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

// firstLine is the first line with something in it, shortened to what a name may be.
func firstLine(output []byte) string {
	text := strings.TrimSpace(strings.ToValidUTF8(string(output), "\uFFFD"))
	line, _, _ := strings.Cut(text, "\n")
	if len(line) > maxName {
		line = strings.ToValidUTF8(line[:maxName], "")
	}
	return strings.TrimSpace(line)
}
