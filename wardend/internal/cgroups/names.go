package cgroups

import (
	"fmt"
	"regexp"
	"strings"
)

// names holds what names may be. It is made when a manager is, and not with the program: the same program is every
// container's init, whose memory is paid once for each.
type names struct {
	instance, id, file *regexp.Regexp
}

func newNames() names {
	return names{
		instance: regexp.MustCompile(`^[a-z0-9]{1,8}$`),
		id:       regexp.MustCompile(`^[A-Za-z0-9._-]{1,80}$`),
		// A control file is named after its controller, in lower case; v1 has three others.
		file: regexp.MustCompile(`^([a-z][a-z0-9_]*\..*|tasks|notify_on_release|release_agent)$`),
	}
}

func (n names) checkInstance(instance string) error {
	if !n.instance.MatchString(instance) {
		return fmt.Errorf("instance %q: %w", instance, ErrName)
	}
	return nil
}

// dir is the name of a container's cgroup: its id, unless a control file of the kernel could have that name ("tasks"
// can be a handle). Those get an underscore before them, with which no control file begins, and so do those that
// would then be mixed up with them.
func (n names) dir(id string) (string, error) {
	if !n.id.MatchString(id) || id == "." || id == ".." {
		return "", fmt.Errorf("container %q: %w", id, ErrName)
	}
	if n.file.MatchString(strings.TrimLeft(id, "_")) {
		return "_" + id, nil
	}
	return id, nil
}

// fromDir is the id of the container whose cgroup has this name; false when no container's has.
func (n names) fromDir(name string) (string, bool) {
	id := name
	if n.file.MatchString(strings.TrimLeft(name, "_")) {
		id = strings.TrimPrefix(name, "_")
	}
	back, err := n.dir(id)
	return id, err == nil && back == name
}
