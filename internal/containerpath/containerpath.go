// Package containerpath finds a container's own files on the host. The container's user may have made any of them, and
// any directory on the way to them, into a link: everything is opened beneath the path that Warden gives, which no
// link leads out of.
package containerpath

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// rootfs is where the original linux backend mounts a container's root, beneath its path. A container without it, as
// those of our process backend, has its path for a root.
const rootfs = "tmp/rootfs"

// home is in the root of every container, before anything of a user's runs there.
const home = "home/vcap"

// Open opens the root directory of the container whose Info gives containerPath. The caller closes it.
func Open(containerPath string) (*os.Root, error) {
	container, err := os.OpenRoot(containerPath)
	if err != nil {
		return nil, fmt.Errorf("open the container's directory: %w", err)
	}
	if _, err := container.Lstat(home); err == nil {
		return container, nil
	}
	defer container.Close()
	root, err := OpenRoot(container, rootfs)
	if err != nil {
		return nil, fmt.Errorf("open the container's root: %w", err)
	}
	return root, nil
}

// OpenDir opens a directory of the container by its contract path, such as /home/vcap.
func OpenDir(containerPath, contract string) (*os.Root, error) {
	root, err := Open(containerPath)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return OpenRoot(root, Beneath(contract))
}

// OpenRoot is root.OpenRoot for a directory that may be something else by now: that waits for ever for who writes to a fifo in
// its place, whereas this fails with ENOTDIR. The caller closes what is opened.
func OpenRoot(root *os.Root, name string) (*os.Root, error) {
	dir, err := root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	// This is the directory that is open, whatever has its name now.
	opened, err := os.OpenRoot("/proc/self/fd/" + strconv.Itoa(int(dir.Fd())))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return opened, nil
}

// Beneath is a contract path as seen from the container's root.
func Beneath(contract string) string { return strings.TrimPrefix(path.Clean("/"+contract), "/") }
