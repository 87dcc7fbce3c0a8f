package layers

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// parts are the open files that an overlay is put together from.
type parts struct {
	layers              []int // idmapped, detached mounts, the top one first
	upper, work, target int
}

const (
	sourceName = "wardend" // what lists of mounts show as the device
	attributes = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
)

// options are those that do not depend on the container.
func options() [][2]string {
	return [][2]string{
		{"redirect_dir", "on"},
		{"metacopy", "off"},
		{"index", "off"},
		{"nfs_export", "off"},
		{"xino", "off"},
	}
}

// assemble mounts the overlay at the target, the better way if the kernel has it.
func (o Overlay) assemble(p parts) error {
	if o.attached {
		return o.explain(o.viaAttached(p))
	}
	overlay, err := detached(p)
	if err == nil {
		defer unix.Close(overlay)
		return o.attach(overlay, p.target)
	}
	// Kernels before 6.15 refuse detached layers, those before 6.13 to be given
	// files. They are not told apart by number: such things are back-ported.
	if !errors.Is(err, unix.EINVAL) {
		return o.explain(err)
	}
	if err := o.unmark(); err != nil {
		return err
	}
	if again := o.viaAttached(p); again != nil {
		return o.explain(fmt.Errorf("%w, nor with attached layers: %w", err, again))
	}
	return nil
}

// detached makes an overlay of detached layers that is mounted nowhere itself.
func detached(p parts) (int, error) {
	context, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(context)
	for _, layer := range p.layers {
		if err := unix.FsconfigSetFd(context, "lowerdir+", layer); err != nil {
			return -1, configError(context, "lowerdir+", err)
		}
	}
	if err := unix.FsconfigSetFd(context, "upperdir", p.upper); err != nil {
		return -1, configError(context, "upperdir", err)
	}
	if err := unix.FsconfigSetFd(context, "workdir", p.work); err != nil {
		return -1, configError(context, "workdir", err)
	}
	for _, option := range append(options(), [2]string{"source", sourceName}) {
		if err := unix.FsconfigSetString(context, option[0], option[1]); err != nil {
			return -1, configError(context, option[0], err)
		}
	}
	if err := unix.FsconfigSetFlag(context, "volatile"); err != nil {
		return -1, configError(context, "volatile", err)
	}
	if err := unix.FsconfigCreate(context); err != nil {
		return -1, configError(context, "create", err)
	}
	overlay, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return -1, configError(context, "fsmount", err)
	}
	return overlay, nil
}

// configError adds what the kernel said in the context's log.
func configError(context int, step string, err error) error {
	var words []string
	for buf := make([]byte, 1024); len(words) < 8; {
		n, readErr := unix.Read(context, buf)
		if readErr != nil || n <= 0 {
			break
		}
		words = append(words, string(bytes.TrimSpace(buf[:n])))
	}
	if len(words) == 0 {
		return fmt.Errorf("overlay %s: %w", step, err)
	}
	return fmt.Errorf("overlay %s: %w (%s)", step, err, strings.Join(words, "; "))
}

// attach moves a detached overlay to its place. Where the place is in a mount
// that is shared with other namespaces the overlay would be, too.
func (o Overlay) attach(overlay, target int) error {
	o.reached("assembled")
	if err := moveOnto(overlay, target); err != nil {
		return err
	}
	o.reached("attached")
	if err := makePrivate(overlay); err != nil {
		return errors.Join(err, Unmount(o.Target))
	}
	return nil
}

// viaAttached is for kernels that stack only layers that are mounted
// somewhere: on the target, one above the other, and the overlay above them. A
// clone of the overlay then takes the place of them all.
func (o Overlay) viaAttached(p parts) error {
	overlay, err := o.stack(p)
	o.reached("stacked")
	if unmountErr := Unmount(o.Target); err == nil {
		err = unmountErr
	}
	if overlay >= 0 {
		defer unix.Close(overlay)
	}
	if err != nil {
		return err
	}
	return o.attach(overlay, p.target)
}

// stack leaves mounts at the target, whether it fails or not.
func (o Overlay) stack(p parts) (int, error) {
	names := make([]string, 0, len(p.layers))
	for i, layer := range p.layers {
		if err := moveOnto(layer, p.target); err != nil {
			return -1, err
		}
		names = append(names, procPath(layer))
		o.reached("layer " + strconv.Itoa(i))
	}
	data := []string{"volatile", "lowerdir=" + strings.Join(names, ":"), "upperdir=" + procPath(p.upper), "workdir=" + procPath(p.work)}
	for _, option := range options() {
		data = append(data, option[0]+"="+option[1])
	}
	err := unix.Mount(sourceName, procPath(p.target), "overlay", unix.MS_NOSUID|unix.MS_NODEV, strings.Join(data, ","))
	if err != nil {
		return -1, fmt.Errorf("mount of an overlay: %w", err)
	}
	o.reached("mounted")
	overlay, err := unix.OpenTree(unix.AT_FDCWD, o.Target, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return -1, fmt.Errorf("open_tree of the overlay: %w", err)
	}
	return overlay, nil
}

// moveOnto attaches a detached mount at an open file; no name is looked up.
func moveOnto(mount, target int) error {
	err := unix.MoveMount(mount, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	return nil
}

// procPath is a name of an open file in which no character needs an escape.
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// explain turns the kernel's errors into what the user can do.
func (o Overlay) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ELOOP):
		return o.overlap(err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("the kernel has no overlay file system (modprobe overlay?): %w", err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("the kernel cannot put an overlay with its upper directory in %s (%s) over idmapped layers, which takes "+
			"Linux 5.19 and ext4, XFS, Btrfs or tmpfs; its log may tell more: %w", o.Upper, fileSystemOf(o.Upper), err)
	}
	return err
}

// overlap finds out which layer lies within another.
func (o Overlay) overlap(err error) error {
	for i, inner := range o.Layers {
		for j, outer := range o.Layers {
			if i != j && within(inner, outer) {
				return &LayerError{Dir: inner, Reason: "it lies in " + outer + ", another layer", Err: err}
			}
		}
	}
	return err
}

func within(inner, outer string) bool {
	in, err := filepath.EvalSymlinks(inner)
	if err != nil {
		return false
	}
	out, err := filepath.EvalSymlinks(outer)
	if err != nil {
		return false
	}
	return in == out || strings.HasPrefix(in, strings.TrimSuffix(out, "/")+"/")
}

func fileSystemOf(dir string) string {
	file, err := os.Open(dir)
	if err != nil {
		return "unknown"
	}
	defer file.Close()
	return fileSystem(int(file.Fd()))
}
