package oci

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// installInit puts a copy of this program into dir, named by its content, and answers its path. The copy stays what it
// is when wardend is replaced by a newer release, and all containers of one release share its pages. Copies of other
// releases are removed: containers that run them have them mounted. Whether it can be an init is for the runtime to try.
func installInit(dir string) (string, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("open this program: %w", err)
	}
	defer func() { _ = self.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, self); err != nil {
		return "", fmt.Errorf("read this program: %w", err)
	}
	const nameBytes = 10
	path := filepath.Join(dir, hex.EncodeToString(sum.Sum(nil)[:nameBytes]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		if err := copyProgram(self, path); err != nil {
			return "", fmt.Errorf("install the init: %w", err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		if other := filepath.Join(dir, entry.Name()); other != path {
			if err := os.Remove(other); err != nil {
				return "", err
			}
		}
	}
	return path, nil
}

func copyProgram(from *os.File, path string) error {
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	const anybody = 0o555
	to, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, anybody)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	// On disk before it has its name: it is not read again, and a power failure must not leave a part of it.
	if err := errors.Join(err, to.Chmod(anybody), to.Sync(), to.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
