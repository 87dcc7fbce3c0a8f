package stage

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/durable-dea/dea/internal/runspec"
	"github.com/durable-dea/dea/runner/internal/gitclone"
)

// fromGit tells whether there is anything to clone.
func (b *build) fromGit() bool {
	for _, p := range b.spec.Buildpacks {
		if p.Git != nil {
			return true
		}
	}
	return false
}

// clone fetches the buildpacks that come from git.
func (b *build) clone(ctx context.Context) error {
	for n, spec := range b.spec.Buildpacks {
		if spec.Git == nil {
			continue
		}
		p := b.candidate(n)
		b.log.step("Cloning buildpack %s", p.key)
		commit, err := gitclone.Clone{
			URL: spec.Git.URL, Ref: spec.Git.Ref, Dir: p.dir, Shown: p.key, Hidden: filepath.Clean(b.stager.Root), Output: b.log,
		}.Run(ctx)
		if err != nil {
			return cloneFault(p, err)
		}
		if err := b.checkClone(n, p); err != nil {
			return err
		}
		const short = 12
		b.log.step("Cloned buildpack %s at %s", p.key, commit[:min(short, len(commit))])
	}
	return nil
}

// checkClone tells a buildpack from any other repository. One that only supplies may well be a classic one: that it
// cannot supply is said later, in other words.
func (b *build) checkClone(n int, p buildpack) error {
	if p.has(programCompile) || p.has(programFinalize) {
		return nil
	}
	if n < len(b.spec.Buildpacks)-1 && b.several() {
		if p.has(programSupply) {
			return nil
		}
		return newFault(runspec.ErrStaging, "The repository "+p.key+" is no buildpack: it has no bin/supply", nil)
	}
	return newFault(runspec.ErrStaging, "The repository "+p.key+" is no buildpack: it has neither bin/compile nor bin/finalize", nil)
}

// cloneFault is the user's: it is they who named the repository.
func cloneFault(p buildpack, err error) error {
	var failed *gitclone.Error
	if !errors.As(err, &failed) {
		return platformFault("the buildpack "+p.key+" cannot be cloned", err)
	}
	if failed.Reason == gitclone.NoGit {
		return newFault(runspec.ErrStaging, failed.Words()+": the buildpack "+p.key+" cannot be cloned", nil)
	}
	return newFault(runspec.ErrStaging, "The buildpack "+p.key+" cannot be cloned: "+failed.Words(), errors.New(failed.Cause))
}
