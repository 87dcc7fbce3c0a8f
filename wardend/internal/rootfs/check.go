package rootfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Status is the outcome of one check.
type Status string

// A rootfs with a Failed check cannot be used; with a Warned one it can, and something may be missed.
const (
	OK     Status = "ok"
	Warned Status = "warning"
	Failed Status = "failed"
)

// Finding is one thing that was looked at.
type Finding struct {
	// What is a name of few words, Detail a half sentence for the user.
	What   string `json:"what"`
	Status Status `json:"status"`
	Detail string `json:"detail"`
}

// Report says whether layers can be a rootfs.
type Report struct {
	Layers []string `json:"layers"`
	// Usable is whether no finding is Failed.
	Usable bool `json:"usable"`
	// User is whom jobs run as; nil when there is none.
	User     *User     `json:"user,omitempty"`
	Findings []Finding `json:"findings"`
}

func (r *Report) find(what string, status Status, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{what, status, fmt.Sprintf(format, args...)})
	r.Usable = r.Usable && status != Failed
}

// Check says whether layers, the uppermost first, can be the rootfs of containers. Nothing of them is run, changed or
// mounted. What is wrong with them is in the report, also if it is that there are none; the error is for a machine
// that cannot tell.
func Check(layers []string) (*Report, error) {
	r := &Report{Layers: layers, Usable: true}
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, err
	}
	for _, layer := range layers {
		r.checkLayer(layer, mounts)
	}
	m, err := openMerged(layers)
	if err != nil {
		if r.Usable {
			r.find("layers", Failed, "%v", err)
		}
		return r, nil
	}
	defer m.Close()
	r.checkUsers(m)
	r.checkBash(m)
	r.checkHome(m)
	r.checkFrame(m)
	r.checkResolv(m)
	return r, nil
}

// checkLayer looks at one layer's directory and its place on the machine.
func (r *Report) checkLayer(layer string, mounts []*mountinfo.Info) {
	what := "layer " + layer
	at, err := filepath.EvalSymlinks(layer)
	var stat unix.Statfs_t
	switch {
	case !filepath.IsAbs(layer):
		r.find(what, Failed, "is no absolute path")
		return
	case err != nil:
		r.find(what, Failed, "cannot be opened: %v", err)
		return
	}
	if info, err := os.Stat(at); err != nil || !info.IsDir() {
		r.find(what, Failed, "is no directory")
		return
	}
	if err := unix.Statfs(at, &stat); err != nil {
		r.find(what, Failed, "cannot be looked at: %v", err)
		return
	}
	if stat.Type == unix.OVERLAYFS_SUPER_MAGIC {
		r.find(what, Failed, "lies on an overlay, whose files cannot be given to a container's users; name the overlay's own layers, or copy it")
		return
	}
	r.find(what, OK, "is a plain directory")
	for _, mount := range mounts {
		if within(mount.Mountpoint, at) && mount.Mountpoint != at {
			r.find(what, Warned, "has something mounted at %s, which containers do not see", mount.Mountpoint)
			break
		}
	}
	for dir := at; dir != "/"; dir = filepath.Dir(dir) {
		var stat unix.Stat_t
		if err := unix.Stat(dir, &stat); err != nil || stat.Mode&0o001 == 0 {
			// wardend's mounts start at the layer itself and are made as root.
			r.find(what, Warned, "only root gets there: %s is closed to others (mode %04o)", dir, stat.Mode&0o7777)
			break
		}
	}
}

func (r *Report) checkUsers(m *merged) {
	for _, name := range []string{vcapName, "root"} {
		users, err := m.users(strings.Join(r.Layers, ":"), []string{name})
		var none *NoUserError
		switch {
		case errors.As(err, &none) && name == vcapName:
			r.find("user "+name, Failed, "is missing; add the lines %q to etc/passwd and %q to etc/group, and the directory %s",
				"vcap:*:2000:2000::/home/vcap:/bin/bash", "vcap:*:2000:", vcapHome)
		case errors.As(err, &none):
			r.find("user "+name, Failed, "is missing; add the line %q to etc/passwd", "root:*:0:0:root:/root:/bin/bash")
		case err != nil:
			r.find("user "+name, Failed, "cannot be told: %v", err)
		case name == vcapName && users[0].UID == 0:
			r.find("user "+name, Failed, "has uid 0: jobs would be root in their container")
		case name == "root" && users[0].UID != 0:
			r.find("user "+name, Failed, "has uid %d in place of 0", users[0].UID)
		default:
			r.find("user "+name, OK, "uid %d, gid %d, home %s", users[0].UID, users[0].GID, users[0].Home)
			if name == vcapName {
				r.User = &users[0]
			}
		}
	}
}

// checkBash looks for the shell that scripts are fed to: a program of this machine's kind, to which every user gets.
func (r *Report) checkBash(m *merged) {
	const what = "program " + bash
	var closed []string
	e, err := m.find(bash, func(dir *entry) {
		// The root's own mode is the overlay's.
		if dir.stat.Mode&0o001 == 0 && len(closed) == 0 && dir.path != r.Layers[0] {
			closed = append(closed, dir.path)
		}
	})
	if err != nil {
		r.find(what, Failed, "cannot be found: %v", err)
		return
	}
	defer e.close()
	machine, self := elfMachine(e), selfMachine()
	switch {
	case !e.isRegular():
		r.find(what, Failed, "is no file")
	case e.stat.Mode&0o005 != 0o005:
		r.find(what, Failed, "not everybody may run it (mode %04o)", e.stat.Mode&0o7777)
	case len(closed) > 0:
		r.find(what, Failed, "not everybody may enter %s", closed[0])
	case machine == 0:
		r.find(what, Failed, "is no program")
	case self != 0 && machine != self:
		r.find(what, Warned, "is for another kind of machine than wardend (ELF machine %d, not %d)", machine, self)
	default:
		r.find(what, OK, "found at %s", e.path)
	}
}

// elfMachine gives the kind of processor that a program is for; 0 if it is none.
func elfMachine(e *entry) uint16 {
	f, err := e.open()
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	return readMachine(f)
}

func readMachine(r io.Reader) uint16 {
	// The magic number; at 5 the order of bytes, 1 for little endian; at 18 the machine.
	const order, at, size = 5, 18, 20
	var head [size]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || string(head[:4]) != "\x7fELF" {
		return 0
	}
	if head[order] == 1 {
		return binary.LittleEndian.Uint16(head[at:])
	}
	return binary.BigEndian.Uint16(head[at:])
}

func selfMachine() uint16 {
	fd, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	e := &entry{fd: fd}
	defer e.close()
	if err := unix.Fstat(fd, &e.stat); err != nil {
		return 0
	}
	return elfMachine(e)
}

func (r *Report) checkHome(m *merged) {
	if r.User == nil {
		return
	}
	what := "directory " + r.User.Home
	e, err := m.find(r.User.Home, nil)
	if errors.Is(err, fs.ErrNotExist) {
		r.find(what, OK, "is missing; containers get one")
		return
	}
	if err != nil {
		r.find(what, Failed, "jobs start there, and it cannot be looked at: %v", err)
		return
	}
	defer e.close()
	switch {
	case !e.isDir():
		r.find(what, Failed, "jobs start there, and it is no directory")
	case e.stat.Uid != r.User.UID:
		r.find(what, Warned, "belongs to uid %d, not to %s", e.stat.Uid, r.User.Name)
	default:
		r.find(what, OK, "belongs to %s", r.User.Name)
	}
}

// checkFrame looks for what is mounted over, which is made where it is missing but not put in the place of a file.
func (r *Report) checkFrame(m *merged) {
	for _, name := range []string{"/proc", "/sys", "/dev", "/tmp"} {
		what := "directory " + name
		e, err := m.find(name, nil)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			status := OK
			if name == "/tmp" {
				status = Warned
			}
			r.find(what, status, "is missing; containers get one")
			continue
		case err != nil:
			r.find(what, Failed, "cannot be looked at: %v", err)
			continue
		}
		const open = unix.S_ISVTX | 0o777
		switch {
		case !e.isDir():
			r.find(what, Failed, "is no directory")
		case name == "/tmp" && e.stat.Mode&open != open:
			r.find(what, Warned, "has mode %04o in place of 1777", e.stat.Mode&0o7777)
		default:
			r.find(what, OK, "is there")
		}
		e.close()
	}
}

// checkResolv looks for name servers: the machine's, which containers get, or the rootfs' own, which count without.
func (r *Report) checkResolv(m *merged) {
	const what = "file /" + resolvFile
	content, _, err := m.read(resolvFile)
	if err != nil {
		r.find(what, Warned, "cannot be read: %v", err)
		return
	}
	_, own := filterResolv(content)
	_, machine, err := ResolvConf("/")
	switch {
	case err == nil && machine:
		r.find(what, OK, "containers get the name servers of this machine")
	case own:
		r.find(what, OK, "names a server; those of this machine cannot be reached from containers")
	default:
		r.find(what, Warned, "names no server that a container can reach, nor does this machine: names are not resolved")
	}
}
