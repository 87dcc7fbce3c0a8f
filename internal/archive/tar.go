package archive

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"sync/atomic"

	"github.com/klauspost/pgzip"
)

// UnpackTar unpacks a tar.gz into a directory, which is made when it is not there; nothing in it is replaced. It
// reads from to its end, so that a cut-off archive is known. When it fails the directory may hold a part.
func UnpackTar(ctx context.Context, from io.Reader, dir string, options Options) (Unpacked, error) {
	options = options.withDefaults()
	from, failed := watchSource(ctx, from)
	inflated, err := pgzip.NewReader(from)
	if err != nil {
		if failed() || ctx.Err() != nil {
			return Unpacked{}, err
		}
		return Unpacked{}, notTarGz(err)
	}
	defer inflated.Close()
	root, err := openTarget(dir)
	if err != nil {
		return Unpacked{}, err
	}
	defer root.Close()
	u := &untar{
		tree: newTree(root), options: options, failed: failed,
		meter: newMeter(ctx, options.MaxBytes, options.MaxBytes),
		dirs:  map[string]attributes{}, links: links{}, made: map[string]bool{".": true},
	}
	defer u.tree.Close()
	err = u.run(ctx, newMeter(ctx, options.maxTar(), options.MaxBytes).reader(inflated))
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
	// failed tells whether what the archive is read from failed.
	failed  func() bool
	entries int
	dirs    map[string]attributes
	links   links
	// made are all directories, implied the number of those that only names imply; names is the bytes of the names kept.
	made    map[string]bool
	implied int
	names   int64
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
			return u.tarError(ctx, "", &readError{err})
		}
		if err := u.entry(header, reader); err != nil {
			return u.tarError(ctx, header.Name, err)
		}
	}
	// The checksum stands at the end of the gzip, after the end of the tar.
	if err := copyTo(io.Discard, faultReader{inflated}, u.tree.buffer); err != nil {
		return u.tarError(ctx, "", err)
	}
	return u.finish(ctx)
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
	if err := u.keep(name, header); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeDir:
		if name == "." {
			return nil
		}
		u.dirs[name] = attr
		return u.tree.directory(name)
	case tar.TypeReg, tar.TypeGNUSparse:
		if err := u.meter.fits(header.Size); err != nil {
			return err
		}
		return u.tree.file(name, attr, u.meter.reader(faultReader{content}))
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

// keep counts what an entry makes the unpacking remember, and the directories that it makes beside itself.
func (u *untar) keep(name string, header *tar.Header) error {
	before := u.implied
	for dir := path.Dir(name); !u.made[dir]; dir = path.Dir(dir) {
		u.made[dir] = true
		if u.implied++; u.implied+u.entries > u.options.MaxEntries {
			return tooManyEntries(u.options.MaxEntries)
		}
	}
	if header.Typeflag == tar.TypeDir {
		u.made[name] = true
	}
	if before < u.implied || header.Typeflag == tar.TypeDir || header.Typeflag == tar.TypeSymlink {
		u.names += int64(len(name) + len(header.Linkname))
	}
	if u.names > u.options.maxNames() {
		return namesTooLong()
	}
	return nil
}

// finish makes the links, which are known to be harmless only now that all are known.
func (u *untar) finish(ctx context.Context) error {
	if !u.options.FromContainer {
		if err := u.links.check(ctx); err != nil {
			return err
		}
	}
	for name, target := range u.links {
		if err := u.tree.link(name, target); err != nil {
			return err
		}
	}
	return u.tree.finish(ctx, u.dirs)
}

// tarError gives the errors of reading the archive their sentence; those of the disk and of the context stay.
func (u *untar) tarError(ctx context.Context, name string, err error) error {
	var (
		ours  *Error
		fault *readError
	)
	switch {
	case errors.As(err, &ours):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case !errors.As(err, &fault), u.failed():
		return err
	case errors.Is(err, tar.ErrHeader) && u.entries == 0:
		return notTarGz(err)
	default:
		return damaged(name, err)
	}
}

func notTarGz(err error) error {
	return &Error{Words: "the file is not a tar.gz", Cause: ErrNotArchive, Err: err}
}

// readError is an error of reading the archive, told apart from those of writing what is in it.
type readError struct{ err error }

func (f *readError) Error() string { return f.err.Error() }

func (f *readError) Unwrap() error { return f.err }

// faultReader makes the errors of a reader into faults.
type faultReader struct{ from io.Reader }

func (r faultReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &readError{err}
	}
	return n, err
}

// watchSource makes it known whether a reader failed: the decompressor, which reads it in a goroutine of its own, does
// not tell an error of the disk from one of the archive. It ends with the context: what is read may for long hold
// nothing that comes out.
func watchSource(ctx context.Context, from io.Reader) (watched io.Reader, failed func() bool) {
	s := &source{from: from, stopped: ctx.Err}
	return s, s.failed.Load
}

type source struct {
	from    io.Reader
	stopped func() error
	failed  atomic.Bool
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.stopped(); err != nil {
		return 0, err
	}
	n, err := s.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.failed.Store(true)
	}
	return n, err
}
