package buildpackstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
)

// ErrNotBuildpack: the zip holds no buildpack. The error is a *NotBuildpackError.
var ErrNotBuildpack = errors.New("the zip is no buildpack")

// NotBuildpackError says what keeps a directory from being a buildpack.
type NotBuildpackError struct {
	// Words go on a sentence for the user that begins with the buildpack.
	Words string
}

func (e *NotBuildpackError) Error() string { return ErrNotBuildpack.Error() + ": it " + e.Words }

// Unwrap gives ErrNotBuildpack.
func (e *NotBuildpackError) Unwrap() error { return ErrNotBuildpack }

func refuse(format string, args ...any) error {
	return &NotBuildpackError{Words: fmt.Sprintf(format, args...)}
}

// check tells whether a directory is a buildpack: it has bin with one of compile, finalize and supply, and what it has of
// these can be run. One that only supplies is one too: it has its use before another.
func check(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open the buildpack: %w", err)
	}
	defer root.Close()
	info, err := root.Stat("bin")
	switch {
	case err != nil:
		return noBin(root)
	case !info.IsDir():
		return refuse("has a file in the place of the directory bin")
	}
	found := false
	for _, program := range []string{"bin/compile", "bin/finalize", "bin/supply"} {
		if _, err := root.Lstat(program); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		found = true
		if err := checkProgram(root, program); err != nil {
			return err
		}
	}
	if !found {
		return refuse("has no program bin/compile, bin/finalize or bin/supply")
	}
	return nil
}

func checkProgram(root *os.Root, program string) error {
	info, err := root.Stat(program)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return refuse("has a %s that is a link to nothing", program)
	case err != nil:
		return fmt.Errorf("look at the buildpack's %s: %w", program, err)
	case info.IsDir():
		return refuse("has a %s that is a directory, not a program", program)
	case info.Mode()&0o100 == 0:
		return refuse("has a %s that is not executable", program)
	}
	return nil
}

// noBin explains where bin may have gone: what hosts of repositories pack has a directory around everything. That is
// refused as Cloud Foundry does, so that a zip that works here works there.
func noBin(root *os.Root) error {
	const forMacs = "__MACOSX" // which Finder adds beside what it packs
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return fmt.Errorf("open the buildpack: %w", err)
	}
	var around []string
	for _, entry := range entries {
		if entry.Name() == forMacs {
			continue
		}
		if around = append(around, entry.Name()); len(around) > 1 || !entry.IsDir() {
			return refuse("has no directory bin")
		}
	}
	if len(around) == 0 {
		return refuse("is empty")
	}
	if info, err := root.Stat(around[0] + "/bin"); err != nil || !info.IsDir() {
		return refuse("has no directory bin")
	}
	return refuse("has all its files in one directory, %s, as an archive of a repository does: bin must be at the top of the zip",
		strconv.Quote(around[0]))
}
