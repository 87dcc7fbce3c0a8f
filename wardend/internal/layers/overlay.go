package layers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/durable-dea/dea/wardend/internal/idmap"
)

// Errors of [Overlay.Mount] that its caller may want to tell apart.
var (
	// ErrMounted means that something is mounted at the target already.
	ErrMounted = errors.New("something is mounted there already")
	// ErrUsed means that upper and work belonged to an overlay before.
	ErrUsed = errors.New("it was part of an overlay before")
)

// Modes of the directories that an overlay is made of.
const (
	upperMode = 0o755 // the container's "/"
	workMode  = 0o700 // the kernel's own
)

// Overlay is the file tree of a container.
//
// Paths may hold any characters: the kernel is given open files, never names.
type Overlay struct {
	// Layers are 1 to MaxLayers directories or links to directories, the top
	// one first, in file systems that can be idmapped; none may lie within
	// another, nor upper, work and target in them. Their files belong to the
	// machine's ids 0 to IDs.Size-1; those of others are nobody's and cannot be
	// changed. Any number of overlays can share a layer.
	Layers []string
	// Upper takes what the container writes, and Work is the kernel's for
	// doing so: two empty directories of one file system, made when missing.
	Upper, Work string
	// Target is where the tree is mounted; made when missing, its parent not.
	Target string
	// IDs are the container's.
	IDs idmap.Range
	// Again is set to mount an Upper and Work that were mounted before, which
	// is ErrUsed otherwise: fsync does nothing in a container, so that after
	// a crash of the machine files of Upper may be torn.
	Again bool

	// attached takes the way of kernels before 6.15 at once.
	attached bool
	// step is called between any two changes of mounts.
	step func(name string)
}

// Mount makes the overlay, all of it or nothing; it can be called again after
// an error. A mount that is there already is ErrMounted. A layer that cannot
// be used is a [*LayerError]. When ctx is done before the tree is attached
// nothing is left.
//
// The tree has neither set-user-id programs nor devices. It is mounted with
// options that do not hang on how the kernel was configured:
//   - volatile: neither fsync in the container nor its unmounting waits for
//     the disk. Without it each unmounting writes out the whole file system
//     of Upper, and thus what all other containers wrote; no container outlives the machine's crash.
//   - redirect_dir=on: a directory of a layer can be renamed; otherwise
//     programs see EXDEV, which package managers do not expect.
//   - metacopy=off, index=off, nfs_export=off, xino=off: nothing is kept in Upper but plain
//     files, and inode numbers stay small enough for 32-bit programs.
func (o Overlay) Mount(ctx context.Context) error {
	if err := o.mount(ctx); err != nil {
		return fmt.Errorf("cannot mount %s: %w", o.Target, err)
	}
	return nil
}

func (o Overlay) mount(ctx context.Context) error {
	if len(o.Layers) == 0 || len(o.Layers) > MaxLayers {
		return fmt.Errorf("it has %d layers instead of 1 to %d", len(o.Layers), MaxLayers)
	}
	var open files
	defer open.close()

	target, err := o.openTarget(&open)
	if err != nil {
		return err
	}
	p := parts{target: target}
	if p.upper, p.work, err = o.openUpper(&open); err != nil {
		return err
	}
	outer, err := ancestors(p.upper, p.work, p.target)
	if err != nil {
		return err
	}
	namespace, err := idmap.UserNamespace(o.IDs)
	if err != nil {
		return err
	}
	defer namespace.Close()
	for _, dir := range o.Layers {
		fd, err := cloneLayer(dir, int(namespace.Fd()), outer)
		if err != nil {
			return err
		}
		p.layers = append(p.layers, open.add(fd))
	}
	o.reached("cloned")
	if err := ctx.Err(); err != nil {
		return err
	}
	err = o.assemble(p)
	if err != nil {
		// Nobody has written to it, so that the next try may use it.
		err = errors.Join(err, o.unmark())
	}
	return err
}

// openTarget opens the directory to mount at.
func (o Overlay) openTarget(open *files) (int, error) {
	fd, err := makeDirectory(o.Target, upperMode)
	if err != nil {
		return -1, err
	}
	mounted, err := isMountRoot(open.add(fd), "")
	if err == nil && mounted {
		err = ErrMounted
	}
	return fd, err
}

// openUpper opens upper and work, and gives the top of the tree to the container's root.
func (o Overlay) openUpper(open *files) (upper, work int, err error) {
	if upper, err = makeDirectory(o.Upper, upperMode); err != nil {
		return -1, -1, err
	}
	open.add(upper)
	if work, err = makeDirectory(o.Work, workMode); err != nil {
		return -1, -1, err
	}
	open.add(work)
	if err := sameFileSystem(upper, work); err != nil {
		return -1, -1, fmt.Errorf("%s and %s: %w", o.Upper, o.Work, err)
	}
	if _, err := os.Lstat(o.mark()); err == nil {
		if !o.Again {
			return -1, -1, fmt.Errorf("%s: %w", o.Upper, ErrUsed)
		}
		return upper, work, o.unmark()
	}
	root, ok := o.IDs.ToHost(0)
	if !ok {
		return -1, -1, o.IDs.Validate()
	}
	if err := own(upper, root, upperMode); err != nil {
		return -1, -1, &os.PathError{Op: "chown", Path: o.Upper, Err: err}
	}
	return upper, work, nil
}

// mark is what the kernel makes where a volatile overlay is or was; while it is there it mounts no other.
func (o Overlay) mark() string { return filepath.Join(o.Work, "work", "incompat") }

func (o Overlay) unmark() error { return os.RemoveAll(o.mark()) }

func sameFileSystem(one, other int) error {
	var stats [2]unix.Stat_t
	for i, fd := range []int{one, other} {
		if err := unix.Fstat(fd, &stats[i]); err != nil {
			return err
		}
	}
	if stats[0].Dev != stats[1].Dev {
		return fmt.Errorf("they must be in one file system: %w", unix.EXDEV)
	}
	return nil
}

// makeDirectory opens the directory path, which is made when it is missing. It may not be a link.
func makeDirectory(path string, mode uint32) (int, error) {
	if !filepath.IsAbs(path) {
		return -1, fmt.Errorf("%q is not absolute", path)
	}
	if err := unix.Mkdir(path, mode); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, &os.PathError{Op: "mkdir", Path: path, Err: err}
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// own gives an open file to the user and group id, with all of mode whatever
// the umask is. What is so already is not written to the disk's journal once more.
func own(fd int, id, mode uint32) error {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	if stat.Uid != id || stat.Gid != id {
		if err := unix.Fchown(fd, int(id), int(id)); err != nil {
			return err
		}
	}
	if stat.Mode&^unix.S_IFMT == mode {
		return nil
	}
	return unix.Fchmod(fd, mode)
}

func (o Overlay) reached(step string) {
	if o.step != nil {
		o.step(step)
	}
}

// files are open ones, to be closed together.
type files []int

func (f *files) add(fd int) int {
	*f = append(*f, fd)
	return fd
}

func (f *files) close() {
	for _, fd := range *f {
		_ = unix.Close(fd)
	}
}
