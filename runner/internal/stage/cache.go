package stage

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"

	"github.com/durable-dea/dea/internal/runspec"
)

const (
	// finalCache is the cache directory of the last of several buildpacks.
	finalCache = "final"
	// severalMark is there in a cache that has a directory for each of several buildpacks, and tells it from one that
	// a single buildpack filled as it liked.
	severalMark = ".several"
)

// cacheOf is the cache directory of a buildpack, a contract path: a single one has the whole.
func (b *build) cacheOf(n int) string {
	if !b.several() {
		return runspec.PathCache
	}
	if n == len(b.spec.Buildpacks)-1 {
		return filepath.Join(runspec.PathCache, finalCache)
	}
	const short = 16
	digest := sha256.Sum256([]byte(b.spec.Buildpacks[n].Key))
	return filepath.Join(runspec.PathCache, hex.EncodeToString(digest[:short]))
}

// arrangeCache removes what buildpacks that are no longer chosen have left, so that the cache does not grow with every
// choice, and makes the directories of those that are. What cannot be removed is no reason to fail.
func (b *build) arrangeCache() error {
	cache := b.stager.path(runspec.PathCache)
	mark := filepath.Join(cache, severalMark)
	_, err := os.Lstat(mark)
	if wasSeveral := err == nil; wasSeveral != b.several() {
		emptyDirectory(cache, nil)
	}
	if !b.several() {
		return nil
	}
	keep := []string{severalMark}
	for n := range b.spec.Buildpacks {
		keep = append(keep, filepath.Base(b.cacheOf(n)))
	}
	emptyDirectory(cache, keep)
	for n := range b.spec.Buildpacks {
		if err := os.MkdirAll(b.stager.path(b.cacheOf(n)), 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(mark, nil, 0o644)
}

func emptyDirectory(dir string, keep []string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if !slices.Contains(keep, entry.Name()) {
			_ = os.RemoveAll(filepath.Join(dir, entry.Name()))
		}
	}
}

// emptyCache tells whether there is nothing worth keeping.
func (b *build) emptyCache() (bool, error) {
	cache := b.stager.path(runspec.PathCache)
	if b.several() {
		for n := range b.spec.Buildpacks {
			_ = os.Remove(b.stager.path(b.cacheOf(n))) // it stays if anything is in it
		}
	}
	entries, err := os.ReadDir(cache)
	nothing := len(entries) == 0 || b.several() && len(entries) == 1 && entries[0].Name() == severalMark
	return nothing, err
}
