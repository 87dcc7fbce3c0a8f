package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// HostOptions say how Host makes a rootfs.
type HostOptions struct {
	// Dir is made: absent, empty or an earlier rootfs of this package, which is replaced.
	Dir string
	// Include are more directories of the machine, absolute, which everybody may enter.
	Include []string
	// Exclude are paths of the machine that are left out with all beneath them; absolute, or patterns of path.Match.
	Exclude []string
	// Copy copies every file instead of linking those on the same file system.
	Copy bool
	// From is the root directory of the machine that files are taken of; "/" when empty.
	From string
	// Progress, if not nil, is told a few times a second how far it is.
	Progress func(Summary)
}

// ErrNotRoot: only root can make a rootfs, since its files belong to several users.
var ErrNotRoot = errors.New("a rootfs can be made by root only: its files belong to root, and vcap's home to vcap")

// Host makes a rootfs of this machine's own programs, libraries and certificates, for development. It has nothing that
// not everybody on the machine may read, and nothing of /home, /root, /var, /opt and of /etc but a short list.
//
// Where Dir lies on the file system of the programs, files get a second name there (a hard link) and take no room.
// That is safe for what containers do: they see the rootfs read-only beneath an overlay, which copies a file before it
// writes. It is safe for what package managers do: they put a new file in the place of the old one, and the rootfs
// keeps the old one until it is made again. It is not safe to change the files of Dir in place, their modes or
// owners (chown -R, or installing with Dir as root), since they are the machine's own; removing Dir is.
// With Copy, and between file systems, files are reflinked or copied.
//
// It is made beside Dir and moved there when it is whole. An earlier rootfs in Dir is removed then: containers that
// still run on it lose their files. What a killed run leaves, the next one with the same Dir clears.
// A second run makes the same again. Its errors are ErrNotRoot, *RefusedError, ctx's, or the file system's.
func Host(ctx context.Context, o HostOptions) (_ *Summary, err error) {
	if os.Geteuid() != 0 {
		return nil, ErrNotRoot
	}
	start := time.Now()
	if o.From == "" {
		o.From = "/"
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	s, err := newStaging(o.Dir, KindHost)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	sum := &Summary{Dir: s.target, Kind: KindHost, User: vcap()}
	b := &builder{
		ctx: ctx, from: o.From, to: s.dir, exclude: o.Exclude, copyAll: o.Copy, sum: sum, tell: o.Progress, told: start,
		copied: map[inode]string{}, apart: map[uint64]bool{},
	}
	if err := b.host(o.Include); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.commit(); err != nil {
		return nil, err
	}
	sum.Seconds = time.Since(start).Seconds()
	return sum, nil
}

func vcap() User { return User{Name: vcapName, UID: vcapID, GID: vcapID, Home: vcapHome} }

// host brings all in.
func (b *builder) host(include []string) error {
	for _, name := range programDirs() {
		if err := b.add(name, rules{}); err != nil {
			return err
		}
	}
	for _, name := range outermost(include) {
		if err := b.add(name, rules{edited: within(name, "etc"), follow: true}); err != nil {
			return err
		}
	}
	if err := b.configuration(); err != nil {
		return err
	}
	if err := makeFrame(b.to); err != nil {
		return err
	}
	resolv, reachable, err := ResolvConf(b.from)
	if err != nil {
		return err
	}
	if !reachable {
		b.sum.warn(noServers)
	}
	for name, content := range map[string]string{
		passwdFile: madePasswd, groupFile: madeGroup, "etc/hosts": madeHosts, "etc/nsswitch.conf": madeNSSwitch, resolvFile: resolv,
	} {
		if err := replaceFile(b.to, name, content); err != nil {
			return err
		}
	}
	return nil
}

// configuration brings in what programs need of /etc, and of /usr/etc, where some distributions have their defaults.
func (b *builder) configuration() error {
	for _, dir := range []string{"etc", "usr/etc"} {
		for _, pattern := range etcPatterns() {
			found, err := filepath.Glob(filepath.Join(b.from, dir, pattern))
			if err != nil {
				return err
			}
			for _, at := range found {
				name, err := filepath.Rel(b.from, at)
				if err != nil {
					return err
				}
				if err := b.addOnce(name, rules{edited: true}); err != nil {
					return err
				}
			}
		}
	}
	return b.addOnce("var/lib/ca-certificates", rules{edited: true})
}

// addOnce adds what no include has brought.
func (b *builder) addOnce(name string, r rules) error {
	_, err := os.Lstat(filepath.Join(b.to, name))
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return b.add(name, r)
}

// validate says everything that is wrong with the options.
func (o *HostOptions) validate() error {
	var errs []error
	// The caller's own stay as they are.
	o.Include, o.Exclude = slices.Clone(o.Include), slices.Clone(o.Exclude)
	for i, dir := range o.Include {
		o.Include[i] = path.Clean(dir)
		if err := o.validateInclude(o.Include[i]); err != nil {
			errs = append(errs, fmt.Errorf("include: %w", err))
		}
	}
	for i, pattern := range o.Exclude {
		if _, err := path.Match(pattern, ""); err != nil || !path.IsAbs(pattern) {
			errs = append(errs, fmt.Errorf("exclude: %q is no absolute path or pattern", pattern))
		}
		o.Exclude[i] = path.Clean(pattern)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return o.validateDir()
}

// validateDir refuses to make a rootfs in what goes into it.
func (o *HostOptions) validateDir() error {
	s, err := findStaging(o.Dir)
	if err != nil {
		return err
	}
	_ = s.parent.Close()
	for _, name := range slices.Concat(programDirs(), o.Include) {
		taken, err := filepath.EvalSymlinks(filepath.Join(o.From, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if within(s.target, taken) {
			return &RefusedError{s.target, "lies in " + taken + ", which goes into the rootfs itself; give a directory elsewhere"}
		}
	}
	return nil
}

func (o *HostOptions) validateInclude(dir string) error {
	if !path.IsAbs(dir) {
		return fmt.Errorf("%q is not absolute", dir)
	}
	for _, never := range []string{"/proc", "/sys", "/dev", "/run", "/tmp"} {
		if within(dir, never) {
			return &RefusedError{dir, "is of this run of the machine, or the container's own"}
		}
	}
	if slices.Contains([]string{"/", "/etc", "/var", "/home"}, dir) {
		return &RefusedError{dir, "is too much to include; name directories in it"}
	}
	for _, name := range programDirs() {
		if within(dir, "/"+name) {
			return &RefusedError{dir, "is there already, as all of /" + name + " that everybody may read"}
		}
	}
	// Closed to others on the way is closed to others.
	for at := dir; at != "/"; at = path.Dir(at) {
		var stat unix.Stat_t
		if err := unix.Stat(filepath.Join(o.From, at), &stat); err != nil {
			return &fs.PathError{Op: "stat", Path: at, Err: err}
		}
		if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
			return &RefusedError{at, "is no directory"}
		}
		if stat.Mode&0o001 == 0 {
			return &RefusedError{at, fmt.Sprintf("is closed to others (mode %04o): what lies in it may be secret; copy it to where everybody may read it", stat.Mode&0o7777)}
		}
	}
	return nil
}

// outermost gives the directories that are in none of the others, as names in the rootfs.
func outermost(dirs []string) []string {
	var names []string
	for i, dir := range dirs {
		covered := slices.ContainsFunc(dirs, func(other string) bool { return other != dir && within(dir, other) })
		if !covered && !slices.Contains(dirs[:i], dir) {
			names = append(names, strings.TrimPrefix(dir, "/"))
		}
	}
	return names
}
