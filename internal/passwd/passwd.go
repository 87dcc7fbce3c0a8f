// Package passwd finds users in the etc/passwd of root file systems. Those that wrote it are not trusted.
package passwd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/durable-dea/dea/internal/regular"
)

const (
	// MaxID is the highest uid and gid that a container has.
	MaxID = 65535
	// MaxFile in bytes is the largest passwd or group file that is read: many thousand users.
	MaxFile = 1 << 20
	// maxHome in bytes is the longest path that the kernel takes.
	maxHome = 4095
)

// Fields of a line of etc/passwd.
const fieldUID, fieldGID, fieldHome, fields = 2, 3, 5, 7

// ErrNoUser: there is no user of that name.
var ErrNoUser = errors.New("no such user")

// Entry is a user.
type Entry struct {
	// UID and GID are at most MaxID.
	UID, GID uint32
	// Home is an absolute path in the root file system; it need not exist.
	Home string
}

// Find finds a user's line, the first one as getpwnam does. Lines that are none are passed over, as libc does; the
// user's own must be whole. (There is a library for this, moby/sys/user, but there a uid that is no number is 0: a slip
// in a stack's file would make every job root.) Its errors are ErrNoUser, and sentences about the user's line.
func Find(content, name string) (Entry, error) {
	for line := range strings.Lines(content) {
		rest, found := strings.CutPrefix(strings.TrimRight(line, "\n"), name)
		if !found || !strings.HasPrefix(rest, ":") {
			continue
		}
		parts := strings.SplitN(rest, ":", fields+1)
		if len(parts) != fields {
			return Entry{}, fmt.Errorf("the line of %s has %d fields in place of %d", name, len(parts), fields)
		}
		uid, err := ID(parts[fieldUID])
		if err != nil {
			return Entry{}, fmt.Errorf("uid of %s: %w", name, err)
		}
		gid, err := ID(parts[fieldGID])
		if err != nil {
			return Entry{}, fmt.Errorf("gid of %s: %w", name, err)
		}
		home := parts[fieldHome]
		if home == "" {
			home = "/"
		}
		if !path.IsAbs(home) || len(home) > maxHome || strings.ContainsRune(home, 0) {
			return Entry{}, fmt.Errorf("home of %s is no absolute path", name)
		}
		return Entry{UID: uid, GID: gid, Home: path.Clean(home)}, nil
	}
	return Entry{}, ErrNoUser
}

// ID reads a uid or gid. Its error is a sentence.
func ID(text string) (uint32, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil || id > MaxID {
		return 0, fmt.Errorf("%.32q is no number from 0 to %d", text, MaxID)
	}
	return uint32(id), nil
}

// Of finds a user in a root file system: a directory, or a list of them with colons between, the uppermost first, as
// wardend takes it. The first that has an etc/passwd says. No link is followed out of a directory. Its errors are those of
// Find and those of the file system.
func Of(rootfs, name string) (Entry, error) {
	var failed error
	for dir := range strings.SplitSeq(rootfs, ":") {
		content, err := read(dir)
		if errors.Is(err, os.ErrNotExist) {
			failed = errors.Join(failed, err)
			continue
		}
		if err != nil {
			return Entry{}, err
		}
		entry, err := Find(content, name)
		if err != nil {
			return Entry{}, fmt.Errorf("%s in the etc/passwd of %s: %w", name, dir, err)
		}
		return entry, nil
	}
	return Entry{}, failed
}

func read(dir string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	const file = "etc/passwd"
	f, _, err := regular.Open(root, file)
	if errors.Is(err, regular.ErrNotRegular) {
		return "", fmt.Errorf("%s of %s is no regular file", file, dir)
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err == nil && len(raw) > MaxFile {
		err = fmt.Errorf("%s of %s has more than %d bytes", file, dir, MaxFile)
	}
	return string(raw), err
}
