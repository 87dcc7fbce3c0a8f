package stage

import (
	"context"
	"errors"
	"os"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/durable-dea/dea/internal/archive"
	"github.com/durable-dea/dea/internal/runspec"
)

// pack makes the droplet of what was staged.
func (b *build) pack(ctx context.Context) error {
	info := runspec.StagingInfo{
		BuildpackPath:     b.used.contract,
		DetectedBuildpack: b.result.DetectedBuildpack,
		StartCommand:      b.result.StartCommand,
		EffectiveProcfile: b.result.Procfile,
	}
	if err := b.writeInfo(info); err != nil {
		return platformFault("staging_info.yml cannot be written", err)
	}
	if b.result.StartCommand == "" {
		b.log.step("There is no start command: neither the app's Procfile nor the buildpack names a web process")
	}
	if err := b.log.copyTo(b.stager.path(runspec.PathStagingLog)); err != nil {
		return platformFault("the staging's log cannot be kept", err)
	}
	packed, err := packInto(ctx, b.stager.path(runspec.PathStaged), b.stager.out(runspec.FileDroplet))
	if err != nil {
		return platformFault("the droplet cannot be packed", err)
	}
	b.noteSkipped(packed)
	b.log.step("Uploading droplet (%s)", archive.FormatSize(packed.Size))
	b.result.DropletSHA1, b.result.DropletSize = packed.SHA1, packed.Size
	return nil
}

// packInto packs a directory into a file in its place: the node has made it, and nothing else can be made beside it. What
// cannot be packed whole leaves it empty.
func packInto(ctx context.Context, dir, file string) (packed archive.Packed, err error) {
	to, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return archive.Packed{}, err
	}
	packed, err = archive.Pack(ctx, dir, to)
	if err != nil {
		err = errors.Join(err, to.Truncate(0))
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return archive.Packed{}, err
	}
	return packed, nil
}

func (b *build) writeInfo(info runspec.StagingInfo) error {
	data, err := yaml.Marshal(info)
	if err != nil {
		return err
	}
	return runspec.WriteFile(b.stager.path(runspec.PathStagingInfo), data)
}

// noteSkipped tells the user what of the app is not in the droplet.
func (b *build) noteSkipped(packed archive.Packed) {
	const shown = 10
	if len(packed.Skipped) == 0 {
		return
	}
	names := packed.Skipped[:min(len(packed.Skipped), shown)]
	b.log.step("Left out of the droplet, being sockets, pipes or devices: %d (%q)", len(packed.Skipped), strings.Join(names, " "))
}

// keepCache packs the cache for the next staging. As with unpacking, a cache is worth no failure, not even that the
// time has expired; and an empty one is none.
func (b *build) keepCache(ctx context.Context) error {
	cache := b.stager.path(runspec.PathCache)
	empty, err := b.emptyCache()
	if err == nil && empty {
		return nil
	}
	var packed archive.Packed
	if err == nil {
		packed, err = packInto(ctx, cache, b.stager.out(runspec.FileBuildpackCache))
	}
	if errors.Is(context.Cause(ctx), ErrStopped) {
		return ErrStopped
	}
	if err != nil {
		b.log.step("The app buildpack cache cannot be kept for the next staging")
		return nil //nolint:nilerr // a droplet without a cache is a droplet
	}
	b.result.CacheSize = packed.Size
	return nil
}
