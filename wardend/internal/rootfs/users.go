package rootfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/durable-dea/dea/internal/passwd"
)

const (
	passwdFile = "etc/passwd"
	groupFile  = "etc/group"
	// maxFile in bytes is the largest passwd or group file that is read: many thousand users.
	maxFile = passwd.MaxFile
)

// User is somebody whom jobs run as, as a rootfs has them.
type User struct {
	Name string `json:"name"`
	// UID and GID are at most MaxID.
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
	// Groups are the supplementary groups, GID not among them, in the order of etc/group; at most maxGroups.
	Groups []uint32 `json:"groups,omitempty"`
	// Home is an absolute path in the rootfs; it need not exist.
	Home string `json:"home"`
}

// NoUserError: a rootfs lacks a user that jobs run as.
type NoUserError struct {
	// Rootfs is the list of layers, as the client wrote it.
	Rootfs, Name string
}

func (e *NoUserError) Error() string {
	return fmt.Sprintf("rootfs %s has no user %s: add one to its etc/passwd and etc/group; "+
		"\"wardend rootfs check %s\" says what else it lacks, \"wardend rootfs host DIR\" makes one that has all", e.Rootfs, e.Name, e.Rootfs)
}

// DamagedError: etc/passwd or etc/group of a rootfs cannot tell who a user is.
type DamagedError struct {
	// File is the file's path on this machine.
	File string
	// Err is a sentence for the user.
	Err error
}

func (e *DamagedError) Error() string { return fmt.Sprintf("rootfs: %s: %v", e.File, e.Err) }

func (e *DamagedError) Unwrap() error { return e.Err }

// Users finds users by name in the etc/passwd and etc/group that a container with these layers, the uppermost first,
// would see. It gives them in the order of names. Both files are read once; it takes about 0.1 ms for three layers, so that
// nothing need be kept that could grow old. Its errors are *NoUserError, *DamagedError, or *fs.PathError for a layer
// that cannot be opened.
//
// What the jobs of a container do to its own etc/passwd changes nothing: layers are read-only.
func Users(layers []string, names ...string) ([]User, error) {
	m, err := openMerged(layers)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	return m.users(strings.Join(layers, ":"), names)
}

func (m *merged) users(rootfs string, names []string) ([]User, error) {
	users, passwdPath, err := m.read(passwdFile)
	if err != nil {
		return nil, err
	}
	group, groupPath, err := m.read(groupFile)
	if err != nil {
		return nil, err
	}
	all := make([]User, 0, len(names))
	for _, name := range names {
		user, err := parsePasswd(users, name)
		if errors.Is(err, passwd.ErrNoUser) {
			return nil, &NoUserError{Rootfs: rootfs, Name: name}
		}
		if err != nil {
			return nil, &DamagedError{File: passwdPath, Err: err}
		}
		if user.Groups, err = parseGroups(group, name, user.GID); err != nil {
			return nil, &DamagedError{File: groupPath, Err: err}
		}
		all = append(all, user)
	}
	return all, nil
}

// read gives a small file's content, nothing when there is no such file, and where it was found.
func (m *merged) read(name string) (content, at string, err error) {
	e, err := m.find(name, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", nil
	}
	if err != nil {
		return "", "", &DamagedError{File: name, Err: err}
	}
	defer e.close()
	f, err := e.open()
	if err != nil {
		return "", "", &DamagedError{File: e.path, Err: err}
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", "", &DamagedError{File: e.path, Err: err}
	}
	if len(raw) > maxFile {
		return "", "", &DamagedError{File: e.path, Err: fmt.Errorf("it has more than %d bytes", maxFile)}
	}
	return string(raw), e.path, nil
}
