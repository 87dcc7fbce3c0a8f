package oci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// removeOwn removes what this package has put into a container's directory. The root's own directory must be empty:
// nothing that lies beneath a mount is ever removed by its path.
func removeOwn(dir string) error {
	var errs []error
	for _, path := range []string{rootOf(dir), filepath.Dir(rootOf(dir))} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	for _, path := range []string{bundleOf(dir), stateOf(dir), filepath.Join(dir, recordName+".new"), filepath.Join(dir, recordName)} {
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}
