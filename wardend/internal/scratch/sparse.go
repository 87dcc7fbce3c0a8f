package scratch

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copySparse copies a file that is mostly holes, to one that does not exist. Blocks are shared where the file system can.
func copySparse(from, to string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	stat, err := source.Stat()
	if err != nil {
		return err
	}
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	if unix.IoctlFileClone(int(target.Fd()), int(source.Fd())) == nil {
		return nil
	}
	_ = unix.IoctlSetPointerInt(int(target.Fd()), unix.FS_IOC_SETFLAGS, noCopyOnWrite)
	if err := target.Truncate(stat.Size()); err != nil {
		return err
	}
	for end := int64(0); ; {
		start, err := unix.Seek(int(source.Fd()), end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // the rest is a hole
		}
		if err != nil {
			return &os.PathError{Op: "seek", Path: from, Err: err}
		}
		if end, err = unix.Seek(int(source.Fd()), start, unix.SEEK_HOLE); err != nil {
			return &os.PathError{Op: "seek", Path: from, Err: err}
		}
		if _, err := target.Seek(start, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(target, io.NewSectionReader(source, start, end-start)); err != nil {
			return err
		}
	}
}
