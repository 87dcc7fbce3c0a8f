package stage

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/runner/internal/phase"
)

// release decides how the app is started: it asks the Procfile and the buildpack.
func (b *build) release(ctx context.Context) error {
	procfile, err := readProcfile(b.stager.path(runspec.PathStagedApp))
	if err != nil {
		return err
	}
	types, err := b.askRelease(ctx, procfile)
	if err != nil {
		return newFault(runspec.ErrRelease, runspec.WordsRelease+": "+err.Error(), nil)
	}
	b.result.StartCommand = cmp.Or(b.spec.StartCommand, procfile[webProcess], types[webProcess])
	b.result.Procfile = types
	if procfile != nil {
		b.result.Procfile = procfile
	}
	return nil
}

// askRelease runs bin/release. Its error is for the user. A buildpack without one is no failure where its answer is
// not needed.
func (b *build) askRelease(ctx context.Context, procfile processTypes) (processTypes, error) {
	known := procfile != nil && cmp.Or(b.spec.StartCommand, procfile[webProcess]) != ""
	if known && !b.used.has(programRelease) {
		return nil, nil
	}
	stdout := phase.NewCapture(maxRelease)
	status, err := b.program(ctx, b.used, programRelease, stdout, b.log)
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
