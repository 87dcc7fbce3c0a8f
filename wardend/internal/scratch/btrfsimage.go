package scratch

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// btrfsOptions: what is freed goes back to the host. The kernel frees what was in removed subvolumes when its timer for
// commits wakes, by default every 30 s.
//
// Neither nodatacow nor nodatasum made any of writing, overwriting and fsync measurably faster, and without checksums a
// damaged disk would go unnoticed. Compressed, a file would count as less than it is, and a limit would mean less.
const btrfsOptions = "discard,commit=5"

// mount makes the image when it is missing and mounts it when it is not.
func (s *btrfs) mount(ctx context.Context, o Options) error {
	is, err := mounted(s.root)
	if err != nil {
		return err
	}
	if !is {
		isNew, err := makeImage(ctx, o, s.image, "mkfs.btrfs", "--quiet", "--metadata", "single", "--data", "single",
			"--label", "wardend-"+o.Instance)
		if err != nil {
			return err
		}
		if err := mountImage(ctx, s.image, s.root, "btrfs", btrfsOptions, isNew); err != nil {
			return err
		}
	}
	return s.heal(ctx)
}

// heal mounts anew a file system that refuses writes, as it does after the host's was full when it had to write what it
// cannot do without.
func (s *btrfs) heal(ctx context.Context) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(s.root, &stat); err != nil {
		return &os.PathError{Op: "statfs", Path: s.root, Err: err}
	}
	if stat.Flags&unix.ST_RDONLY == 0 {
		return nil
	}
	err := unmount(ctx, s.root)
	if errors.Is(err, unix.EBUSY) {
		s.log.Error("the file system of the containers has had an error and is read-only; it is mounted anew when they "+
			"are destroyed and wardend starts again", "image", s.image)
		return nil
	}
	if err != nil {
		return err
	}
	return mountImage(ctx, s.image, s.root, "btrfs", btrfsOptions, false)
}

// Close frees a file system of our own that holds no subvolume: mount, loop device and image.
func (s *btrfs) Close() error {
	s.counts.close()
	ids, err := s.IDs(context.Background())
	if err != nil || len(ids) != 0 {
		return err
	}
	if s.image != "" {
		if err := unmount(context.Background(), s.root); err != nil {
			return err
		}
	}
	err = os.Remove(s.root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if s.image == "" {
		return nil
	}
	if err := os.Remove(s.image); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return removeParts(filepath.Dir(s.image), filepath.Base(s.image))
}
