package pack

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// ErrEmpty says that a directory holds nothing to push.
var ErrEmpty = errors.New("nothing to push")

// Package is a zip on disk, ready to be uploaded.
type Package struct {
	// Path is where it lies, and Size its bytes.
	Path string
	Size int64
	// Files is how many files and links are in it; 0 for a zip that was given as such.
	Files int

	temporary bool
}

// Close removes the zip if Make made it.
func (p *Package) Close() error {
	if !p.temporary {
		return nil
	}
	return os.Remove(p.Path)
}

// Make packs a directory into a temporary zip, or takes a zip as it is. Errors are for the user.
func Make(ctx context.Context, source string) (*Package, error) {
	info, err := os.Stat(source)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no %s", source)
	case err != nil:
		return nil, fmt.Errorf("look at %s: %w", source, err)
	case info.IsDir():
		return makeZip(ctx, source)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is neither a directory nor a zip", source)
	}
	reader, err := zip.OpenReader(source)
	if err != nil {
		return nil, fmt.Errorf("%s is neither a directory nor a zip that can be read: %w", source, err)
	}
	return &Package{Path: source, Size: info.Size()}, reader.Close()
}

func makeZip(ctx context.Context, source string) (_ *Package, err error) {
	out, err := os.CreateTemp("", "dea-package-*.zip")
	if err != nil {
		return nil, fmt.Errorf("make a temporary file for the package: %w", err)
	}
	defer func() {
		err = errors.Join(err, out.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(out.Name()))
		}
	}()
	files, err := Write(ctx, out, source)
	if err != nil {
		return nil, err
	}
	size, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("measure the package: %w", err)
	}
	return &Package{Path: out.Name(), Size: size, Files: files, temporary: true}, nil
}

// Write packs a directory into out and tells how many files and links went in. It fails with ErrEmpty when there is
// none.
func Write(ctx context.Context, out io.Writer, source string) (int, error) {
	root, err := os.OpenRoot(source)
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", source, err)
	}
	defer func() { _ = root.Close() }() // only read from
	ignored, err := loadIgnore(root)
	if err != nil {
		return 0, err
	}
	w := &writer{zip: zip.NewWriter(out), root: root}
	// WalkDir goes in lexical order, which makes the zip the same each time.
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("read %s: %w", filepath.Join(source, name), err)
		case ctx.Err() != nil:
			return ctx.Err()
		case name == ".":
			return nil
		case ignored.match(name, entry.IsDir()) && entry.IsDir():
			return fs.SkipDir
		case ignored.match(name, entry.IsDir()):
			return nil
		}
		return w.add(name, entry)
	})
	if err != nil {
		return 0, err
	}
	if w.files == 0 {
		return 0, fmt.Errorf("%s holds no file: %w", source, ErrEmpty)
	}
	if err := w.zip.Close(); err != nil {
		return 0, fmt.Errorf("write the package: %w", err)
	}
	return w.files, nil
}

type writer struct {
	zip   *zip.Writer
	root  *os.Root
	files int
}

func (w *writer) add(name string, entry fs.DirEntry) error {
	if !utf8.ValidString(name) {
		return fmt.Errorf("the name %q is not UTF-8; rename it", name)
	}
	info, err := entry.Info()
	if err != nil {
		return fmt.Errorf("look at %s: %w", name, err)
	}
	switch {
	case entry.IsDir():
		return w.header(name+"/", fs.ModeDir|0o755, nil)
	case info.Mode()&fs.ModeSymlink != 0:
		w.files++
		return w.link(name)
	case info.Mode().IsRegular():
		w.files++
		return w.file(name, info.Mode())
	default:
		return fmt.Errorf("%s is neither a file, a directory nor a link, and cannot be pushed", name)
	}
}

// header begins an entry; fill writes its content.
func (w *writer) header(name string, mode fs.FileMode, fill func(io.Writer) error) error {
	h := &zip.FileHeader{Name: name, Method: zip.Deflate}
	if fill == nil {
		h.Method = zip.Store
	}
	h.SetMode(mode)
	out, err := w.zip.CreateHeader(h)
	if err == nil && fill != nil {
		err = fill(out)
	}
	if err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	return nil
}

// file keeps of the mode whether somebody may execute it, and nothing else.
func (w *writer) file(name string, mode fs.FileMode) error {
	kept := fs.FileMode(0o644)
	if mode&0o111 != 0 {
		kept = 0o755
	}
	return w.header(name, kept, func(out io.Writer) error {
		in, err := w.root.Open(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		return errors.Join(err, in.Close())
	})
}

// link refuses here what the platform would refuse after the upload.
func (w *writer) link(name string) error {
	target, err := w.root.Readlink(name)
	if err != nil {
		return fmt.Errorf("read the link %s: %w", name, err)
	}
	if reached := path.Join(path.Dir(name), target); path.IsAbs(target) || reached == ".." || strings.HasPrefix(reached, "../") {
		return fmt.Errorf("the link %s leads out of the app (to %s); copy what it names, or list it in .cfignore", name, target)
	}
	return w.header(name, fs.ModeSymlink|0o777, func(out io.Writer) error {
		_, err := io.WriteString(out, target)
		return err
	})
}
