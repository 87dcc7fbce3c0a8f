package stage

import (
	"cmp"
	"context"
	"strings"

	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/runner/internal/phase"
)

// Bounds of what is kept of what bin/detect says.
const (
	maxDetect = 64 << 10
	maxName   = 200
)

// detect finds the buildpack that builds the app, and those that supply for it.
func (b *build) detect(ctx context.Context) error {
	if b.spec.SkipDetect {
		return b.takeAll(ctx)
	}
	for n := range b.spec.Buildpacks {
		p := b.candidate(n)
		name, fits, err := b.ask(ctx, p)
		if err != nil {
			return err
		}
		if fits {
			b.use(p, name)
			return nil
		}
	}
	return newFault(runspec.ErrNoAppDetected, runspec.WordsNoAppDetected, nil)
}

// takeAll takes the buildpacks that were chosen. Nothing is run before it is clear that they can work together.
func (b *build) takeAll(ctx context.Context) error {
	last := len(b.spec.Buildpacks) - 1
	for n := range last {
		p := b.candidate(n)
		if !p.has(programSupply) {
			return newFault(runspec.ErrCompile, wordsNoSupply+": "+p.key+" has no bin/supply", nil)
		}
		b.suppliers = append(b.suppliers, p)
	}
	p := b.candidate(last)
	name := ""
	if p.has(programDetect) {
		var err error
		if name, _, err = b.ask(ctx, p); err != nil {
			return err
		}
	}
	b.use(p, name)
	return nil
}

func (b *build) use(p buildpack, name string) {
	b.used = p
	b.result.DetectedBuildpack = cmp.Or(name, p.key)
	if p.operators {
		b.result.BuildpackKey = p.key
	}
}

// ask runs one buildpack's bin/detect. What it says is heard only when it fits, or when it broke: a buildpack that
// is not for this app has nothing to tell its user.
func (b *build) ask(ctx context.Context, p buildpack) (name string, fits bool, err error) {
	stdout, stderr := phase.NewCapture(maxDetect), phase.NewCapture(maxDetect)
	status, err := b.program(ctx, p, programDetect, stdout, stderr)
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

// firstLine is the first line with something in it, shortened to what a name may be.
func firstLine(output []byte) string {
	text := strings.TrimSpace(strings.ToValidUTF8(string(output), "\uFFFD"))
	line, _, _ := strings.Cut(text, "\n")
	if len(line) > maxName {
		line = strings.ToValidUTF8(line[:maxName], "")
	}
	return strings.TrimSpace(line)
}
