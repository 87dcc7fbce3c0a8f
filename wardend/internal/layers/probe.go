package layers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/durable-dea/dea/wardend/internal/idmap"
)

// probeName is the directory in which Probe tries; fixed, so that what a
// killed wardend left is found and removed by the next.
const probeName = ".probe-layers"

// Probe finds out whether this kernel can make the tree of a container whose
// upper directory is in dir, by making one. Its error is a sentence that tells
// why not. It leaves nothing, and removes what an earlier one was killed at.
// One at a time in one dir.
func Probe(dir string) error {
	if os.Geteuid() != 0 {
		return errors.New("containers take root")
	}
	probe := filepath.Join(dir, probeName)
	err := clean(probe)
	if err == nil {
		err = try(probe)
	}
	if err = errors.Join(err, clean(probe)); err != nil {
		return fmt.Errorf("layers cannot be stacked in %s: %w", dir, err)
	}
	return nil
}

func clean(probe string) error {
	return errors.Join(Unmount(filepath.Join(probe, "target")), os.RemoveAll(probe))
}

func try(probe string) error {
	layer := filepath.Join(probe, "layer")
	for _, dir := range []string{probe, layer} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(layer, "file"), nil, 0o600); err != nil {
		return err
	}
	overlay := Overlay{
		Layers: []string{layer},
		Upper:  filepath.Join(probe, "upper"), Work: filepath.Join(probe, "work"), Target: filepath.Join(probe, "target"),
		IDs: idmap.Range{Host: 1 << 30, Size: 1 << 16},
	}
	if err := overlay.Mount(context.Background()); err != nil {
		return err
	}
	file := filepath.Join(overlay.Target, "file")
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !ok || stat.Uid != overlay.IDs.Host {
		return errors.New("the kernel does not show files as the container's in an overlay (Linux 5.19)")
	}
	// To remove what a layer has takes a whiteout in upper, which not every file system can have.
	if err := os.Remove(file); err != nil {
		return fmt.Errorf("the file system cannot hide a layer's file: %w", err)
	}
	return nil
}
