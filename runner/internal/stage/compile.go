package stage

import (
	"context"
	"os"
	"path/filepath"

	"github.com/durable-dea/dea/internal/runspec"
)

// Sentences that users know from Cloud Foundry.
const (
	wordsNoSupply   = "Error: one of the buildpacks chosen to supply dependencies does not support multi-buildpack apps"
	wordsNoFinalize = "Warning: the last buildpack is not compatible with multi-buildpack apps and cannot make use of any dependencies supplied by the buildpacks specified before it"
)

// supplies tells whether bin/supply is to be run of any buildpack. That of the last is for its bin/finalize: one
// without that is of the classic form, and has bin/compile do all.
func (b *build) supplies() bool { return len(b.suppliers) > 0 || b.lastSupplies() }

func (b *build) lastSupplies() bool { return b.used.has(programFinalize) && b.used.has(programSupply) }

// supply has each buildpack put what the app needs into a directory of its own.
func (b *build) supply(ctx context.Context) error {
	packs := b.suppliers
	if b.lastSupplies() {
		packs = append(packs, b.used)
	}
	for _, p := range packs {
		if err := b.makeDirectory(filepath.Join(runspec.PathDeps, p.index)); err != nil {
			return err
		}
	}
	for _, p := range packs {
		if err := b.must(ctx, p, programSupply, b.stager.path(p.cache), b.stager.path(runspec.PathDeps), p.index); err != nil {
			return err
		}
	}
	return nil
}

// compile builds the app in its directory.
func (b *build) compile(ctx context.Context) error {
	cache := b.stager.path(b.used.cache)
	if !b.used.has(programFinalize) {
		if len(b.suppliers) > 0 {
			b.log.line(wordsNoFinalize)
		}
		return b.must(ctx, b.used, programCompile, cache)
	}
	for _, dir := range []string{filepath.Join(runspec.PathDeps, b.used.index), runspec.PathProfile} {
		if err := b.makeDirectory(dir); err != nil {
			return err
		}
	}
	return b.must(ctx, b.used, programFinalize,
		cache, b.stager.path(runspec.PathDeps), b.used.index, b.stager.path(runspec.PathProfile))
}

func (b *build) makeDirectory(contract string) error {
	if err := os.MkdirAll(b.stager.path(contract), 0o755); err != nil {
		return platformFault("the staging's directories cannot be made", err)
	}
	return nil
}
