package rootfs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// progressEvery is how often progress is told.
const progressEvery = 200 * time.Millisecond

// inode is a file of this machine, whatever its name.
type inode struct{ dev, ino uint64 }

// builder brings files of this machine into a rootfs. What it opens it holds by descriptor: between looking at a file
// and taking it, nobody can put another in its place.
type builder struct {
	//nolint:containedctx // one call's
	ctx context.Context
	// from is the machine's root, to the rootfs.
	from, to string
	exclude  []string
	copyAll  bool
	sum      *Summary
	tell     func(Summary)
	told     time.Time
	// copied is where a file with several names was copied to, which gets its other names there too.
	copied map[inode]string
	// apart are the file systems that cannot be linked from.
	apart map[uint64]bool
}

// object is something of this machine that is about to be taken.
type object struct {
	// at is its path on the machine, name its path in the rootfs without a leading slash.
	at, name string
	fd       int // O_PATH
	stat     unix.Stat_t
}

// proc is a path that leads to just this object.
func (o *object) proc() string { return procPath(o.fd) }

func (o *object) key() inode { return inode{o.stat.Dev, o.stat.Ino} }

// rules say how the files of a part of the machine are taken.
type rules struct {
	// edited files may be written in place by their administrator: they are copied, and looked into for keys.
	edited bool
	// follow: the path itself may be a link, and what it leads to is meant.
	follow bool
}

// add takes a path of the machine, with all beneath it if it is a directory; nil when there is no such path. Its
// parents in the rootfs are made if they are missing.
func (b *builder) add(name string, r rules) error {
	if err := mkdirParents(b.to, name); err != nil {
		return err
	}
	// The path is the operator's, or one of ours: links on the way to it are the machine's own.
	flags := unix.O_PATH | unix.O_CLOEXEC
	if !r.follow {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Open(filepath.Join(b.from, name), flags, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: filepath.Join(b.from, name), Err: err}
	}
	return b.take(fd, name, r)
}

// mkdirParents makes the directories above name in the rootfs.
func mkdirParents(to, name string) error {
	above := filepath.Dir(name)
	if above == "." {
		return nil
	}
	if err := mkdirParents(to, above); err != nil {
		return err
	}
	at := filepath.Join(to, above)
	if err := os.Mkdir(at, publicDir); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return os.Chmod(at, publicDir)
}

// take takes what fd refers to, and closes it.
func (b *builder) take(fd int, name string, r rules) error {
	defer func() { _ = unix.Close(fd) }()
	if err := b.ctx.Err(); err != nil {
		return err
	}
	b.progress()
	o := &object{at: path.Join("/", name), name: name, fd: fd}
	if err := unix.Fstat(fd, &o.stat); err != nil {
		return o.fail("stat", err)
	}
	if reason := b.unwanted(o); reason != "" {
		b.sum.leaveOut(reason, o.at)
		return nil
	}
	switch o.stat.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return b.directory(o, r)
	case unix.S_IFLNK:
		return b.symlink(o)
	default:
		return b.file(o, r)
	}
}

func (o *object) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: o.at, Err: err}
}

func (b *builder) progress() {
	if b.tell != nil && time.Since(b.told) >= progressEvery {
		b.told = time.Now()
		b.tell(*b.sum)
	}
}

// unwanted gives the reason why an object is not taken; empty when it is.
func (b *builder) unwanted(o *object) Reason {
	for _, pattern := range b.exclude {
		if found, _ := path.Match(pattern, o.at); found {
			return ReasonExcluded
		}
	}
	if secretName(o.at) {
		return ReasonSecret
	}
	const read, enter = 0o004, 0o001
	switch o.stat.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return ""
	case unix.S_IFREG:
		if o.stat.Mode&read == 0 {
			return ReasonUnreadable
		}
	case unix.S_IFDIR:
		if o.stat.Mode&(read|enter) != read|enter {
			return ReasonUnreadable
		}
		if slices.Contains(configurationDirs(), o.name) {
			return ReasonConfiguration
		}
	default:
		return ReasonSpecial
	}
	return ""
}

func (b *builder) directory(o *object, r rules) error {
	at := filepath.Join(b.to, o.name)
	err := os.Mkdir(at, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	names, err := readNames(o)
	if err != nil {
		return err
	}
	for _, name := range names {
		fd, err := unix.Openat(o.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			b.sum.leaveOut(ReasonGone, path.Join(o.at, name))
			continue
		}
		if err != nil {
			return o.fail("open "+name+" of", err)
		}
		if err := b.take(fd, path.Join(o.name, name), r); err != nil {
			return err
		}
	}
	b.sum.Directories++
	uid, gid := owner(o)
	if err := os.Chown(at, uid, gid); err != nil {
		return err
	}
	// Without the set-gid bit that hands a group down: what is in the rootfs is whole.
	if err := os.Chmod(at, fs.FileMode(o.stat.Mode)&fs.ModePerm|stickyOf(o)); err != nil {
		return err
	}
	return keepTime(at, o)
}

func stickyOf(o *object) fs.FileMode {
	if o.stat.Mode&unix.S_ISVTX != 0 {
		return fs.ModeSticky
	}
	return 0
}

// readNames lists a directory in a fixed order.
func readNames(o *object) ([]string, error) {
	f, err := os.Open(o.proc())
	if err != nil {
		return nil, o.fail("open", err)
	}
	defer func() { _ = f.Close() }()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, o.fail("list", err)
	}
	slices.Sort(names)
	return names, nil
}

func (b *builder) symlink(o *object) error {
	to := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(o.fd, "", to)
	if err != nil {
		return o.fail("read link", err)
	}
	at := filepath.Join(b.to, o.name)
	if err := os.Symlink(string(to[:n]), at); err != nil {
		return err
	}
	b.sum.Symlinks++
	uid, gid := owner(o)
	return os.Lchown(at, uid, gid)
}

// owner is who an object belongs to in the rootfs: as on the machine, or root where a container has no such id.
func owner(o *object) (uid, gid int) {
	if o.stat.Uid <= MaxID {
		uid = int(o.stat.Uid)
	}
	if o.stat.Gid <= MaxID {
		gid = int(o.stat.Gid)
	}
	return uid, gid
}

// keepTime gives a copy the time of its original: caches beside sources go by it.
func keepTime(at string, o *object) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: o.stat.Mtim.Sec, Nsec: o.stat.Mtim.Nsec}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, at, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "set time of", Path: at, Err: err}
	}
	return nil
}

// secretName says whether a path is known to hold a secret, although everybody may read it on this machine.
func secretName(at string) bool {
	if slices.Contains([]string{"/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/ssl/private", "/etc/pki/tls/private"}, at) {
		return true
	}
	base := path.Base(at)
	hostKey := strings.HasPrefix(base, "ssh_host_") && strings.HasSuffix(base, "_key")
	return hostKey || strings.HasSuffix(base, ".keytab") || slices.Contains([]string{
		".netrc", ".pgpass", ".git-credentials", ".npmrc", ".pypirc", ".dockercfg", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519",
	}, base)
}
