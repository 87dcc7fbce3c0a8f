package layers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxLayers is how many layers an overlay may have. The kernel takes 500;
// looking up a name that no layer has costs a step in each.
const MaxLayers = 64

// NotFoundError is [Parse]'s error for a rootfs of which a layer is no
// directory. Its words are those of the Warden protocol.
type NotFoundError struct {
	Rootfs string // all that the client gave
	Layer  string // the part that is no directory
	Err    error  // why
}

func (e *NotFoundError) Error() string { return "rootfs " + e.Rootfs + " not found" }

func (e *NotFoundError) Unwrap() error { return e.Err }

// Parse splits a rootfs `layer:layer:stack`, top first, into its directories.
// They must be absolute; links to directories may be given. A name with a
// colon cannot. The error is a [*NotFoundError] unless there are more than
// [MaxLayers].
func Parse(rootfs string) ([]string, error) {
	list := strings.Split(rootfs, ":")
	if len(list) > MaxLayers {
		return nil, fmt.Errorf("rootfs has %d layers, and %d are the most", len(list), MaxLayers)
	}
	for i, dir := range list {
		if err := directory(dir); err != nil {
			return nil, &NotFoundError{Rootfs: rootfs, Layer: dir, Err: err}
		}
		list[i] = filepath.Clean(dir)
	}
	return list, nil
}

func directory(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("%q is not absolute", dir)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &os.PathError{Op: "stat", Path: dir, Err: unix.ENOTDIR}
	}
	return nil
}
