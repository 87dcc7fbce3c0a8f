package scratch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/names"
)

// Kinds of store, as the operator names them.
const (
	KindAuto  = "auto"
	KindQuota = "quota"
	KindBtrfs = "btrfs"
	KindImage = "image"
)

// Store gives containers directories with limits. Its methods may be called at the same time; for one id only one of
// Make, Open, Limit and Remove at a time.
//
// An id is 1 to 80 of A-Z, a-z, 0-9, dot, underscore and dash, but not "." or ".."; for another the error is ErrID.
type Store interface {
	// Name says what limits: "project quota", "btrfs" or "image".
	Name() string
	// Make makes an empty directory, owned by root, without limits, and returns its path. When the id has one already,
	// the error is ErrExists. What a Make that failed, or was killed, leaves is for Remove.
	Make(ctx context.Context, id string) (dir string, err error)
	// Open makes the directory of an earlier server's container usable again, with the limits that it had, and returns
	// its path. Calling it twice does no harm. When there is none, the error is ErrNotFound.
	Open(ctx context.Context, id string) (dir string, err error)
	// Limit sets hard limits: bytes and the number of inodes (files, directories, links); 0 is none. More than the file
	// system's size is none as well. Below what is used already nothing more can be written, but files can be removed.
	// When inodes is not 0 and the kind cannot limit them, the bytes are limited and the error is ErrInodesUnlimited.
	Limit(ctx context.Context, id string, bytes, inodes uint64) error
	// Usage says what the directory uses: bytes on the disk, with what was written and has no place yet, and inodes. What
	// a file system needs for itself is part of the bytes: an empty btrfs subvolume has 16 KiB. Inodes may be those of
	// the last count, where they must be counted; see counts.
	Usage(ctx context.Context, id string) (bytes, inodes uint64, err error)
	// Remove removes the directory and everything in it. It is idempotent, and can be called again after an error. What
	// the caller has mounted on top of the directory must have been unmounted. Space is given back soon after.
	Remove(ctx context.Context, id string) error
	// IDs lists what is there, whole or in part, in the order of the names.
	IDs(ctx context.Context) ([]string, error)
	// Close lets go. A store that holds nothing is freed: its mount, its loop device, its image. The directories of one
	// that does stay usable.
	Close() error
}

// Options are where a store lies and what it is to be like.
type Options struct {
	// Dir is the store's directory, absolute. It is made when it is missing. One server at a time may use it.
	Dir string
	// Kind is one of the Kind constants; empty is KindAuto.
	Kind string
	// Size is how large an image's file system is made, in bytes, at least MinSize; 0 is most of what is free in the file
	// system that holds it, but MinSize at least. An image that is there keeps its size.
	Size uint64
	// Instance is the server's name, unique on the kernel.
	Instance string
	// Log may be nil.
	Log hclog.Logger
}

// MinSize is the least size of an image: a btrfs needs 109 MiB.
const MinSize = 128 << 20

// maxSize bounds the default: a file of an ext4 has at most 16 TiB.
const maxSize = 8 << 40

// kind is one way to limit: how it is opened, and what it has beneath the store's directory.
type kind struct {
	name   string
	traces []string
	open   func(context.Context, Options) (Store, error)
}

func kinds() []kind {
	return []kind{
		{KindQuota, []string{quotaDir}, openQuota},
		{KindBtrfs, []string{btrfsImage, btrfsDir}, openBtrfs},
		{KindImage, []string{templateImage, imagesDir}, openImages},
	}
}

// Open opens the store, of the kind that its containers are of when there are any. With KindAuto it is else the first
// that this machine can do. The error is an *UnusableError when none, or not the wanted one, can be used.
func Open(ctx context.Context, o Options) (Store, error) {
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	if o.Kind == "" {
		o.Kind = KindAuto
	}
	if !filepath.IsAbs(o.Dir) || o.Size != 0 && o.Size < MinSize {
		return nil, fmt.Errorf("disk limits: directory %q must be absolute, and an image of %d bytes at least %d", o.Dir, o.Size, MinSize)
	}
	if err := os.MkdirAll(o.Dir, dirMode); err != nil {
		return nil, fmt.Errorf("disk limits: %w", err)
	}
	candidates, err := candidates(ctx, o)
	if err != nil {
		return nil, err
	}
	var reasons []error
	for _, k := range candidates {
		store, err := k.open(ctx, o)
		if err == nil {
			o.Log.Info("disk limits", "by", store.Name(), "dir", o.Dir, "not_by", errors.Join(reasons...))
			return store, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		reasons = append(reasons, fmt.Errorf("%s: %w", k.name, err))
	}
	return nil, &UnusableError{Kind: o.Kind, Reasons: reasons}
}

// candidates are the kinds to try, in order.
func candidates(ctx context.Context, o Options) ([]kind, error) {
	var wanted []kind
	for _, k := range kinds() {
		is, err := k.isIn(o.Dir)
		if err != nil {
			return nil, fmt.Errorf("disk limits: %w", err)
		}
		switch {
		case is && (o.Kind == KindAuto || o.Kind == k.name):
			return []kind{k}, nil
		case is:
			if err := k.clear(ctx, o); err != nil {
				return nil, err
			}
		case o.Kind == KindAuto || o.Kind == k.name:
			wanted = append(wanted, k)
		}
	}
	if len(wanted) == 0 {
		return nil, fmt.Errorf("disk limits: there is no kind %q", o.Kind)
	}
	return wanted, nil
}

// isIn says whether a store of the kind is in the directory.
func (k kind) isIn(dir string) (bool, error) {
	for _, trace := range k.traces {
		_, err := os.Lstat(filepath.Join(dir, trace))
		if !errors.Is(err, os.ErrNotExist) {
			return err == nil, err
		}
	}
	return false, nil
}

// clear removes a store of the kind, which a killed server has left, so that one of another kind can be made. It fails
// with an *OtherKindError when there are containers in it.
func (k kind) clear(ctx context.Context, o Options) error {
	store, err := k.open(ctx, o)
	if err != nil {
		return fmt.Errorf("disk limits: store of kind %q in %s: %w", k.name, o.Dir, err)
	}
	ids, err := store.IDs(ctx)
	if err == nil && len(ids) != 0 {
		err = &OtherKindError{Dir: o.Dir, Kind: k.name}
	}
	return errors.Join(err, store.Close())
}

// size is how large an image in dir is to be made.
func size(o Options) (uint64, error) {
	if o.Size != 0 {
		return o.Size &^ (blockSize - 1), nil
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(o.Dir, &stat); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: o.Dir, Err: err}
	}
	free := stat.Bavail * uint64(stat.Bsize) //nolint:gosec // never negative
	return min(max(free-free/kept, MinSize), maxSize) &^ (blockSize - 1), nil
}

// kept is the part of what is free that an image leaves free. A container without a limit that fills the image must not
// fill the file system that holds it: the image's own would become read-only for all containers, and nothing could be
// written down any more, nor a server start.
const kept = 16

func checkID(id string) error {
	if !names.IsID(id) || id == "." || id == ".." {
		return fmt.Errorf("%w: %q", ErrID, id)
	}
	return nil
}
