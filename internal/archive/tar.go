package archive

import (
	"archive/tar"
	"compress/flate"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	kflate "github.com/klauspost/compress/flate"
	"github.com/klauspost/pgzip"
)

// UnpackTar unpacks a tar.gz into a directory, which is made when it is not there; nothing in it is replaced. It
// reads from to its end, so that a cut-off archive is known. When it fails the directory may hold a part.
func UnpackTar(ctx context.Context, from io.Reader, dir string, options Options) (Unpacked, error) {
	options = options.withDefaults()
	inflated, err := pgzip.NewReader(from)
	if err != nil {
		return Unpacked{}, gzipError(err)
	}
	defer inflated.Close()
	root, err := openTarget(dir)
	if err != nil {
		return Unpacked{}, err
	}
	defer root.Close()
	u := &untar{
		tree: newTree(root), options: options, meter: &meter{stopped: ctx.Err, limit: options.MaxBytes},
		dirs: map[string]attributes{}, links: links{},
	}
	defer u.tree.Close()
	err = u.run(ctx, inflated)
	return Unpacked{Entries: u.entries, Bytes: u.meter.used.Load()}, err
}

// UnpackTarFile is UnpackTar for a file.
func UnpackTarFile(ctx context.Context, file, dir string, options Options) (Unpacked, error) {
	f, err := os.Open(file)
	if err != nil {
		return Unpacked{}, err
	}
	defer f.Close()
	return UnpackTar(ctx, f, dir, options)
}

type untar struct {
	tree    *tree
	options Options
	meter   *meter
	entries int
	dirs    map[string]attributes
	links   links
}

func (u *untar) run(ctx context.Context, inflated io.Reader) error {
	reader := tar.NewReader(inflated)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return u.tarError("", err)
		}
		if err := u.entry(header, reader); err != nil {
			return u.tarError(header.Name, err)
		}
	}
	// The checksum stands at the end of the gzip, after the end of the tar.
	if err := copyTo(io.Discard, u.meter.reader(inflated), u.tree.buffer); err != nil {
		return u.tarError("", err)
	}
	return u.finish()
}

func (u *untar) entry(header *tar.Header, content io.Reader) error {
	if header.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if u.entries++; u.entries > u.options.MaxEntries {
		return tooManyEntries(u.options.MaxEntries)
	}
	name, err := cleanName(header.Name, u.options.FromContainer)
	if err != nil {
		return err
	}
	attr := attributes{mode: header.FileInfo().Mode(), modified: header.ModTime}
	if name == "." && header.Typeflag != tar.TypeDir {
		return refuse(ErrName, header.Name, "is the directory itself")
	}
	if _, twice := u.links[name]; twice {
		return refuse(ErrConflict, header.Name, "is there twice")
	}
	switch header.Typeflag {
	case tar.TypeDir:
		if name == "." {
			return nil
		}
		u.dirs[name] = attr
		return u.tree.directory(name)
	case tar.TypeReg, tar.TypeGNUSparse:
		return u.tree.file(name, attr, u.meter.reader(content))
	case tar.TypeSymlink:
		u.links[name] = header.Linkname
		return checkTarget(header.Name, header.Linkname)
	case tar.TypeLink:
		target, err := cleanName(header.Linkname, u.options.FromContainer)
		if err != nil {
			return &Error{Name: header.Name, Words: "is a hard link that leads out of the directory", Cause: ErrLink, Err: err}
		}
		return u.tree.hardLink(name, target)
	default:
		return refuse(ErrSpecial, header.Name, "is neither a file nor a directory nor a link")
	}
}

// finish makes the links, which are known to be harmless only now that all are known.
func (u *untar) finish() error {
	if !u.options.FromContainer {
		if err := u.links.check(); err != nil {
			return err
		}
	}
	for name, target := range u.links {
		if err := u.tree.link(name, target); err != nil {
			return err
		}
	}
	return u.tree.finish(u.dirs)
}

// tarError gives the errors of the tar and gzip packages their sentence.
func (u *untar) tarError(name string, err error) error {
	var ours *Error
	switch {
	case errors.As(err, &ours):
		return err
	case errors.Is(err, tar.ErrHeader) && u.entries == 0:
		return &Error{Words: "the file is not a tar.gz", Cause: ErrNotArchive, Err: err}
	case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), isCorrupt(err):
		return damaged(name, err)
	default:
		return err
	}
}

// gzipError is for the first bytes: what is wrong there is no gzip at all.
func gzipError(err error) error {
	var asPath *fs.PathError
	if errors.As(err, &asPath) {
		return err
	}
	return &Error{Words: "the file is not a tar.gz", Cause: ErrNotArchive, Err: err}
}

// isCorrupt tells the errors of the decompressors from those of the machine.
func isCorrupt(err error) bool {
	var (
		theirs  flate.CorruptInputError
		fast    kflate.CorruptInputError
		inside  flate.InternalError
		inside2 kflate.InternalError
	)
	return errors.Is(err, pgzip.ErrChecksum) || errors.Is(err, pgzip.ErrHeader) ||
		errors.As(err, &theirs) || errors.As(err, &fast) || errors.As(err, &inside) || errors.As(err, &inside2)
}
