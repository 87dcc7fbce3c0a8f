// Package rmtree removes directories that others have filled: a build or a zip may leave ones that not even their owner
// may write to, and those keep their content from os.RemoveAll.
package rmtree

import (
	"errors"
	"io/fs"
	"os"
)

// All removes a file or a directory with all that is in it, whatever its modes, and follows no link. It is no error when
// there is none. Its errors are those of the file system.
func All(path string) error {
	err := os.RemoveAll(path)
	if errors.Is(err, fs.ErrPermission) {
		if err = OpenUp(path); err == nil {
			err = os.RemoveAll(path)
		}
	}
	return err
}

// OpenUp lets the owner into a directory and every one beneath it, and follows no link. What is no directory stays as it is.
// Its errors are those of the file system.
func OpenUp(path string) error {
	if info, err := os.Lstat(path); err != nil || !info.IsDir() {
		return err
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		// WalkDir reads a directory after this.
		return root.Chmod(name, 0o700)
	})
}
