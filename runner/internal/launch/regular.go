package launch

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

var errNotRegular = errors.New("no regular file")

// openRegular opens a file for writing, or makes it. What an app has put in its place, as a fifo that nobody reads, gives way, if
// it does so at once.
func openRegular(path string, flags int) (*os.File, fs.FileInfo, error) {
	f, info, err := tryRegular(path, flags)
	if err != nil && !isRegular(path) && os.Remove(path) == nil {
		f, info, err = tryRegular(path, flags)
	}
	return f, info, err
}

func tryRegular(path string, flags int) (*os.File, fs.FileInfo, error) {
	// A fifo must not keep the launcher waiting, which could then not tell of the app's end, and no link lead elsewhere.
	f, err := os.OpenFile(path, flags|os.O_CREATE|os.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// isRegular is true also of what is not there: there is nothing to give way.
func isRegular(path string) bool {
	info, err := os.Lstat(path)
	return err != nil || info.Mode().IsRegular()
}
