package stage

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/durable-dea/dea/internal/archive"
	"github.com/durable-dea/dea/internal/runspec"
)

// unpack puts the app and its cache where buildpacks look for them.
func (b *build) unpack(ctx context.Context) error {
	if err := b.makeDirectories(); err != nil {
		return platformFault("the staging's directories cannot be made", err)
	}
	if err := b.unpackApp(ctx); err != nil {
		return packageFault(err)
	}
	if err := b.unpackCache(ctx); err != nil {
		return err
	}
	if err := b.arrangeCache(); err != nil {
		return platformFault("the cache directory cannot be made", err)
	}
	return nil
}

func (b *build) makeDirectories() error {
	for _, dir := range []string{runspec.PathStaged + "/logs", runspec.PathStaged + "/tmp", runspec.PathCache} {
		if err := os.MkdirAll(b.stager.path(dir), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func (b *build) unpackApp(ctx context.Context) error {
	file := b.stager.in(runspec.FilePackage)
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	b.log.step("Downloaded app package (%s)", archive.FormatSize(info.Size()))
	unstaged := b.stager.path(runspec.PathUnstaged)
	if _, err := archive.UnpackZip(ctx, file, unstaged, b.limits(false)); err != nil {
		return err
	}
	if err := os.Rename(unstaged, b.stager.path(runspec.PathStagedApp)); err != nil {
		return err
	}
	b.linkApp()
	return nil
}

// linkApp makes /app, which some buildpacks expect. In a container of its own the node has made it as root.
func (b *build) linkApp() {
	_ = os.Symlink(runspec.PathStagedApp[1:], b.stager.path(runspec.PathApp))
}

// unpackCache brings the last staging's cache back. Without it a staging takes longer, but works: so nothing that is
// wrong with it is a reason to fail.
func (b *build) unpackCache(ctx context.Context) error {
	file := b.stager.in(runspec.FileCache)
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	cache := b.stager.path(runspec.PathCache)
	if err == nil {
		b.log.step("Downloaded app buildpack cache (%s)", archive.FormatSize(info.Size()))
		_, err = archive.UnpackTarFile(ctx, file, cache, b.limits(true))
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err == nil {
		return nil
	}
	b.log.step("The app buildpack cache cannot be used; staging goes on without it")
	if err := errors.Join(os.RemoveAll(cache), os.Mkdir(cache, 0o755)); err != nil {
		return platformFault("the cache directory cannot be emptied", err)
	}
	return nil
}

// limits bound what is unpacked: the user's package or, fromContainer, what an earlier staging packed.
func (b *build) limits(fromContainer bool) archive.Options {
	return archive.Options{MaxBytes: b.spec.UnpackedBytes(), MaxEntries: b.spec.Entries(), FromContainer: fromContainer}
}
