package scratch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

const (
	imagesDir     = "images"
	templateImage = "template.img"
	imageFile     = "image"
	imageRoot     = "root"
)

// imageOptions: what is freed goes back to the host, and the tables of inodes, which are zero in a sparse file, are not
// written.
const imageOptions = "discard,noinit_itable"

// limitAttribute holds, in the root directory of an image, its limit in bytes: the kernel forgets it with the mount.
const limitAttribute = "trusted.wardend.limit"

// images has a sparse ext4 for each container, as large as the whole store may be. A limit takes blocks away: ext4 has a
// reserve, for what it cannot do without, that nobody can write data to, and whose size can be changed at any time.
type images struct {
	root     string
	template string
	log      hclog.Logger
}

func openImages(ctx context.Context, o Options) (Store, error) {
	s := &images{root: filepath.Join(o.Dir, imagesDir), template: filepath.Join(o.Dir, templateImage), log: o.Log}
	// No journal: after the machine's crash the containers are gone, and only what is looked at then may be damaged.
	_, err := makeImage(ctx, o, s.template, "mkfs.ext4", "-q", "-F", "-b", strconv.Itoa(blockSize), "-m", "0",
		"-O", "^has_journal,^resize_inode,sparse_super2", "-E", "lazy_itable_init=1,nodiscard,packed_meta_blocks=1",
		"-L", "wardend")
	if err != nil {
		return nil, err
	}
	return s, os.MkdirAll(s.root, dirMode)
}

func (s *images) Name() string { return "image" }

func (s *images) Make(ctx context.Context, id string) (string, error) {
	if err := checkID(id); err != nil {
		return "", err
	}
	if err := os.Mkdir(filepath.Join(s.root, id), dirMode); err != nil {
		if errors.Is(err, os.ErrExist) {
			return "", ErrExists
		}
		return "", err
	}
	root, image := s.paths(id)
	if err := copySparse(s.template, image); err != nil {
		return "", fmt.Errorf("image of %s: %w", id, err)
	}
	if err := mountImage(ctx, image, root, "ext4", imageOptions, true); err != nil {
		return "", err
	}
	if err := os.Remove(filepath.Join(root, "lost+found")); err != nil {
		return "", err
	}
	return root, os.Chmod(root, dirMode)
}

func (s *images) Open(ctx context.Context, id string) (string, error) {
	if err := checkID(id); err != nil {
		return "", err
	}
	root, image := s.paths(id)
	if _, err := os.Lstat(image); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return "", ErrNotFound
		}
		return "", err
	}
	if is, err := mounted(root); err != nil || is {
		return root, err
	}
	if err := mountImage(ctx, image, root, "ext4", imageOptions, false); err != nil {
		return "", err
	}
	limit := make([]byte, len("18446744073709551615"))
	n, err := unix.Getxattr(root, limitAttribute, limit)
	if errors.Is(err, unix.ENODATA) {
		return root, nil
	}
	if err != nil {
		return "", &os.PathError{Op: "getxattr", Path: root, Err: err}
	}
	bytes, err := strconv.ParseUint(string(limit[:n]), 10, 64)
	if err != nil {
		return "", fmt.Errorf("limit of %s: %w", id, err)
	}
	return root, reserve(root, bytes)
}

func (s *images) Limit(_ context.Context, id string, bytes, inodes uint64) error {
	root, err := s.mountedRoot(id)
	if err != nil {
		return err
	}
	// Written down first: a death in between leaves what was wanted, and it holds from Open on.
	err = unix.Setxattr(root, limitAttribute, []byte(strconv.FormatUint(bytes, 10)), 0)
	if err != nil {
		return &os.PathError{Op: "setxattr", Path: root, Err: err}
	}
	if err := reserve(root, bytes); err != nil {
		return fmt.Errorf("disk limit of %s: %w", id, err)
	}
	if inodes != 0 {
		return ErrInodesUnlimited
	}
	return nil
}

// reserve takes away from an ext4 all blocks but those of bytes; 0 leaves it all.
func reserve(root string, bytes uint64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(root, &fs); err != nil {
		return &os.PathError{Op: "statfs", Path: root, Err: err}
	}
	var stat unix.Stat_t
	if err := unix.Stat(root, &stat); err != nil {
		return &os.PathError{Op: "stat", Path: root, Err: err}
	}
	device, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev)))
	if err != nil {
		return err
	}
	var reserved uint64
	if blocks := bytes / blockSize; bytes != 0 && blocks < fs.Blocks {
		reserved = fs.Blocks - blocks
	}
	file := filepath.Join("/sys/fs/ext4", filepath.Base(device), "reserved_clusters")
	return os.WriteFile(file, []byte(strconv.FormatUint(reserved, 10)), fileMode)
}

func (s *images) Usage(_ context.Context, id string) (bytes, inodes uint64, err error) {
	root, err := s.mountedRoot(id)
	if err != nil {
		return 0, 0, err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(root, &fs); err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: root, Err: err}
	}
	const ownInodes = 10 // those below the first that a file can have, but for the root directory's; see ext4(5)
	return (fs.Blocks - fs.Bfree) * blockSize, fs.Files - fs.Ffree - ownInodes + 1, nil
}

func (s *images) Remove(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	root, _ := s.paths(id)
	is, err := mounted(root)
	if err != nil {
		return err
	}
	if is {
		discardAll(root)
	}
	err = unmount(ctx, root)
	if errors.Is(err, unix.EBUSY) {
		// Whoever has a file of it open keeps it alive, and the last of them frees image and loop device.
		s.log.Warn("a file of a container that is destroyed is still open", "id", id)
		err = unix.Unmount(root, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(s.root, id))
}

// discardAll tells an ext4 to write nothing any more: what is about to be removed need not go to the disk first. Where
// the kernel refuses, it is only slower.
func discardAll(root string) {
	dir, err := os.Open(root)
	if err != nil {
		return
	}
	defer dir.Close()
	const (
		shutdown = 0x8004587d // EXT4_IOC_SHUTDOWN of linux/ext4.h
		noFlush  = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
	)
	_ = unix.IoctlSetPointerInt(int(dir.Fd()), shutdown, noFlush)
}

func (s *images) IDs(context.Context) ([]string, error) { return entries(s.root) }

// Close removes the template when there is no container.
func (s *images) Close() error {
	ids, err := s.IDs(context.Background())
	if err != nil || len(ids) != 0 {
		return err
	}
	err = os.Remove(s.root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	err = os.Remove(s.template)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (s *images) paths(id string) (root, image string) {
	dir := filepath.Join(s.root, id)
	return filepath.Join(dir, imageRoot), filepath.Join(dir, imageFile)
}

// mountedRoot is a container's directory when its image is mounted there. On another file system a limit would be
// everybody's.
func (s *images) mountedRoot(id string) (string, error) {
	if err := checkID(id); err != nil {
		return "", err
	}
	root, _ := s.paths(id)
	is, err := mounted(root)
	if err == nil && !is {
		err = ErrNotFound
	}
	return root, err
}
