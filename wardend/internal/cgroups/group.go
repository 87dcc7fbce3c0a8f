package cgroups

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Group is what the jobs of one container run in: the group app, in every hierarchy.
type Group struct {
	m    *Manager
	id   string
	name string
}

// container is the container's group in a hierarchy, with app and init beneath it.
func (g *Group) container(root string) string { return filepath.Join(g.m.parent(root), g.name) }

// dir is the group app in a hierarchy.
func (g *Group) dir(root string) string { return filepath.Join(g.container(root), appName) }

// file is a control file of the group app; false where the kernel does not have the controller.
func (g *Group) file(controller, name string) (string, bool) {
	root := g.m.roots[controller]
	return filepath.Join(g.dir(root), name), root != ""
}

// JoinFiles are what a process needs in order to start others in the group. They are the caller's to close; a process
// that inherits them can use them whatever user or user namespace it is in, since the kernel checks who opened them:
// this process.
//
// v1: the open `tasks` of each hierarchy. A thread that writes "0" to each of them is in the group from then on, and
// so is what it forks; the other threads of its process stay where they are.
//
// v2: the group's directory, then its open cgroup.procs. A child can be forked into the directory's group
// (CLONE_INTO_CGROUP), which is quick, but for that alone the kernel asks for the caller's own permission, which
// Delegate gives, and with the mount option nsdelegate (systemd's default) refuses callers in a cgroup namespace of
// their own with ENOENT. A child's pid can always be written to cgroup.procs, before the child does anything.
func (g *Group) JoinFiles() ([]*os.File, error) {
	if g.m.version == 1 {
		files := make([]*os.File, 0, len(g.m.groups))
		for _, root := range g.m.groups {
			f, err := os.OpenFile(filepath.Join(g.dir(root), "tasks"), os.O_WRONLY, 0)
			if err != nil {
				return nil, errors.Join(err, closeAll(files))
			}
			files = append(files, f)
		}
		return files, nil
	}
	dir, err := os.OpenFile(g.dir(g.m.groups[0]), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	procs, err := os.OpenFile(filepath.Join(dir.Name(), procsName), os.O_WRONLY, 0)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return []*os.File{dir, procs}, nil
}

func closeAll(files []*os.File) error {
	errs := make([]error, 0, len(files))
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

const procsName = "cgroup.procs"

// Delegate lets a user of the host, to whom a container's root is mapped, fork children into the group from the
// container's other one. It gives away two files, the cgroup.procs of app and of what holds both groups, and no
// directory: the user can neither make groups nor move anything out of app. It does nothing on v1, where the open
// files of JoinFiles suffice.
func (g *Group) Delegate(uid, gid uint32) error {
	if g.m.version == 1 {
		return nil
	}
	root := g.m.groups[0]
	for _, dir := range []string{g.container(root), g.dir(root)} {
		if err := os.Chown(filepath.Join(dir, procsName), int(uid), int(gid)); err != nil {
			return err
		}
	}
	return nil
}
