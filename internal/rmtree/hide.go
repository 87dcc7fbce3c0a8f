package rmtree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// gone is the ending of what Hide has moved.
const gone = ".gone"

// Hide moves a file or directory, if there is one, into a directory of the same file system, which is made when it is
// missing. There nobody looks for it, and Sweep removes it: to remove takes its time, and must not be seen half done.
// Its errors are those of the file system.
func Hide(path, into string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.MkdirAll(into, 0o755); err != nil {
		return err
	}
	for n := 0; ; n++ {
		to := filepath.Join(into, fmt.Sprintf("%s.%d%s", filepath.Base(path), n, gone))
		if _, err := os.Lstat(to); err == nil {
			continue // of a process that died
		}
		err := os.Rename(path, to)
		if errors.Is(err, fs.ErrPermission) {
			// Only a directory that its owner may write to can be moved to another.
			if err = OpenUp(path); err == nil {
				err = os.Rename(path, to)
			}
		}
		return err
	}
}

// Hidden tells whether a name is one that Hide gives.
func Hidden(name string) bool { return strings.HasSuffix(name, gone) }

// Sweep removes what Hide has moved into a directory, also what a process that died had moved. It goes on after what it
// cannot remove, and ends early, with ctx's error, when ctx does.
func Sweep(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		if ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if Hidden(entry.Name()) {
			err = errors.Join(err, Until(ctx, filepath.Join(dir, entry.Name())))
		}
	}
	return err
}
