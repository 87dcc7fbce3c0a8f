// Package rmtree removes directories that others have filled: a build or a zip may leave ones that not even their owner
// may write to, and those keep their content from os.RemoveAll.
package rmtree

import (
	"context"
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

// Until is All that ends early, with ctx's error, when ctx does: a tree of many files takes its time. What it has not
// removed by then stays.
func Until(ctx context.Context, path string) error {
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		if root, err := os.OpenRoot(path); err == nil {
			empty(ctx, root)
			root.Close()
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return All(path) // What is closed even to its owner, and the directory itself.
}

// batch is how many entries of a directory are read at once.
const batch = 256

// empty removes what it can of what is in a directory, and leaves the rest without a word.
func empty(ctx context.Context, root *os.Root) {
	dir, err := root.Open(".")
	if err != nil {
		return
	}
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(batch)
		for _, entry := range entries {
			if ctx.Err() != nil {
				return
			}
			if entry.IsDir() {
				if sub, err := root.OpenRoot(entry.Name()); err == nil {
					empty(ctx, sub)
					sub.Close()
				}
			}
			_ = root.Remove(entry.Name())
		}
		if err != nil {
			return
		}
	}
}
